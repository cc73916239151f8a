//! What all drivers of one runner share: the parts of the host.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alcove_runner_api::{Fault, FaultCode, Report};
use tokio::sync::mpsc;

use crate::archive::{ArchiveError, Archives};
use crate::disk::{DiskError, Disks};
use crate::disk_layers::DiskLayers;
use crate::disk_pool::{AttachError, DiskPool};
use crate::faults::Faults;
use crate::image::{ImageError, ImageStore};
use crate::journal::{Journal, JournalError};
use crate::limits::{Limits, LimitsError};
use crate::mounts::{MountError, Mounts};
use crate::net::PolicyError;
use crate::net::{InsideDoor, Network, SlotError};
use crate::ranges::{MakeRangeError, Ranges};
use crate::spawner_client::{SpawnError, SpawnerClient};
use crate::volumes::{VolumeError, Volumes};
use crate::warm_pool::WarmPool;

/// Bounds that an operator may set.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// A create is refused when the file system of the data folder has less left.
    pub disk_reserve_bytes: u64,
    /// A create is refused when the host has less memory available.
    pub memory_reserve_bytes: u64,
    /// How long an agent may take to answer after its start.
    pub agent_deadline: Duration,
    /// Seconds that a command gets whose caller names no limit; none for no limit. Holds for sandboxes that start
    /// from now on.
    pub execute_timeout_seconds: Option<u64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            disk_reserve_bytes: 256 << 20,
            memory_reserve_bytes: 128 << 20,
            agent_deadline: Duration::from_secs(10),
            execute_timeout_seconds: None,
        }
    }
}

/// How sandboxes are told to reach the outside, where an operator says more than the host's own settings do.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    /// More certificates that they trust, as PEM.
    pub certificates: String,
    /// The URL of an outbound proxy, for the usual variables of those that nothing narrows.
    pub proxy: Option<String>,
}

#[derive(Debug)]
pub struct Host {
    pub bounds: Bounds,
    pub egress: Egress,
    pub journal: Journal,
    pub limits: Limits,
    pub mounts: Mounts,
    pub disks: Arc<Disks>,
    pub disk_pool: DiskPool,
    pub disk_layers: DiskLayers,
    pub volumes: Volumes,
    pub spawner: SpawnerClient,
    pub network: Network,
    pub inside: InsideDoor,
    pub ranges: Ranges,
    pub images: Arc<ImageStore>,
    pub archives: Arc<Archives>,
    pub warm: WarmPool,
    pub data_dir: PathBuf,
    pub log_folder: PathBuf,
    pub layer_folder: PathBuf,
    /// Folder of the agents' sockets.
    pub sockets: OwnedFd,
    pub agent_program: OwnedFd,
    pub git_program: OwnedFd,
    pub faults: Arc<dyn Faults>,
    /// Observations that nobody asked for.
    pub reports: mpsc::Sender<Report>,
}

/// Why a step on the host failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("the host has {left_mib} MiB of disk left and keeps {reserve_mib} MiB for itself")]
    DiskFull { left_mib: u64, reserve_mib: u64 },
    #[error("the host has {left_mib} MiB of memory left and keeps {reserve_mib} MiB for itself")]
    MemoryFull { left_mib: u64, reserve_mib: u64 },
    #[error("the image {digest} is not on this runner")]
    ImageMissing { digest: String },
    #[error("{message}")]
    UserMissing { message: String },
    #[error("the agent did not answer within {} s", limit.as_secs())]
    AgentSilent { limit: Duration },
    #[error("the agent ended while it started{detail}")]
    AgentEnded { detail: String, was_oom: bool },
    #[error("cannot get an id range")]
    Range(#[source] MakeRangeError),
    #[error("cannot get a disk")]
    Disk(#[source] AttachError),
    #[error("cannot limit the sandbox")]
    Limits(#[source] LimitsError),
    #[error("cannot get a network slot")]
    Network(#[source] SlotError),
    #[error("cannot hold the sandbox to what it may reach")]
    Policy(#[source] PolicyError),
    #[error("cannot put the root together")]
    Mount(#[source] MountError),
    #[error("cannot use a volume")]
    Volume(#[source] VolumeError),
    #[error("cannot start the first process")]
    Spawn(#[source] SpawnError),
    #[error("cannot change the disk")]
    ChangeDisk(#[source] DiskError),
    #[error("cannot use the archive")]
    Archive(#[source] ArchiveError),
    #[error("cannot make an image of the sandbox")]
    Capture(#[source] ImageError),
    #[error("the sandbox has no disk on this runner")]
    NoDisk,
    #[error("the sandbox is {is}, not {wanted}")]
    NotSettled {
        is: &'static str,
        wanted: &'static str,
    },
    #[error("cannot write the journal")]
    Journal(#[source] JournalError),
    #[error("cannot {step}")]
    Io {
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

impl HostError {
    /// Whether it failed for a newer order alone.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::ChangeDisk(DiskError::Cancelled) => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::Interrupted,
            _ => false,
        }
    }

    /// The cause as the control plane hears it: a code, and a text with the whole chain of reasons.
    pub fn to_fault(&self) -> Fault {
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Fault {
            code: self.code(),
            message,
        }
    }

    /// Whether it would have gone well with more of the host left.
    pub fn is_host_full(&self) -> bool {
        matches!(
            self.code(),
            FaultCode::HostDiskFull
                | FaultCode::HostMemoryFull
                | FaultCode::HostPidsFull
                | FaultCode::NetworkSlotsFull
        )
    }

    fn code(&self) -> FaultCode {
        match self {
            Self::DiskFull { .. } => FaultCode::HostDiskFull,
            Self::MemoryFull { .. } => FaultCode::HostMemoryFull,
            Self::ImageMissing { .. } => FaultCode::ImageMissing,
            Self::UserMissing { .. } => FaultCode::UserMissing,
            Self::AgentSilent { .. } => FaultCode::AgentSilent,
            Self::AgentEnded { was_oom: true, .. } => FaultCode::OutOfMemory,
            Self::AgentEnded { was_oom: false, .. } => FaultCode::AgentExited,
            Self::Network(error) => error.fault_code(),
            Self::Policy(error) => code_of(error.errno()),
            Self::Range(MakeRangeError::Namespace(error)) | Self::Spawn(error) => {
                code_of(error.errno())
            }
            Self::Disk(error) => code_of(error.errno()),
            Self::Mount(MountError::VolumePoint { .. }) => FaultCode::VolumeUnusable,
            Self::Mount(error) => code_of(error.errno()),
            Self::Volume(error) => error.fault_code().unwrap_or_else(|| code_of(error.errno())),
            Self::Journal(error) => code_of(error.errno()),
            Self::ChangeDisk(error) => code_of(error.errno()),
            Self::Archive(error) => code_of(error.errno()),
            Self::Capture(error) if error.is_disk_full() => FaultCode::HostDiskFull,
            Self::Capture(_) | Self::NotSettled { .. } | Self::Range(MakeRangeError::Full(_)) => {
                FaultCode::Internal
            }
            Self::NoDisk => FaultCode::Lost,
            Self::Limits(error) => error.fault_code(),
            Self::Io { source, .. } => code_of(source.raw_os_error()),
        }
    }
}

/// Less than this is nothing: a file system keeps some blocks for itself.
const FULL_BYTES: u64 = 16 << 20;

fn code_of(errno: Option<i32>) -> FaultCode {
    match errno {
        Some(libc::ENOSPC | libc::EDQUOT) => FaultCode::HostDiskFull,
        Some(libc::ENOMEM) => FaultCode::HostMemoryFull,
        // Of all that is done here, only clone says so: no process number, or no room in the own group.
        Some(libc::EAGAIN) => FaultCode::HostPidsFull,
        _ => FaultCode::Internal,
    }
}

/// Whether there is so little room that what just failed failed for it.
pub fn is_full(data_dir: &std::path::Path) -> bool {
    rustix::fs::statvfs(data_dir)
        .is_ok_and(|space| space.f_bavail.saturating_mul(space.f_frsize) < FULL_BYTES)
}

/// What the host has left, looked at before a sandbox is made: a host that is driven to its last page or
/// block fails in places where nothing can be undone.
pub fn admit(bounds: &Bounds, data_dir: &std::path::Path) -> Result<(), HostError> {
    let space = rustix::fs::statvfs(data_dir).map_err(|e| HostError::Io {
        step: "ask for the space left",
        source: e.into(),
    })?;
    let left = space.f_bavail.saturating_mul(space.f_frsize);
    if left < bounds.disk_reserve_bytes {
        let (left_mib, reserve_mib) = (left >> 20, bounds.disk_reserve_bytes >> 20);
        return Err(HostError::DiskFull {
            left_mib,
            reserve_mib,
        });
    }
    let info = std::fs::read_to_string("/proc/meminfo").map_err(|source| HostError::Io {
        step: "ask for the memory left",
        source,
    })?;
    if let Some(left) = available_memory(&info)
        && left < bounds.memory_reserve_bytes
    {
        let (left_mib, reserve_mib) = (left >> 20, bounds.memory_reserve_bytes >> 20);
        return Err(HostError::MemoryFull {
            left_mib,
            reserve_mib,
        });
    }
    Ok(())
}

pub(crate) fn available_memory(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let info = "MemTotal:       24689664 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(available_memory(info), Some(23_000_000 << 10));
        assert_eq!(available_memory("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_host_without_room_is_named_as_such() {
        let bounds = Bounds {
            disk_reserve_bytes: u64::MAX,
            ..Bounds::default()
        };
        let error = admit(&bounds, std::path::Path::new("/")).expect_err("no disk is that large");
        assert_eq!(error.to_fault().code, FaultCode::HostDiskFull);
        let bounds = Bounds {
            memory_reserve_bytes: u64::MAX,
            ..Bounds::default()
        };
        let error = admit(&bounds, std::path::Path::new("/")).expect_err("no memory is that large");
        assert_eq!(error.to_fault().code, FaultCode::HostMemoryFull);
    }

    #[test]
    fn no_process_number_left_is_told_apart_from_no_memory_left() {
        assert_eq!(code_of(Some(libc::EAGAIN)), FaultCode::HostPidsFull);
        assert_eq!(code_of(Some(libc::ENOMEM)), FaultCode::HostMemoryFull);
    }
}
