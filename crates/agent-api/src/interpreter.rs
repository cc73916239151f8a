//! Interpreter contexts: code that keeps its state from one run to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Id of the context that is there without being made. It is not listed and cannot be deleted.
pub const DEFAULT_CONTEXT: &str = "default";

/// WebSocket close code of an execution that took too long.
pub const CLOSE_TIMED_OUT: u16 = 4008;

/// The same for Go clients, which take every other code for a broken connection.
pub const CLOSE_TIMED_OUT_GO: u16 = 4001;

/// Seconds that an execution gets when its request says nothing.
pub const DEFAULT_EXECUTION_SECONDS: u64 = 600;

/// Body of `POST /process/interpreter/context`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateContextRequest {
    /// Absolute, or relative to the work dir; the work dir where absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// `python` where absent or empty; else `javascript` or `typescript`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterpreterContext {
    pub id: String,
    pub cwd: String,
    pub language: String,
    /// Whether it takes executions.
    pub active: bool,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// Answer of `GET /process/interpreter/context`: without the default context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListContextsResponse {
    pub contexts: Vec<InterpreterContext>,
}

/// First message of a client on `GET /process/interpreter/execute`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterpreterRequest {
    #[serde(default)]
    pub code: String,
    /// The default context where absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// Seconds; [`DEFAULT_EXECUTION_SECONDS`] where absent, no limit for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Set for this execution and taken back after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
}

/// A message to the client. All keys are always there, empty where they do not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterpreterMessage {
    pub r#type: InterpreterMessageKind,
    /// Of output; of control, how the execution ended: `completed` or `interrupted`.
    pub text: String,
    /// Of an error: its class.
    pub name: String,
    /// Of an error: its message.
    pub value: String,
    pub traceback: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InterpreterMessageKind {
    Stdout,
    Stderr,
    Error,
    #[default]
    Control,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_message_has_all_its_keys() {
        let message = InterpreterMessage {
            text: "completed".into(),
            ..Default::default()
        };
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"type":"control","text":"completed","name":"","value":"","traceback":""}"#
        );
    }
}
