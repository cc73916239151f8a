//! Version 1 of the runner protocol.

mod build;
mod fetch;
mod host;
mod image;
mod sample;
mod sighting;
mod warm;

use std::collections::BTreeMap;
use std::time::Duration;

use alcove_domain::{NetworkPolicy, SandboxId, VolumeId};
use serde::{Deserialize, Serialize};

pub use self::build::{
    BaseImage, Build, BuildFault, BuildFaultCode, BuildLogPiece, BuildOutcome, PullOfBase,
};
pub use self::fetch::{Fetch, FetchError};
pub use self::host::{HostCapabilities, HostStatus};
pub use self::image::{
    Collected, Needed, Pull, PullFault, PullFaultCode, PullState, RegistryCredentials,
};
pub use self::sample::{DiskUsage, NetworkUsage, RunUsage, Sample};
pub use self::sighting::{Sighting, Wanted};
pub use self::warm::{WarmKind, WarmState, WarmWish};

/// The version of a sandbox's row that an order was made from. Grows with every order; a runner never
/// goes back to a smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// What a sandbox may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time in thousandths of a core.
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// An image as the runner's store names it: the digest of its manifest, `sha256:` and 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageDigest(pub String);

/// An image that a runner has unpacked and can start sandboxes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    pub digest: ImageDigest,
    /// The name it was imported under, such as `default`.
    pub name: String,
    /// Bytes of all unpacked layers.
    pub size_bytes: u64,
    pub entrypoint: Vec<String>,
    /// The user that the image's configuration names; empty where it names none.
    pub user: String,
}

/// What becomes of an order to run where the runner has no disk of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskOrigin {
    /// A new, empty one is made.
    #[default]
    New,
    /// There must be one already, perhaps in an archive: files that are lost are not replaced by none.
    Existing,
}

/// All that a runner needs to make a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    pub image: ImageDigest,
    pub resources: Resources,
    /// The user inside, by name or number; the agent and all it starts run as this user.
    pub user: String,
    /// Variables of every process inside, those of the platform included.
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub disk: DiskOrigin,
    /// What is run beside the agent in place of what the image names; empty leaves it to the image.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// In force before the first process runs.
    #[serde(default)]
    pub network: NetworkSpec,
}

/// What a sandbox may reach, and under which number its owner knows that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Grows with each change. 0 is that of sandboxes from before there were policies: everything that any may reach.
    pub version: u64,
    pub policy: NetworkPolicy,
    /// Whether packets that leave it carry the mark by which hosts limit traffic.
    #[serde(default)]
    pub is_limited: bool,
    /// Who it is for those that are linked with it. Never changes in a sandbox's life; None of what is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// The sandbox that it is linked with: the two reach each other as far as both policies allow it. Whoever orders it
    /// has made sure that the two belong to one organization. Never changes in a sandbox's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_to: Option<SandboxId>,
}

/// A sandbox as others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub sandbox: SandboxId,
    pub name: String,
}

/// A volume in a sandbox. Whoever orders it has made sure that the two belong to one organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    pub volume: VolumeId,
    /// Absolute, inside.
    pub mount_path: String,
    /// A folder of the volume, made if it is not there; the whole volume if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// Whether nobody inside may write to it, root neither. A folder that is not there is made all the same.
    #[serde(default)]
    pub is_read_only: bool,
}

/// What should be of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "camelCase")]
pub enum VolumeGoal {
    /// It is on the host's disk for good, of this size. One that is there already stays as it is.
    Present {
        bytes: u64,
        /// Begins with what this one holds at that moment, and has its size then. Empty if absent. Whoever orders it has
        /// made sure that the two belong to one organization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<VolumeId>,
    },
    /// Nothing is left of it. The last goal of a volume: its id is never used again.
    Absent,
}

/// An order for one volume. Applying it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOrder {
    pub volume: VolumeId,
    #[serde(flatten)]
    pub goal: VolumeGoal,
}

/// What became of an order for a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum VolumeOutcome {
    Done,
    /// Nothing is half-done: a volume that could not be made is not there, one that could not be removed is.
    Failed {
        fault: Fault,
    },
}

/// What should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "camelCase")]
pub enum Goal {
    /// Runs, its agent answers. Made if it does not exist, started if it is stopped, brought back if it is
    /// archived, let go on if it is paused.
    Running(SandboxSpec),
    /// Exists on disk, nothing of it runs. `grace` is the time between the polite signal and the kill;
    /// zero kills at once.
    Stopped { grace: Duration },
    /// Nothing is left of it on the host.
    Absent,
    /// Every process is held where it is, with its memory.
    Paused,
    /// Its disk is in the archive and nowhere else. Only a stopped one can be archived; a newer order ends
    /// the work halfway.
    Archived,
    /// It may reach this and nothing else, at once, and runs or not as before. Connections that are not allowed any more
    /// are cut. For one that does not run there is nothing to do: the order to run says it again.
    Networked(NetworkSpec),
    /// It has these sizes, and runs or not as before. A disk grows only while stopped.
    Resized(Resources),
    /// Its files are an image under this name, and it runs or not as before. An image that has the name
    /// already is the one.
    Captured { name: String },
    /// The child exists, stopped, with a copy of its disk, and it runs or not as before. A child that exists
    /// already is the one; one that was ordered away under a newer generation is not made.
    Copied {
        child: SandboxId,
        child_generation: Generation,
    },
}

/// An order for one sandbox. Applying it again, or after a newer one, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub sandbox: SandboxId,
    pub generation: Generation,
    #[serde(flatten)]
    pub goal: Goal,
}

/// Why a sandbox is not what was asked, in words that a program can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultCode {
    /// The image is not on the runner.
    ImageMissing,
    /// The user of the spec does not exist in the image.
    UserMissing,
    /// No disk space or no inodes left on the host.
    HostDiskFull,
    /// No memory left on the host.
    HostMemoryFull,
    /// No process slots left on the host.
    HostPidsFull,
    /// No free network slot.
    NetworkSlotsFull,
    /// The agent did not answer in time after the start.
    AgentSilent,
    /// The agent ended by itself or was killed.
    AgentExited,
    /// The sandbox used all of its memory and the kernel killed its first process.
    OutOfMemory,
    /// The host was rebooted while the sandbox ran.
    HostRebooted,
    /// The runner has no trace of a sandbox that should exist.
    Lost,
    /// A volume cannot be mounted where it should be.
    VolumeUnusable,
    /// This host cannot do it at all.
    Unsupported,
    /// Anything else; the text says what.
    Internal,
}

/// A cause: the code for programs, the text for people. The text holds no secrets and no host paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub code: FaultCode,
    pub message: String,
}

/// What is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Observed {
    Running {
        agent_version: String,
    },
    /// `fault` tells why, where nobody asked for the stop.
    Stopped {
        fault: Option<Fault>,
    },
    Paused {
        agent_version: String,
    },
    Archived,
    /// It could not be made or started; what was half-made is gone, a disk that existed before is kept.
    Failed {
        fault: Fault,
        has_disk: bool,
    },
    Absent,
}

/// What became of an order that makes something of a sandbox, or changes it, and leaves it as it was
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    Done {
        /// The image of [`Goal::Captured`].
        image: Option<ImageEntry>,
    },
    Undone {
        fault: Fault,
    },
}

/// One observation of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub sandbox: SandboxId,
    /// The newest order that the runner had accepted for this sandbox when it looked.
    pub generation: Generation,
    #[serde(flatten)]
    pub observed: Observed,
    /// Set in the answer to an order of such work, and in no other report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// The version of the network policy that is in force, where it has processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_version: Option<u64>,
    /// What its last run used, where it has stopped and this process of the runner has seen the run end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<RunUsage>,
}

impl Report {
    pub fn new(sandbox: SandboxId, generation: Generation, observed: Observed) -> Self {
        Self {
            sandbox,
            generation,
            observed,
            work: None,
            network_version: None,
            used: None,
        }
    }
}

/// Why a runner did not take an order. Failures of the work itself are [`Observed::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
pub enum OrderError {
    /// A newer order had been accepted; `current` is its generation.
    #[error("the order is older than generation {}", current.0)]
    Stale { current: Generation },
    /// The runner cannot be reached or is shutting down: ask again later.
    #[error("the runner is not available")]
    Unavailable,
}
