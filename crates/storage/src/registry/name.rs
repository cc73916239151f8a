//! Names of repositories, tags and digests, and the objects behind them.

use std::fmt;

use crate::registry::answer::Failure;
use crate::{Bucket, Key};

/// Longest name of a repository.
const NAME_MAX_BYTES: usize = 255;
const TAG_MAX_BYTES: usize = 128;
/// No part of a repository's name is this, so that what is in a repository and other repositories stay apart.
const END: &str = "_";
/// Where the blobs and manifests of an owner are.
pub(super) const BLOBS: &str = "blobs";
pub(super) const MANIFESTS: &str = "manifests";

/// The name of a repository: `OWNER/NAME…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repository {
    owner: String,
    rest: String,
}

impl Repository {
    pub fn parse(name: &str) -> Result<Self, Failure> {
        let (owner, rest) = name.split_once('/').ok_or_else(Failure::bad_name)?;
        if name.len() > NAME_MAX_BYTES || !name.split('/').all(is_part) {
            return Err(Failure::bad_name());
        }
        Ok(Self {
            owner: owner.to_owned(),
            rest: rest.to_owned(),
        })
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    fn key(&self, path: &str) -> Result<Key, Failure> {
        Key::new(Bucket::REGISTRY, format!("{}/{path}", self.owner))
            .map_err(|_| Failure::bad_name())
    }

    pub fn blob(&self, digest: &Digest) -> Result<Key, Failure> {
        self.key(&format!("{BLOBS}/{}", digest.hex()))
    }

    pub fn upload(&self) -> Result<Key, Failure> {
        self.key(&format!("uploads/{}", self.rest))
    }

    pub fn manifest(&self, digest: &Digest) -> Result<Key, Failure> {
        self.key(&format!("{MANIFESTS}/{}/{END}/{}", self.rest, digest.hex()))
    }

    pub fn tag(&self, tag: &Tag) -> Result<Key, Failure> {
        self.key(&format!("tags/{}/{END}/{}", self.rest, tag.0))
    }

    /// What the paths of all its tags begin with.
    pub fn tags(&self) -> String {
        format!("{}/tags/{}/{END}/", self.owner, self.rest)
    }

    /// What the paths of all its manifests begin with.
    pub fn manifests(&self) -> String {
        format!("{}/{MANIFESTS}/{}/{END}/", self.owner, self.rest)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.rest)
    }
}

/// Letters and digits, with single separators (one or two underscores, any number of hyphens) between them.
fn is_part(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separator = String::new();
    let mut is_first = true;
    for byte in part.bytes() {
        if is_plain(byte) {
            let is_separator = matches!(separator.as_str(), "" | "." | "_" | "__")
                || separator.bytes().all(|byte| byte == b'-');
            if !is_separator || (is_first && !separator.is_empty()) {
                return false;
            }
            separator.clear();
            is_first = false;
        } else if matches!(byte, b'.' | b'_' | b'-') {
            separator.push(char::from(byte));
        } else {
            return false;
        }
    }
    !is_first && separator.is_empty()
}

/// The hash of a blob or a manifest: `sha256:HEX`. Others are not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let hex = text
            .strip_prefix("sha256:")
            .ok_or_else(Failure::bad_digest)?;
        let mut bytes = [0; 32];
        if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Failure::bad_digest());
        }
        hex::decode_to_slice(hex, &mut bytes).map_err(|_| Failure::bad_digest())?;
        Ok(Self(bytes))
    }

    pub fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag(String);

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl Reference {
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if text.contains(':') {
            return Digest::parse(text).map(Self::Digest);
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_tag = text.len() <= TAG_MAX_BYTES
            && text.bytes().next().is_some_and(is_word)
            && text
                .bytes()
                .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
        if is_tag {
            Ok(Self::Tag(Tag(text.to_owned())))
        } else {
            Err(Failure::bad_tag())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_protocol() {
        for name in [
            "a/b",
            "a-b--c/d_e__f/g.h1",
            "0f8fad5b-d9cb-469f-a165-70867728950e/x",
        ] {
            assert!(Repository::parse(name).is_ok(), "{name}");
        }
        let long = format!("a/{}", "b".repeat(254));
        for name in [
            "",
            "a",
            "/a",
            "a/",
            "a//b",
            "A/b",
            "a/..",
            "a/.b",
            "a/b.",
            "a/b..c",
            "a/b___c",
            "a/_",
            "a/b._c",
            "a/é",
            "a/%2e",
            long.as_str(),
        ] {
            assert!(Repository::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn tags_and_digests_are_told_apart() {
        assert!(matches!(
            Reference::parse("v1.0-x_Y"),
            Ok(Reference::Tag(_))
        ));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert!(matches!(
            Reference::parse(&digest),
            Ok(Reference::Digest(_))
        ));
        let long = "a".repeat(129);
        for text in [
            "",
            ".a",
            "-a",
            "a/b",
            "sha256:abc",
            "sha512:ab",
            long.as_str(),
            "a b",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        assert!(Digest::parse(&digest.replace('a', "A")).is_err());
    }
}
