//! The one error body.
//!
//! It is the union of what the API and the in-sandbox daemon of the original answered, so that every
//! client finds the fields that it looks for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// Which part of the system refused. Clients choose an error class by the pair of `source` and `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ErrorSource {
    #[serde(rename = "DAYTONA_API")]
    Api,
    #[serde(rename = "DAYTONA_DAEMON")]
    Daemon,
    #[serde(rename = "DAYTONA_PROXY")]
    Proxy,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    pub status_code: u16,
    /// The reason phrase of the status code.
    pub error: String,
    /// For people. A refused body has every reason in it, joined by a comma and a space.
    pub message: String,
    /// For programs. Stable; texts are not.
    pub code: String,
    pub source: ErrorSource,
    pub timestamp: Timestamp,
    pub path: String,
    pub method: String,
    /// The name under which the server's log knows this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// More about the case, such as the current state of the sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
}
