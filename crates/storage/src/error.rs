//! Why something could not be done with an object.

use std::io;

use crate::KeyError;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    #[error("the object cannot have this name")]
    Key(#[from] KeyError),
    #[error("an object has at most {max} bytes")]
    TooLarge { max: u64 },
    #[error("the objects of an organization have at most {max} bytes together")]
    OverQuota { max: u64 },
    #[error("an organization has at most {max} objects")]
    TooMany { max: u64 },
    #[error("an organization has at most {max} uploads in parts at once")]
    TooManyUploads { max: u64 },
    #[error("what is said of the object takes more than {max} bytes")]
    LongMetadata { max: usize },
    /// Only where the caller wanted a new one.
    #[error("there is an object with this name")]
    Exists,
    #[error("the content is not what its hash says")]
    WrongHash,
    #[error("there is no such upload")]
    NoSuchUpload,
    #[error("part {number} is not there, or another one")]
    BadPart { number: u32 },
    #[error("the parts are not in order")]
    PartOrder,
    #[error("the range is outside of the object, which has {size} bytes")]
    BadRange { size: u64 },
    #[error("the content did not come to its end")]
    Body {
        #[source]
        source: io::Error,
    },
    #[error("the host has no disk space left")]
    DiskFull,
    /// It is away, or does not do as it is told.
    #[error("the object store behind this server failed: it cannot {step}")]
    Foreign {
        step: &'static str,
        /// Holds no keys.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("an object on the disk is damaged: {what}")]
    Damaged { what: &'static str },
    #[error("cannot {step}")]
    Io {
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    pub(crate) fn foreign(
        step: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Foreign {
            step,
            source: Box::new(source),
        }
    }
}

pub(crate) fn failed(step: &'static str) -> impl Fn(io::Error) -> StorageError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::DiskFull,
        _ => StorageError::Io { step, source },
    }
}
