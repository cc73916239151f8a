//! What can go wrong with a path, as the API puts it.

use std::io;
use std::path::Path;

use alcove_agent_api::ErrorCode;
use rustix::io::Errno;

/// A failed piece of work on a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FileError {
    pub code: ErrorCode,
    pub message: String,
}

impl FileError {
    /// `doing` reads before the path: `cannot read`.
    pub fn new(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self {
            code: code_of(error),
            message: format!("{doing} {}: {}", path.display(), reason(error)),
        }
    }

    pub fn invalid(path: &Path, reason: &str) -> Self {
        Self {
            code: ErrorCode::InvalidFilePath,
            message: format!("{}: {reason}", path.display()),
        }
    }

    pub fn conflict(path: &Path, reason: &str) -> Self {
        Self {
            code: ErrorCode::Conflict,
            message: format!("{}: {reason}", path.display()),
        }
    }
}

/// The system's words without the number that std adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

fn code_of(error: &io::Error) -> ErrorCode {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => ErrorCode::FileNotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorCode::FileAccessDenied,
        Some(Errno::EXIST | Errno::NOTEMPTY) => ErrorCode::Conflict,
        Some(Errno::NOSPC | Errno::DQUOT) => ErrorCode::NoSpace,
        Some(Errno::IO | Errno::MFILE | Errno::NFILE | Errno::NOMEM) => ErrorCode::FileReadFailed,
        // A file where a folder should be, a name that is too long, links in a circle.
        _ => ErrorCode::InvalidFilePath,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_of_the_system_has_its_code() {
        let code = |errno: Errno| code_of(&io::Error::from(errno));
        assert_eq!(code(Errno::NOENT), ErrorCode::FileNotFound);
        assert_eq!(code(Errno::ROFS), ErrorCode::FileAccessDenied);
        assert_eq!(code(Errno::NOTEMPTY), ErrorCode::Conflict);
        assert_eq!(code(Errno::DQUOT), ErrorCode::NoSpace);
        assert_eq!(code(Errno::NOTDIR), ErrorCode::InvalidFilePath);
    }

    #[test]
    fn the_message_names_the_path_and_no_numbers() {
        let error = FileError::new(
            "cannot open",
            Path::new("/x"),
            &io::Error::from(Errno::NOENT),
        );
        assert_eq!(error.message, "cannot open /x: no such file or directory");
    }
}
