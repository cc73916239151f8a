//! Long-lived shells.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Reserved for the image's own program.
pub const ENTRYPOINT_SESSION: &str = "entrypoint";

/// The one command of that session.
pub const ENTRYPOINT_COMMAND: &str = "entrypoint_command";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateSessionRequest {
    #[serde(default)]
    pub session_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub session_id: String,
    /// In order of creation.
    pub commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    pub id: String,
    pub command: String,
    /// Absent while the command waits or runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionExecRequest {
    #[serde(default)]
    pub command: String,
    #[serde(default)]
    pub run_async: Option<bool>,
    /// Older spelling of `run_async`; either one is enough.
    #[serde(default)]
    pub r#async: Option<bool>,
    #[serde(default)]
    pub suppress_input_echo: Option<bool>,
}

impl SessionExecRequest {
    pub fn is_async(&self) -> bool {
        self.run_async.unwrap_or(false) || self.r#async.unwrap_or(false)
    }
}

/// Answer of session exec. All keys are always there, null where they do not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionExecResponse {
    pub cmd_id: String,
    pub output: Option<String>,
    pub stdout: Option<String>,
    pub stderr: Option<String>,
    pub exit_code: Option<i32>,
}

/// Logs of a command, for clients that read JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionLogs {
    pub output: String,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InputRequest {
    #[serde(default)]
    pub data: String,
}
