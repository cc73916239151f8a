//! How a runner is set up, and why one does not start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::build::{ContextSource, NoContexts};
use crate::faults::{Faults, NoFaults};
use crate::host::{Bounds, Egress};
use crate::net::{Ipv4Pool, NetworkConfig};
use crate::registry::RegistrySettings;

/// The static programs that a runner needs.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    pub agent: PathBuf,
    /// Does the agent's git operations.
    pub git: PathBuf,
    pub spawner: PathBuf,
}

/// How a runner is set up.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    pub data_dir: PathBuf,
    /// Name of the parent control group; unique on the host.
    pub cgroup_parent: String,
    pub network: NetworkConfig,
    pub programs: Programs,
    /// Disks and id ranges to hold ready.
    pub ready_parts: usize,
    /// Size of the disks that are held ready.
    pub ready_disk_bytes: u64,
    pub bounds: Bounds,
    pub egress: Egress,
    /// How registries of images are reached.
    pub registries: RegistrySettings,
    /// Hosts at private addresses that files may be fetched from which sandboxes begin with.
    pub source_hosts: Vec<String>,
    /// Where builds find what organizations have uploaded for them.
    pub contexts: Arc<dyn ContextSource>,
    pub faults: Arc<dyn Faults>,
}

impl RunnerConfig {
    /// The usual set-up for a data folder. `key` tells this instance from others on the host.
    pub fn new(data_dir: &Path, key: &[u8], pool: Ipv4Pool, programs: Programs) -> Self {
        use sha2::{Digest, Sha256};
        let name = hex::encode(&Sha256::digest(key)[..3]);
        Self {
            data_dir: data_dir.to_owned(),
            cgroup_parent: format!("alcove-{name}"),
            network: NetworkConfig::for_instance(key, pool),
            programs,
            ready_parts: 8,
            ready_disk_bytes: 3 << 30,
            bounds: Bounds::default(),
            egress: Egress::default(),
            registries: RegistrySettings::default(),
            source_hosts: Vec::new(),
            contexts: Arc::new(NoContexts),
            faults: Arc::new(NoFaults),
        }
    }
}

/// Why a runner does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {step} {path}")]
    Folder {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot {what}")]
    Part {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub(super) fn part<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &'static str,
) -> impl FnOnce(E) -> OpenError {
    move |error| OpenError::Part {
        what,
        source: error.into(),
    }
}
