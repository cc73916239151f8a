//! Why a use-case could not be done. Few variants, each with one meaning for the caller; one place in
//! `alcove-server` maps them to status codes.

use std::time::Duration;

use alcove_domain::{Reason, SandboxId, SandboxState};

/// Boxed cause, for the log only.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or not the caller's: which of the two stays hidden. 404.
    #[error("{message}")]
    NotFound { message: String },
    /// Something else holds the name, or changes the thing right now. 409.
    #[error("{message}")]
    Conflict {
        message: String,
        code: &'static str,
        state: Option<SandboxState>,
    },
    /// The request is wrong; every reason is named. 400.
    #[error("{}", join(reasons))]
    Invalid {
        reasons: Vec<Reason>,
        code: &'static str,
        /// The sandbox that the request left behind, where there is one.
        sandbox: Option<SandboxId>,
        state: Option<SandboxState>,
    },
    /// The request makes sense, but this server or this class of sandbox does not offer it. 422.
    #[error("{}", join(reasons))]
    Unprocessable { reasons: Vec<Reason> },
    /// No usable credential. 401.
    #[error("{message}")]
    Unauthenticated {
        message: &'static str,
        code: &'static str,
    },
    /// A known caller without the right. 403.
    #[error("{message}")]
    Forbidden { message: String },
    /// Over a limit or quota. 400, as clients expect.
    #[error("{message}")]
    QuotaExceeded { message: String },
    /// Not now. 503.
    #[error("{message}")]
    Unavailable {
        message: &'static str,
        retry_after: Option<Duration>,
        #[source]
        cause: Option<Cause>,
    },
    /// Our fault. The caller reads a fixed sentence, the log gets the chain. 500.
    #[error("{doing}")]
    Internal {
        /// What we were doing.
        doing: &'static str,
        #[source]
        cause: Option<Cause>,
    },
}

fn join(reasons: &[Reason]) -> String {
    let messages: Vec<&str> = reasons
        .iter()
        .map(|reason| reason.message.as_str())
        .collect();
    messages.join(", ")
}

impl Error {
    /// What the caller may read.
    pub fn public_message(&self) -> String {
        match self {
            Self::Internal { .. } => "An unexpected error occurred.".to_owned(),
            other => other.to_string(),
        }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Conflict { code, .. }
            | Self::Invalid { code, .. }
            | Self::Unauthenticated { code, .. } => code,
            Self::Unprocessable { .. } => "UNSUPPORTED",
            Self::Forbidden { .. } => "FORBIDDEN",
            Self::QuotaExceeded { .. } => "QUOTA_EXCEEDED",
            Self::Unavailable { .. } => "SERVICE_UNAVAILABLE",
            Self::Internal { .. } => "INTERNAL_SERVER_ERROR",
        }
    }

    /// The sandbox that the failed request left behind.
    pub fn sandbox(&self) -> Option<&SandboxId> {
        match self {
            Self::Invalid { sandbox, .. } => sandbox.as_ref(),
            _ => None,
        }
    }

    /// The state that stood in the way.
    pub fn state(&self) -> Option<SandboxState> {
        match self {
            Self::Conflict { state, .. } | Self::Invalid { state, .. } => *state,
            _ => None,
        }
    }

    pub(crate) fn access_denied() -> Self {
        Self::Forbidden {
            message: "Access denied".to_owned(),
        }
    }
}
