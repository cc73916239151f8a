//! One-off commands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /process/execute`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecuteRequest {
    /// Text for the user's shell.
    #[serde(default)]
    pub command: String,
    /// Absolute, or relative to the work dir; the work dir where absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Seconds; 0 means no limit, absent the operator's, which is none unless configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
}

/// Answer of `POST /process/execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecuteResponse {
    /// The shell's exit code; -1 when it could not be started or died by a signal.
    pub exit_code: i32,
    /// Standard output and standard error as they came.
    pub result: String,
}
