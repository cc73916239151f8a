//! How the host is.

use std::collections::BTreeSet;

use alcove_domain::Capability;
use serde::{Deserialize, Deserializer, Serialize};

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
    /// What it can do. None of a runner from before they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<HostCapabilities>,
}

/// What a host can do, as it was tried when its runner started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCapabilities {
    /// Of its processors, as Rust names it: `x86_64`.
    pub architecture: String,
    /// Words that are not known here are left out: they are of a newer runner.
    #[serde(deserialize_with = "known")]
    pub can: BTreeSet<Capability>,
}

fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Capability>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    Ok(words
        .iter()
        .filter_map(|word| Capability::parse(word))
        .collect())
}
