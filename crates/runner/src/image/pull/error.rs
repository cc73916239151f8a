//! What can go wrong on an image's way into the store.

use std::io;

use alcove_runner_api::{PullFault, PullFaultCode};

use super::super::content::Sha256Digest;
use super::super::downloads::DownloadError;
use super::super::error::{ImageError, LayerError};
use crate::registry::RegistryError;

/// Why an image did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("cannot download the layer {digest}")]
    Layer {
        digest: Sha256Digest,
        #[source]
        source: DownloadError,
    },
    #[error("the image has {} of {what}, and {} are allowed", size(*bytes), size(*limit))]
    TooLarge {
        what: &'static str,
        bytes: u64,
        limit: u64,
    },
    #[error("nobody wants it any more")]
    Cancelled,
}

/// Bytes for people, with two digits after the point.
fn size(bytes: u64) -> String {
    let (unit, name) = if bytes < 1 << 30 {
        (1_u128 << 20, "MiB")
    } else {
        (1 << 30, "GiB")
    };
    let hundredths = u128::from(bytes) * 100 / unit;
    format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
}

impl PullError {
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error)
            | Self::Layer {
                source: DownloadError::Registry(error),
                ..
            } => error.is_transient(),
            _ => false,
        }
    }

    /// The cause as the control plane hears it.
    pub fn to_fault(&self) -> PullFault {
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        PullFault {
            code: self.code(),
            message,
        }
    }

    pub(super) fn code(&self) -> PullFaultCode {
        match self {
            Self::Registry(error) => code_of(error),
            Self::Layer { source, .. } => match source {
                DownloadError::Registry(error) => code_of(error),
                DownloadError::File { source, .. } if is_full(source) => {
                    PullFaultCode::HostDiskFull
                }
                DownloadError::File { .. } => PullFaultCode::Internal,
                DownloadError::Cancelled => PullFaultCode::Cancelled,
                DownloadError::OutOfTime { .. } => PullFaultCode::Unreachable,
            },
            Self::Image(error) if error.is_disk_full() => PullFaultCode::HostDiskFull,
            Self::Image(ImageError::NoPlatform) => PullFaultCode::NotFound,
            Self::Image(
                ImageError::TooLarge { .. }
                | ImageError::Layer {
                    source: LayerError::TooLarge { .. },
                    ..
                },
            )
            | Self::TooLarge { .. } => PullFaultCode::TooLarge,
            Self::Image(ImageError::Layer {
                source: LayerError::WrongContent { .. },
                ..
            }) => PullFaultCode::WrongDigest,
            Self::Image(
                ImageError::Store { .. }
                | ImageError::Locked { .. }
                | ImageError::BadRecord { .. }
                | ImageError::NewerRecord { .. },
            ) => PullFaultCode::Internal,
            Self::Image(_) => PullFaultCode::BadImage,
            Self::Cancelled => PullFaultCode::Cancelled,
        }
    }
}

fn code_of(error: &RegistryError) -> PullFaultCode {
    match error {
        RegistryError::Reference { .. } | RegistryError::NotFound { .. } => PullFaultCode::NotFound,
        RegistryError::Unauthorized { .. } => PullFaultCode::Unauthorized,
        RegistryError::AnswerTooLarge { .. } => PullFaultCode::TooLarge,
        RegistryError::WrongContent { .. } => PullFaultCode::WrongDigest,
        RegistryError::TooOften { .. }
        | RegistryError::Refused { .. }
        | RegistryError::NotPublic { .. }
        | RegistryError::Unreachable { .. } => PullFaultCode::Unreachable,
        RegistryError::Certificates { .. } => PullFaultCode::Internal,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
