//! How the host is.

use serde::{Deserialize, Serialize};

/// What a host has, and how much of it is used by whatever runs there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Of the runner's program.
    pub version: String,
    pub cpu_cores: u32,
    pub memory_bytes: u64,
    /// Of the file system that sandboxes are kept on.
    pub disk_bytes: u64,
    /// Of all processors together, 0 to 100.
    pub cpu_used_percent: f64,
    /// Tasks that run or want to, for each processor, over 15 minutes.
    pub load_average: f64,
    pub memory_used_percent: f64,
    pub disk_used_percent: f64,
}
