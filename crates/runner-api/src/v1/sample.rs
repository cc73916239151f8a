//! What sandboxes use.

use std::time::Duration;

use alcove_domain::SandboxId;
use serde::{Deserialize, Serialize};

/// What one sandbox with processes used when the runner looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub sandbox: SandboxId,
    /// Processor time since it was started. None where the host does not count it.
    pub cpu_used: Option<Duration>,
    /// What it may use of processors, in thousandths of one.
    pub cpu_millis: u32,
    /// Memory without the cache of files that nobody has used of late, which the kernel gives up first.
    pub memory_bytes: u64,
    /// The cache of files.
    pub cache_bytes: u64,
    pub memory_limit_bytes: u64,
    /// None if its file system could not be asked.
    pub disk: Option<DiskUsage>,
    /// What it was sent, and has sent, since it was started. None if its network is gone.
    pub network: Option<NetworkUsage>,
}

/// The file system that a sandbox writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    pub used_bytes: u64,
    pub total_bytes: u64,
}

/// What one run of a sandbox used, from its start to the end of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunUsage {
    /// None where the host does not count it.
    pub cpu_used: Option<Duration>,
    pub network: Option<NetworkUsage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUsage {
    pub received_bytes: u64,
    pub sent_bytes: u64,
}
