//! What stands before the content in an object's file.
//!
//! ```text
//! magic, 8 bytes │ length of the text, 4 bytes, little-endian │ text, JSON │ zeros up to byte 4096 │ content
//! ```
//!
//! A fixed length, so that the header can be written last, when the content and so its hash are known.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::failed;
use crate::{Object, StorageError};

pub(crate) const HEADER_BYTES: u64 = 4096;
const HEADER_SIZE: usize = 4096;
const MAGIC: &[u8; 8] = b"ALCOVEOB";
const TEXT_START: usize = 12;
const TEXT_MAX: usize = HEADER_SIZE - TEXT_START;
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    version: u32,
    size: u64,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// What the caller says of an object, as far as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Said {
    pub content_type: Option<String>,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// The header's bytes.
///
/// # Errors
/// [`StorageError::LongMetadata`] if what is said does not fit in.
pub(crate) fn encode(size: u64, sha256: [u8; 32], said: &Said) -> Result<Vec<u8>, StorageError> {
    let text = Text {
        version: VERSION,
        size,
        sha256: hex::encode(sha256),
        content_type: said.content_type.clone(),
        metadata: said.metadata.clone(),
    };
    let text = serde_json::to_vec(&text).map_err(|_| StorageError::Damaged {
        what: "a header cannot be written",
    })?;
    let too_long = || StorageError::LongMetadata { max: TEXT_MAX };
    if text.len() > TEXT_MAX {
        return Err(too_long());
    }
    let length = u32::try_from(text.len()).map_err(|_| too_long())?;
    let mut bytes = Vec::with_capacity(HEADER_SIZE);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&text);
    bytes.resize(HEADER_SIZE, 0);
    Ok(bytes)
}

/// Reads the header of an open file, and checks that all of the content is there.
pub(crate) fn read(file: &File) -> Result<Object, StorageError> {
    let mut bytes = [0; HEADER_SIZE];
    file.read_exact_at(&mut bytes, 0).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            StorageError::Damaged {
                what: "its header is cut off",
            }
        } else {
            failed("read the header of an object")(error)
        }
    })?;
    let metadata = file
        .metadata()
        .map_err(failed("look at the file of an object"))?;
    let modified = metadata
        .modified()
        .map_err(failed("read when an object was written"))?;
    of(&bytes, metadata.len(), modified)
}

/// What the header says with which an object begins that has so many bytes all told.
pub(crate) fn of(start: &[u8], length: u64, modified: SystemTime) -> Result<Object, StorageError> {
    let bytes = start
        .first_chunk::<HEADER_SIZE>()
        .ok_or(StorageError::Damaged {
            what: "its header is cut off",
        })?;
    let text = decode(bytes)?;
    if length != HEADER_BYTES + text.size {
        return Err(StorageError::Damaged {
            what: "its length is another one than its header says",
        });
    }
    let mut sha256 = [0; 32];
    hex::decode_to_slice(&text.sha256, &mut sha256).map_err(|_| StorageError::Damaged {
        what: "its hash is none",
    })?;
    Ok(Object {
        size: text.size,
        sha256,
        modified,
        content_type: text.content_type,
        metadata: text.metadata,
    })
}

fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Text, StorageError> {
    let damaged = |what| StorageError::Damaged { what };
    let (magic, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| damaged("its header is cut off"))?;
    let (length, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged("its header is cut off"))?;
    if magic != MAGIC {
        return Err(damaged("it does not begin as an object does"));
    }
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let text = rest
        .get(..length)
        .ok_or_else(|| damaged("its header is longer than it can be"))?;
    let text: Text =
        serde_json::from_slice(text).map_err(|_| damaged("its header cannot be read"))?;
    if text.version != VERSION {
        return Err(damaged("its header is of another version"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    /// Files outlive releases: this one must be readable for good.
    #[test]
    fn a_header_of_the_first_version_is_read() {
        let text = br#"{"version":1,"size":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","contentType":"text/plain","metadata":{"a":"b"}}"#;
        let mut bytes = [0; HEADER_SIZE];
        bytes[..8].copy_from_slice(b"ALCOVEOB");
        bytes[8..12].copy_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
        bytes[12..12 + text.len()].copy_from_slice(text);
        let read = decode(&bytes).unwrap();
        assert_eq!(
            (read.size, read.content_type.as_deref()),
            (3, Some("text/plain"))
        );
        let mut sha256 = [0; 32];
        hex::decode_to_slice(read.sha256, &mut sha256).unwrap();
        let said = Said {
            content_type: read.content_type,
            metadata: read.metadata,
        };
        assert_eq!(encode(3, sha256, &said).unwrap(), bytes);
    }

    #[test]
    fn what_does_not_fit_into_a_header_is_refused() {
        let said = Said {
            content_type: None,
            metadata: [("a".to_owned(), "\u{1}".repeat(1000))].into(),
        };
        assert!(matches!(
            encode(0, [0; 32], &said),
            Err(StorageError::LongMetadata { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_header_of_any_bytes_is_read_or_refused(start in proptest::collection::vec(any::<u8>(), 0..200), magic: bool) {
            let mut bytes = [0; HEADER_SIZE];
            bytes[..start.len()].copy_from_slice(&start);
            if magic {
                bytes[..8].copy_from_slice(MAGIC);
            }
            let _ = decode(&bytes);
        }
    }
}
