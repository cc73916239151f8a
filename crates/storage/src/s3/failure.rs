//! Failures of the store, in the words of S3.

use std::io;

use s3s::{S3Error, S3ErrorCode};

use crate::{KeyError, StorageError};

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what errors are turned round by"
)]
pub(super) fn failure(error: StorageError) -> S3Error {
    let code = match &error {
        StorageError::Key(KeyError::Length { .. } | KeyError::LongPart { .. }) => {
            S3ErrorCode::KeyTooLongError
        }
        StorageError::Key(_) => S3ErrorCode::InvalidArgument,
        // S3 has no word for a quota. The message says which it was.
        StorageError::TooLarge { .. }
        | StorageError::OverQuota { .. }
        | StorageError::TooMany { .. } => S3ErrorCode::EntityTooLarge,
        StorageError::TooManyUploads { .. } => S3ErrorCode::SlowDown,
        StorageError::LongMetadata { .. } => S3ErrorCode::MetadataTooLarge,
        StorageError::Exists => S3ErrorCode::PreconditionFailed,
        StorageError::WrongHash => S3ErrorCode::BadDigest,
        StorageError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        StorageError::BadPart { .. } => S3ErrorCode::InvalidPart,
        StorageError::PartOrder => S3ErrorCode::InvalidPartOrder,
        StorageError::BadRange { .. } => S3ErrorCode::InvalidRange,
        StorageError::Body { source } if source.kind() == io::ErrorKind::InvalidData => {
            S3ErrorCode::BadDigest
        }
        StorageError::Body { source } if source.kind() == io::ErrorKind::TimedOut => {
            S3ErrorCode::RequestTimeout
        }
        StorageError::Body { .. } => S3ErrorCode::IncompleteBody,
        StorageError::DiskFull => S3ErrorCode::ServiceUnavailable,
        StorageError::Foreign { .. } => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the object store behind the S3 face failed"
            );
            S3ErrorCode::ServiceUnavailable
        }
        StorageError::Damaged { .. } | StorageError::Io { .. } => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the object storage failed"
            );
            return S3Error::with_message(
                S3ErrorCode::InternalError,
                "an unexpected error occurred",
            );
        }
    };
    S3Error::with_message(code, error.to_string())
}
