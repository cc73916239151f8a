//! Names of objects, and the file names that stand for them.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Longest name, in bytes: as in S3.
pub const KEY_MAX_BYTES: usize = 1024;
/// Parts that a name may have; each becomes a folder.
const PARTS_MAX: usize = 32;
/// Longest file name that a part may become. File systems take 255 bytes.
const FILE_NAME_MAX_BYTES: usize = 250;

/// Stands before the name of a folder and of an object, so that `a` and `a/b` can both be objects, and no part of
/// a name is `.` or `..` on the disk.
const FOLDER_MARK: char = 'd';
const OBJECT_MARK: char = 'o';

/// What a file name holds as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A room of its own for one kind of object. Names in two buckets have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(&'static str);

impl Bucket {
    /// Build contexts that clients upload; the only one that the S3 face shows.
    pub const CONTEXTS: Self = Self("contexts");
    /// What builds print.
    pub const BUILD_LOGS: Self = Self("build-logs");
    /// Blobs and manifests of the registry.
    pub const REGISTRY: Self = Self("registry");

    pub const ALL: &'static [Self] = &[Self::CONTEXTS, Self::BUILD_LOGS, Self::REGISTRY];

    pub const fn as_str(self) -> &'static str {
        self.0
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|bucket| bucket.0 == text).copied()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a text does not name an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the name has {bytes} bytes; it must have 1 to {KEY_MAX_BYTES}")]
    Length { bytes: usize },
    #[error("the name has more than {PARTS_MAX} parts")]
    TooDeep,
    #[error("the part {part:?} of the name is too long")]
    LongPart { part: String },
    #[error("the name holds a control character")]
    Control,
    #[error("the name holds the part {part:?}")]
    DotPart { part: String },
    #[error("the name has no owner: it must be OWNER/NAME")]
    NoOwner,
}

/// The name of an object: a bucket and a path, `OWNER/…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    bucket: Bucket,
    path: String,
}

impl Key {
    /// # Errors
    /// If the path cannot be kept, or could be taken for another one.
    pub fn new(bucket: Bucket, path: impl Into<String>) -> Result<Self, KeyError> {
        let path = path.into();
        if path.is_empty() || path.len() > KEY_MAX_BYTES {
            return Err(KeyError::Length { bytes: path.len() });
        }
        // Lists are told as XML, which has no way to say these.
        if path
            .chars()
            .any(|character| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}'))
        {
            return Err(KeyError::Control);
        }
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() > PARTS_MAX {
            return Err(KeyError::TooDeep);
        }
        if parts.len() < 2 || parts[0].is_empty() {
            return Err(KeyError::NoOwner);
        }
        for part in parts {
            if matches!(part, "." | "..") {
                return Err(KeyError::DotPart {
                    part: part.to_owned(),
                });
            }
            if escaped(part).len() > FILE_NAME_MAX_BYTES {
                return Err(KeyError::LongPart {
                    part: part.to_owned(),
                });
            }
        }
        Ok(Self { bucket, path })
    }

    pub fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// All of it but the bucket.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Who it is counted for: the first part of the path.
    pub fn owner(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Where the object is, seen from the folder of all objects.
    pub(crate) fn file(&self) -> PathBuf {
        let mut file = PathBuf::from(self.bucket.0);
        let mut parts = self.path.split('/').peekable();
        while let Some(part) = parts.next() {
            let mark = if parts.peek().is_some() {
                FOLDER_MARK
            } else {
                OBJECT_MARK
            };
            file.push(format!("{mark}{}", escaped(part)));
        }
        file
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.path)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a file name in a folder of objects stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileName {
    /// A part that others follow.
    Folder(String),
    /// The last part.
    Object(String),
}

/// None for a name that no part of a key becomes.
pub(crate) fn read_file_name(name: &str) -> Option<FileName> {
    let mark = name.chars().next()?;
    let escaped = &name[mark.len_utf8()..];
    let part = percent_decode_str(escaped).decode_utf8().ok()?.into_owned();
    match mark {
        FOLDER_MARK => Some(FileName::Folder(part)),
        OBJECT_MARK => Some(FileName::Object(part)),
        _ => None,
    }
}

fn escaped(part: &str) -> String {
    utf8_percent_encode(part, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> Result<Key, KeyError> {
        Key::new(Bucket::CONTEXTS, path)
    }

    #[test]
    fn a_name_that_is_none_is_refused_and_told_why() {
        assert_eq!(key(""), Err(KeyError::Length { bytes: 0 }));
        assert_eq!(key("a"), Err(KeyError::NoOwner));
        assert_eq!(key("/a"), Err(KeyError::NoOwner));
        assert_eq!(key("a/b\nc"), Err(KeyError::Control));
        for dots in ["a/../b", "../b", "a/.", "a/./b", "a/.."] {
            assert!(matches!(key(dots), Err(KeyError::DotPart { .. })), "{dots}");
        }
        assert!(matches!(
            key(&format!("a/{}", "é".repeat(100))),
            Err(KeyError::LongPart { .. })
        ));
        assert_eq!(key(&"a/".repeat(33)), Err(KeyError::TooDeep));
        assert!(key(&format!("a/{}", "b".repeat(1023))).is_err());
    }

    #[test]
    fn an_object_and_a_folder_of_one_name_are_two_files() {
        assert_eq!(
            key("org/a").unwrap().file(),
            PathBuf::from("contexts/dorg/oa")
        );
        assert_eq!(
            key("org/a/b c").unwrap().file(),
            PathBuf::from("contexts/dorg/da/ob%20c")
        );
        assert_eq!(
            key("org//").unwrap().file(),
            PathBuf::from("contexts/dorg/d/o")
        );
    }

    proptest! {
        #[test]
        fn file_names_lead_back_and_never_leave_the_folder(path in "[^\u{0}-\u{1f}]{1,20}(/[ -~é]{0,20}){1,5}") {
            if let Ok(key) = key(&path) {
                let file = key.file();
                let mut parts = Vec::new();
                for component in file.components().skip(1) {
                    let std::path::Component::Normal(name) = component else {
                        panic!("{file:?} leaves its folder");
                    };
                    match read_file_name(name.to_str().unwrap()).unwrap() {
                        FileName::Folder(part) | FileName::Object(part) => parts.push(part),
                    }
                }
                prop_assert_eq!(parts.join("/"), path);
            }
        }
    }
}
