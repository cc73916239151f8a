//! Facts about the agent and its sandbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub version: String,
}

/// Answer of the calls that name a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dir {
    pub dir: String,
}

/// Body of `POST /init`.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct InitRequest {
    #[serde(default)]
    pub token: String,
}

impl std::fmt::Debug for InitRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitRequest").finish_non_exhaustive()
    }
}

/// Answer of the calls that have nothing to say but that they were heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    pub message: String,
}

/// Body of `POST /env`. What is unset goes first, then `set` is applied.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateEnvRequest {
    #[serde(default)]
    pub set: Option<BTreeMap<String, String>>,
    /// Names.
    #[serde(default)]
    pub unset: Option<Vec<String>>,
    /// Variables whose value begins so go too, except those that `set` names.
    #[serde(default)]
    pub unset_value_prefix: Option<String>,
}

// Values are often secrets.
impl std::fmt::Debug for UpdateEnvRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateEnvRequest").finish_non_exhaustive()
    }
}

/// Answer of `GET /port`: TCP ports that something in the sandbox listens on, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortList {
    pub ports: Vec<u16>,
}

/// Answer of `GET /port/{port}/in-use`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsPortInUseResponse {
    pub is_in_use: bool,
}

/// Answer of `GET /system/metrics`: limits of the sandbox and what it uses of them. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemMetrics {
    /// Processors, rounded up where the limit is a part of one.
    pub cpu_count: u64,
    /// Percent of the processor limit since the sample before, at least a moment ago; 0 on the first.
    pub cpu_used_pct: f64,
    pub disk_total: u64,
    pub disk_used: u64,
    pub disk_free: u64,
    pub mem_total: u64,
    /// Without what the kernel can drop at once.
    pub mem_used: u64,
    /// File contents that the kernel keeps in memory for the sandbox.
    pub mem_cache: u64,
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// Seconds.
    pub timestamp_unix: i64,
}
