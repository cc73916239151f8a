//! The one error object of the toolbox API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `source` of every error that the agent raises. The clients pick an exception class by the pair of source
/// and code.
pub const DAEMON_SOURCE: &str = "DAYTONA_DAEMON";

/// Machine-readable cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ErrorCode {
    BadRequest,
    InvalidRequestBody,
    Unauthorized,
    Forbidden,
    NotFound,
    RequestTimeout,
    Conflict,
    Gone,
    UnprocessableEntity,
    InternalServerError,
    /// What listens on a port of the sandbox, if anything does, gave no answer.
    BadGateway,
    ServiceUnavailable,
    MethodNotAllowed,
    RangeNotSatisfiable,
    FileNotFound,
    FileAccessDenied,
    InvalidFilePath,
    FileReadFailed,
    /// The disk, or the quota on it, is full.
    NoSpace,
    LspServerNotInitialized,
    ProcessExecutionTimeout,
    ProcessNotFound,
    SessionEnded,
    CommandAlreadyCompleted,
    /// No program of this name can be run.
    ExecutableNotFound,
    /// A command was started without an input, or reads it no more.
    CommandStdinUnavailable,
    GitAuthFailed,
    GitRepoNotFound,
    GitBranchNotFound,
    GitBranchExists,
    GitPushRejected,
    GitDirtyWorktree,
    GitMergeConflict,
    GitTransportFailed,
    /// The remote itself refused a reference, by a rule of its own.
    GitRemoteRejected,
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::InvalidRequestBody
            | Self::InvalidFilePath
            | Self::LspServerNotInitialized
            | Self::ExecutableNotFound
            | Self::CommandStdinUnavailable => 400,
            Self::Unauthorized | Self::GitAuthFailed => 401,
            Self::Forbidden | Self::FileAccessDenied => 403,
            Self::NotFound
            | Self::FileNotFound
            | Self::ProcessNotFound
            | Self::GitRepoNotFound
            | Self::GitBranchNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout | Self::ProcessExecutionTimeout => 408,
            Self::Conflict
            | Self::GitBranchExists
            | Self::GitPushRejected
            | Self::GitDirtyWorktree
            | Self::GitMergeConflict => 409,
            Self::Gone | Self::SessionEnded | Self::CommandAlreadyCompleted => 410,
            Self::RangeNotSatisfiable => 416,
            Self::UnprocessableEntity | Self::GitRemoteRejected => 422,
            Self::InternalServerError | Self::FileReadFailed => 500,
            Self::BadGateway | Self::GitTransportFailed => 502,
            Self::ServiceUnavailable => 503,
            Self::NoSpace => 507,
        }
    }

    /// The words that open the message, as the original has them.
    pub const fn message_prefix(self) -> &'static str {
        match self {
            Self::BadRequest | Self::LspServerNotInitialized => "bad request: ",
            Self::InvalidRequestBody => "invalid body request: ",
            Self::Unauthorized | Self::GitAuthFailed => "unauthorized: ",
            Self::Forbidden => "forbidden: ",
            Self::NotFound | Self::GitRepoNotFound | Self::GitBranchNotFound => "not found: ",
            Self::RequestTimeout | Self::ProcessExecutionTimeout => "request timeout: ",
            Self::Conflict
            | Self::GitBranchExists
            | Self::GitPushRejected
            | Self::GitDirtyWorktree
            | Self::GitMergeConflict => "conflict: ",
            Self::Gone | Self::SessionEnded | Self::CommandAlreadyCompleted => "gone: ",
            Self::UnprocessableEntity | Self::GitRemoteRejected => "unprocessable entity: ",
            Self::InternalServerError => "internal server error: ",
            // Codes that the original has without a prefix, or does not have.
            Self::BadGateway
            | Self::ServiceUnavailable
            | Self::MethodNotAllowed
            | Self::RangeNotSatisfiable
            | Self::FileNotFound
            | Self::FileAccessDenied
            | Self::InvalidFilePath
            | Self::FileReadFailed
            | Self::NoSpace
            | Self::GitTransportFailed
            | Self::ExecutableNotFound
            | Self::CommandStdinUnavailable
            | Self::ProcessNotFound => "",
        }
    }
}

/// Body of every answer with a status of 400 or above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    pub status_code: u16,
    /// The status in words, such as `Not Found`; read by clients that know no `message`.
    pub error: String,
    pub message: String,
    pub code: ErrorCode,
    pub source: String,
    /// RFC 3339, UTC.
    pub timestamp: String,
    pub path: String,
    pub method: String,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn codes_are_spelled_as_the_clients_know_them() {
        let spelled = |code: ErrorCode| serde_json::to_string(&code).unwrap();
        assert_eq!(
            spelled(ErrorCode::ProcessExecutionTimeout),
            r#""PROCESS_EXECUTION_TIMEOUT""#
        );
        assert_eq!(spelled(ErrorCode::FileNotFound), r#""FILE_NOT_FOUND""#);
        assert_eq!(
            spelled(ErrorCode::InvalidRequestBody),
            r#""INVALID_REQUEST_BODY""#
        );
        assert_eq!(
            spelled(ErrorCode::CommandAlreadyCompleted),
            r#""COMMAND_ALREADY_COMPLETED""#
        );
    }
}
