//! Public keys of users, in the form in which OpenSSH keeps and sends them.

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use jiff::Timestamp;

use crate::{OrganizationId, SshKeyId, UserId};

/// Keys that a user may have in an organization.
pub const KEYS_MAX: u64 = 50;
/// Longest name of a key.
pub const NAME_MAX_CHARACTERS: usize = 100;
/// A line with the longest key that is taken, and a long comment.
const LINE_MAX_BYTES: usize = 4096;

/// A key that opens sessions in the sandboxes of an organization, in the name of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    pub id: SshKeyId,
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    pub name: String,
    pub public: SshPublicKey,
    pub fingerprint: SshKeyFingerprint,
    pub created_at: Timestamp,
}

/// SHA-256 of a public key, by which it is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SshKeyFingerprint(pub [u8; 32]);

impl fmt::Display for SshKeyFingerprint {
    /// As `ssh-keygen -l` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", BASE64_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for SshKeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a key can be. RSA is not among them: the library that checks signatures is built without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    /// Name of the curve, and bytes of a point on it.
    Ecdsa(&'static str, usize),
}

const KINDS: [(&str, Kind); 4] = [
    ("ssh-ed25519", Kind::Ed25519),
    ("ecdsa-sha2-nistp256", Kind::Ecdsa("nistp256", 65)),
    ("ecdsa-sha2-nistp384", Kind::Ecdsa("nistp384", 97)),
    ("ecdsa-sha2-nistp521", Kind::Ecdsa("nistp521", 133)),
];

/// Why a text is not a public key that is taken. The texts are for who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyRefusal {
    #[error(
        "this is a private key, which nobody must be sent; make a new one, and give its public half, the file .pub"
    )]
    Private,
    #[error(
        "publicKey must be one line as in a file .pub, of at most {LINE_MAX_BYTES} bytes, such as ssh-ed25519 AAAA…"
    )]
    Form,
    #[error(
        "publicKey must be of type ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384 or ecdsa-sha2-nistp521"
    )]
    Kind,
    #[error("publicKey is damaged: what is in it is not a key of its type")]
    Damaged,
}

/// A public key whose parts are all there.
#[derive(Clone, PartialEq, Eq)]
pub struct SshPublicKey {
    kind: &'static str,
    blob: Vec<u8>,
}

impl SshPublicKey {
    /// Reads a line such as `ssh-ed25519 AAAA… me@box`; with it what stands after the key, if something does.
    pub fn parse(line: &str) -> Result<(Self, Option<&str>), SshKeyRefusal> {
        if line.contains("PRIVATE KEY") {
            return Err(SshKeyRefusal::Private);
        }
        let line = line.trim();
        if line.len() > LINE_MAX_BYTES || line.chars().any(char::is_control) {
            return Err(SshKeyRefusal::Form);
        }
        let (kind, rest) = line.split_once(' ').ok_or(SshKeyRefusal::Form)?;
        let (text, comment) = rest
            .trim_start()
            .split_once(' ')
            .unwrap_or((rest.trim_start(), ""));
        let (kind, shape) = KINDS
            .into_iter()
            .find(|(name, _)| *name == kind)
            .ok_or(SshKeyRefusal::Kind)?;
        let blob = BASE64
            .decode(text.as_bytes())
            .map_err(|_| SshKeyRefusal::Damaged)?;
        if !is_whole(&blob, kind, shape) {
            return Err(SshKeyRefusal::Damaged);
        }
        let comment = Some(comment.trim()).filter(|comment| !comment.is_empty());
        Ok((Self { kind, blob }, comment))
    }

    /// As a line, without a comment.
    pub fn to_line(&self) -> String {
        format!("{} {}", self.kind, BASE64.encode(&self.blob))
    }

    /// The bytes that clients send, and fingerprints are made of.
    pub fn as_bytes(&self) -> &[u8] {
        &self.blob
    }
}

impl fmt::Debug for SshPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_line())
    }
}

/// Whether these are the parts of such a key, each in its length, and nothing more.
fn is_whole(mut blob: &[u8], name: &str, kind: Kind) -> bool {
    let mut part = || {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        blob = rest;
        Some(part)
    };
    let has_parts = part() == Some(name.as_bytes())
        && match kind {
            Kind::Ed25519 => part().is_some_and(|key| key.len() == 32),
            Kind::Ecdsa(curve, point_bytes) => {
                part() == Some(curve.as_bytes())
                    // Points are sent whole, not compressed.
                    && part().is_some_and(|point| point.len() == point_bytes && point[0] == 4)
            }
        };
    has_parts && blob.is_empty()
}

/// The name of a key: what the caller says, else what stands beside the key, else its fingerprint.
pub fn name(
    said: Option<&str>,
    comment: Option<&str>,
    fingerprint: SshKeyFingerprint,
) -> Result<String, String> {
    let Some(said) = said else {
        let cut = |text: &str| text.chars().take(NAME_MAX_CHARACTERS).collect();
        return Ok(comment.map_or_else(|| fingerprint.to_string(), cut));
    };
    let name = said.trim();
    let is_plain = !name.is_empty() && !name.chars().any(char::is_control);
    if is_plain && name.chars().count() <= NAME_MAX_CHARACTERS {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "name must have between 1 and {NAME_MAX_CHARACTERS} characters"
        ))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    // Made by ssh-keygen.
    const KEYS: [&str; 4] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEl1lrEVneRQJCdiInsfJGRYdjC78dwfSnbPt8o6fwcL",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLoefJUu4x34DLn1T5cNkCPENpjEGxEf2R1DxDaXOH7Al3XM/8+ptQhsUx3cnbHaLlCDHx5SKBFLLLaKYjLqXtg=",
        "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBPZG2RCQXJhZGosiWy7Hcy65SuA/0UWnJR85bvro4bDLXcJHE+EB/zqx40C0ZWTUfZsSWB3TwbI31LHn/7Qli/GUGJsW/1MyfkXsGDGNyUm23jtByw/Imx5Nmtnyo0+uaQ==",
        "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAAXX1NoJ7DdJeRGwp58TZ5RUdpJy/D2Auu3KlJwSwJwT4XOriLxcQe0/DKRQex+7+yan+OPJTisAwKFCO310+lFZgCm3baY46PhKTN0ukUQuAvDUAPARVp/Ct30n0HwqnymkxUPb7N+56wad1plDpQxayXNXdAdSF10z6LtEwTAnXJ4dg==",
    ];
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDvLYB4FFZEhL3Hge7zzPvkhkYmuXZKA9IB92HOidUej4yx71LtxZ3H3VbDBtHDwUIm81DztfvJDSyT/1jA+GnjiUXxG6PGZVT5l9oaxsmHLsvquAWy5mubDuzPYv2EwJl61O7FMlXH7iG1pJd/XjVfu9U3nknSTVtAyu8/63cffstf7dplA9WlDlLh33Nq7SlGzrH1u66CgYcjpVONb0ThYOLl4MZEz1bvD1DIeMzhU/UzZFGk2yLnVKiEm6/Rp4QH77wsGOj41CbP3T9pH2KUcEt+Y3AI3FA0G927zQldbRC8zEXKLRJb/LqjRtm4WSF9sAwmWTPSdiOvioQoXMDl";

    #[test]
    fn the_keys_of_openssh_are_read_and_written_as_they_are() {
        for line in KEYS {
            let (key, comment) = SshPublicKey::parse(line).unwrap();
            assert_eq!(comment, None);
            assert_eq!(key.to_line(), line);
            let longer = format!("  {line}   me at box \n");
            let again = SshPublicKey::parse(&longer).unwrap();
            assert_eq!(again, (key, Some("me at box")));
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused_for_its_reason() {
        let (kind, text) = KEYS[0].split_once(' ').unwrap();
        let long = format!("{} {}", KEYS[0], "x".repeat(LINE_MAX_BYTES));
        let two = format!("{}\n{}", KEYS[0], KEYS[1]);
        for (line, refusal) in [
            ("", SshKeyRefusal::Form),
            (kind, SshKeyRefusal::Form),
            (&long, SshKeyRefusal::Form),
            (&two, SshKeyRefusal::Form),
            (RSA, SshKeyRefusal::Kind),
            (&format!("command=\"x\" {}", KEYS[0]), SshKeyRefusal::Kind),
            (&format!("{kind} {text}="), SshKeyRefusal::Damaged),
            (&format!("{kind} AAAA"), SshKeyRefusal::Damaged),
            (
                &format!("ecdsa-sha2-nistp256 {text}"),
                SshKeyRefusal::Damaged,
            ),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA",
                SshKeyRefusal::Private,
            ),
        ] {
            assert_eq!(SshPublicKey::parse(line).err(), Some(refusal), "{line}");
        }
    }

    #[test]
    fn a_name_is_said_or_found() {
        let fingerprint = SshKeyFingerprint([0; 32]);
        let name = |said, comment| name(said, comment, fingerprint);
        assert_eq!(name(Some(" work "), Some("me")), Ok("work".to_owned()));
        assert_eq!(name(None, Some("me")), Ok("me".to_owned()));
        assert!(name(None, None).unwrap().starts_with("SHA256:AAAA"));
        let long = "é".repeat(NAME_MAX_CHARACTERS);
        assert_eq!(name(Some(&long), None), Ok(long.clone()));
        let longer = format!("{long}é");
        assert_eq!(name(None, Some(&longer)), Ok(long.clone()));
        for bad in ["", " ", "a\nb", &longer] {
            assert!(name(Some(bad), None).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_so_that_it_is_read_again(line in "\\PC{0,80}") {
            if let Ok((key, _)) = SshPublicKey::parse(&line) {
                let line = key.to_line();
                prop_assert_eq!(SshPublicKey::parse(&line).unwrap().0, key);
            }
        }

        #[test]
        fn a_key_with_a_byte_more_or_less_or_of_another_length_is_damaged(
            which in 0..KEYS.len(), cut in 1..20_usize, more in any::<Vec<u8>>(), at in 0..4_usize, by in 1..=255_u8
        ) {
            let (key, _) = SshPublicKey::parse(KEYS[which]).unwrap();
            let refused = |blob: &[u8]| {
                let line = format!("{} {}", key.kind, BASE64.encode(blob));
                SshPublicKey::parse(&line).err()
            };
            let blob = key.as_bytes();
            prop_assert_eq!(refused(&blob[..blob.len() - cut]), Some(SshKeyRefusal::Damaged));
            let longer = [blob, &more].concat();
            prop_assert_eq!(refused(&longer).is_none(), more.is_empty());
            let mut other = blob.to_vec();
            other[at] = other[at].wrapping_add(by);
            prop_assert_eq!(refused(&other), Some(SshKeyRefusal::Damaged));
        }
    }
}
