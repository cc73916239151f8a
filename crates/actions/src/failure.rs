//! Why an action did not succeed: a sentence for the output, and a status for the log.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use crate::api::Unreachable;

#[derive(Debug)]
pub(crate) struct Failure {
    pub status: StatusCode,
    pub message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The input is at fault.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What the API said no with: its message, or else the status.
    pub(crate) fn refused(status: StatusCode, body: &Bytes) -> Self {
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        let said = serde_json::from_slice::<Refusal>(body).ok();
        let message = said.map(|refusal| refusal.message);
        let message = message.filter(|message| !message.is_empty());
        Self::new(
            status,
            message.unwrap_or_else(|| format!("HTTP {}", status.as_u16())),
        )
    }

    /// The answer ended before its end.
    pub(crate) fn broken() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "the connection broke before the answer was complete",
        )
    }

    pub(crate) fn unreadable() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "the answer is not what it should be",
        )
    }
}

impl From<Unreachable> for Failure {
    fn from(Unreachable(message): Unreachable) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, message)
    }
}
