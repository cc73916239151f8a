//! Why a use-case could not be done. Few variants, each with one meaning for the caller; one place in
//! `alcove-server` maps them to status codes.

use std::time::Duration;

use alcove_domain::reason::ReasonKind;
use alcove_domain::{FaultCode, Reason, Refusal, SandboxId, SandboxState};
use alcove_store::StoreError;

use crate::fleet::NO_AVAILABLE_RUNNERS;

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
        /// What went wrong with that sandbox.
        fault: Option<FaultCode>,
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
    /// Too often of late. 429.
    #[error("{message}")]
    TooManyRequests {
        message: &'static str,
        retry_after: Duration,
    },
    /// Not now. 503.
    #[error("{message}")]
    Unavailable {
        message: &'static str,
        retry_after: Option<Duration>,
        #[source]
        cause: Option<Cause>,
    },
    /// The host has no room to write anything down. 503.
    #[error("The host has no disk space left")]
    DiskFull {
        #[source]
        cause: Cause,
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
            Self::TooManyRequests { .. } => "TOO_MANY_REQUESTS",
            Self::Unavailable { .. } => "SERVICE_UNAVAILABLE",
            Self::DiskFull { .. } => "HOST_DISK_FULL",
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

    /// What went wrong with the sandbox that the request was about.
    pub fn fault(&self) -> Option<FaultCode> {
        match self {
            Self::Invalid { fault, .. } => *fault,
            Self::DiskFull { .. } => Some(FaultCode::HostDiskFull),
            _ => None,
        }
    }

    /// The caller came with something else than the operation is for.
    pub(crate) fn wrong_credential() -> Self {
        Self::Forbidden {
            message: "Invalid authentication context".to_owned(),
        }
    }

    pub(crate) fn access_denied() -> Self {
        Self::Forbidden {
            message: "Access denied".to_owned(),
        }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden {
            message: message.into(),
        }
    }

    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict {
            message: message.into(),
            code,
            state: None,
        }
    }

    pub(crate) fn bad_credentials() -> Self {
        Self::Unauthenticated {
            message: "Invalid credentials",
            code: "UNAUTHORIZED",
        }
    }

    pub(crate) fn shutting_down() -> Self {
        Self::Unavailable {
            message: "The server is shutting down",
            retry_after: Some(Duration::from_secs(1)),
            cause: None,
        }
    }

    pub(crate) fn store(doing: &'static str, error: StoreError) -> Self {
        match error {
            StoreError::Changed { .. } => Self::Conflict {
                message: "Sandbox was modified by another operation".to_owned(),
                code: "SANDBOX_MODIFIED",
                state: None,
            },
            StoreError::OverQuota(exceeded) => Self::QuotaExceeded {
                message: exceeded.to_string(),
            },
            StoreError::HostIsPromised(promised) => Self::Invalid {
                reasons: vec![Reason::invalid(promised.to_string())],
                code: NO_AVAILABLE_RUNNERS,
                sandbox: None,
                state: None,
                fault: None,
            },
            StoreError::OrganizationClosed => Self::NotFound {
                message: "Organization not found".to_owned(),
            },
            full if full.is_disk_full() => Self::DiskFull {
                cause: Box::new(full),
            },
            other => Self::Internal {
                doing,
                cause: Some(Box::new(other)),
            },
        }
    }

    /// A request with these reasons against it. Wrong beats not offered.
    pub(crate) fn refused(reasons: Vec<Reason>) -> Self {
        let is_wrong = reasons
            .iter()
            .any(|reason| reason.kind == ReasonKind::Invalid);
        if is_wrong {
            Self::Invalid {
                reasons,
                code: "BAD_REQUEST",
                sandbox: None,
                state: None,
                fault: None,
            }
        } else {
            Self::Unprocessable { reasons }
        }
    }

    pub(crate) fn check(reasons: Vec<Reason>) -> Result<(), Self> {
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(Self::refused(reasons))
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let invalid = |code, state| Self::Invalid {
            reasons: vec![Reason::invalid(message.clone())],
            code,
            sandbox: None,
            state: Some(state),
            fault: None,
        };
        match refusal {
            Refusal::InProgress { state } => Self::Conflict {
                message,
                code: "SANDBOX_STATE_CHANGE_IN_PROGRESS",
                state: Some(state),
            },
            Refusal::Errored { state } => invalid("SANDBOX_ERRORED", state),
            Refusal::NotStoppable {
                state: state @ SandboxState::Stopped,
            }
            | Refusal::NotPausable {
                state: state @ SandboxState::Paused,
            }
            | Refusal::NotArchivable {
                state: state @ SandboxState::Archived,
            } => invalid("ALREADY_IN_STATE", state),
            Refusal::NotStoppable { state } => invalid("SANDBOX_NOT_STOPPABLE", state),
            Refusal::NotPausable { state } => invalid("SANDBOX_NOT_PAUSABLE", state),
            Refusal::NotArchivable { state } => invalid("SANDBOX_NOT_ARCHIVABLE", state),
            Refusal::NotRecoverable { state } => invalid("SANDBOX_NOT_RECOVERABLE", state),
            Refusal::NotSettled { state } => invalid("SANDBOX_NOT_STARTED_OR_STOPPED", state),
            Refusal::Gone => Self::NotFound { message },
        }
    }
}
