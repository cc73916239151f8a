//! Content that is known by its SHA-256, and readers that check it on the way.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::ImageError;

/// A SHA-256, written `sha256:` and 64 lower-case hex digits.
///
/// Other algorithms of the specification are not accepted: nobody uses them, and a name that is always 64 hex
/// digits can be a file name without further thought.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hex digits alone.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for Sha256Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let bad = || ImageError::BadDigest {
            // A hostile manifest must not fill the log.
            text: text.chars().take(100).collect(),
        };
        let digits = text.strip_prefix("sha256:").ok_or_else(bad)?;
        // hex accepts upper case too, which would give one content two file names.
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Counts and hashes what passes, in either direction.
#[derive(Debug, Default)]
pub struct Fingerprint {
    hasher: Sha256,
    bytes: u64,
}

impl Fingerprint {
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn finish(self) -> (Sha256Digest, u64) {
        (Sha256Digest(self.hasher.finalize().into()), self.bytes)
    }
}

/// Reads exactly the content that was promised, or fails.
///
/// The last bytes are handed out only after the whole content has been found right, so who has read to the
/// end has read the right thing. What was read before must not be believed until then.
#[derive(Debug)]
pub struct Checked<R> {
    inner: R,
    seen: Option<Fingerprint>,
    digest: Sha256Digest,
    bytes: u64,
}

impl<R: Read> Checked<R> {
    pub fn new(inner: R, digest: Sha256Digest, bytes: u64) -> Self {
        Self {
            inner,
            seen: Some(Fingerprint::default()),
            digest,
            bytes,
        }
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(seen) = &mut self.seen else {
            return Ok(0);
        };
        let left = self.bytes - seen.bytes();
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 && left > 0 {
            return Ok(0);
        }
        let count = if most == 0 {
            0
        } else {
            self.inner.read(&mut buffer[..most])?
        };
        seen.update(&buffer[..count]);
        if seen.bytes() == self.bytes {
            let (found, _) = self.seen.take().unwrap_or_default().finish();
            if found != self.digest {
                // Nothing of a wrong content leaves by a later call either.
                self.bytes = 0;
                return Err(invalid(format!("the content is {found}")));
            }
        } else if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{left} of {} bytes are missing", self.bytes),
            ));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn read_all(content: &[u8], promised: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Checked::new(content, Sha256Digest::of(promised), promised.len() as u64)
            .read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Sha256Digest::of(b"x").to_string();
        assert_eq!(digest.parse::<Sha256Digest>().unwrap().to_string(), digest);
        let hex = digest.strip_prefix("sha256:").unwrap();
        for text in [
            hex.to_owned(),
            digest.to_uppercase(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha512:{hex}"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:../{}", &hex[3..]),
            String::new(),
        ] {
            assert!(text.parse::<Sha256Digest>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_last_bytes_of_a_wrong_content_are_never_handed_out() {
        let mut reader = Checked::new(&b"abcd"[..], Sha256Digest::of(b"abce"), 4);
        let mut one = [0];
        for _ in 0..3 {
            assert_eq!(reader.read(&mut one).unwrap(), 1);
        }
        assert!(reader.read(&mut one).is_err());
        assert_eq!(reader.read(&mut one).unwrap(), 0);
    }

    proptest! {
        #[test]
        fn only_the_promised_content_passes(promised: Vec<u8>, content: Vec<u8>) {
            prop_assert_eq!(read_all(&promised, &promised).unwrap(), promised.clone());
            // More than promised is cut off: the rest belongs to somebody else.
            let fits = content.starts_with(&promised);
            prop_assert_eq!(read_all(&content, &promised).is_ok(), fits);
        }
    }
}
