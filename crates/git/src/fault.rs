//! Why an operation was refused or failed.

use alcove_agent_api::ErrorCode;
use git2::{Error, ErrorClass};

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub code: ErrorCode,
    /// For the caller; holds no secret once [`Secrets::redact`](crate::credentials::Secrets::redact) has seen it.
    pub message: String,
}

impl Fault {
    pub fn new(code: ErrorCode, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    pub fn invalid(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::InternalServerError, message)
    }

    /// A failed call of the system on a file.
    pub fn of_file(what: &str, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::NotFound,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ErrorCode::Forbidden
            }
            std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
                ErrorCode::Conflict
            }
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorCode::NoSpace
            }
            std::io::ErrorKind::InvalidFilename => ErrorCode::BadRequest,
            _ => ErrorCode::InternalServerError,
        };
        Self::new(code, format_args!("{what}: {error}"))
    }
}

/// What libgit2 says by code and class. Where an operation knows better, it looks before this does.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        use git2::ErrorCode as Git;
        let message = error.message();
        let of_system = |text: &str| error.class() == ErrorClass::Os && message.contains(text);
        let code = match error.code() {
            Git::NotFound if error.class() == ErrorClass::Repository => ErrorCode::GitRepoNotFound,
            Git::NotFound | Git::UnbornBranch => ErrorCode::NotFound,
            Git::Exists | Git::Locked | Git::Modified => ErrorCode::Conflict,
            Git::Conflict | Git::Uncommitted | Git::IndexDirty => ErrorCode::GitDirtyWorktree,
            Git::Unmerged | Git::MergeConflict => ErrorCode::GitMergeConflict,
            Git::NotFastForward => ErrorCode::GitPushRejected,
            Git::Ambiguous | Git::InvalidSpec | Git::BareRepo | Git::Invalid => {
                ErrorCode::BadRequest
            }
            Git::Auth => ErrorCode::GitAuthFailed,
            Git::Certificate => ErrorCode::GitTransportFailed,
            _ if of_system("Permission denied") || of_system("Read-only file system") => {
                ErrorCode::Forbidden
            }
            _ if of_system("File name too long") => ErrorCode::BadRequest,
            _ if of_system("No space left") || of_system("quota exceeded") => ErrorCode::NoSpace,
            _ => match error.class() {
                ErrorClass::Net | ErrorClass::Http | ErrorClass::Ssl | ErrorClass::Ssh => {
                    ErrorCode::GitTransportFailed
                }
                _ => ErrorCode::InternalServerError,
            },
        };
        Self::new(code, message)
    }
}
