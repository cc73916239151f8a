//! The sandbox as the control plane knows it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    DesiredState, Fault, Intervals, Lifecycle, OrganizationId, SandboxId, SandboxState, SnapshotId,
};

/// Sizes as the API counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    pub cpu_cores: u32,
    pub memory_gib: u32,
    pub disk_gib: u32,
    pub gpu: u32,
}

impl Resources {
    /// What a snapshot gets that names no sizes.
    pub const DEFAULT: Self = Self {
        cpu_cores: 1,
        memory_gib: 1,
        disk_gib: 3,
        gpu: 0,
    };
}

/// How a sandbox is isolated, in the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SandboxClass {
    Container,
    LinuxVm,
    Android,
    Windows,
}

impl SandboxClass {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::LinuxVm => "linux-vm",
            Self::Android => "android",
            Self::Windows => "windows",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "container" => Some(Self::Container),
            "linux-vm" => Some(Self::LinuxVm),
            "android" => Some(Self::Android),
            "windows" => Some(Self::Windows),
            _ => None,
        }
    }
}

/// One sandbox. The lifecycle part changes only through [`Lifecycle`]'s transitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    pub id: SandboxId,
    pub organization_id: OrganizationId,
    /// The name as given, also after the sandbox is gone; only live names are unique.
    pub name: String,
    pub snapshot_id: SnapshotId,
    /// The snapshot's name when the sandbox was made.
    pub snapshot: String,
    /// The digest under which the runner knows the image.
    pub image: String,
    pub class: SandboxClass,
    pub user: String,
    /// The caller's own variables, without those of the platform.
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub is_public: bool,
    /// Region id, called `target` on the wire.
    pub region: String,
    pub resources: Resources,
    pub intervals: Intervals,
    pub lifecycle: Lifecycle,
    /// Version of the agent that last answered in the sandbox.
    pub agent_version: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_activity_at: Timestamp,
    /// Grows by one with each write of the row.
    pub version: u64,
}

impl Sandbox {
    /// The state to show, derived from stored and desired state.
    pub fn state(&self) -> SandboxState {
        self.lifecycle.display_state()
    }

    pub fn desired_state(&self) -> DesiredState {
        self.lifecycle.desired
    }

    /// Why the sandbox is not what was asked: set in `error`, `build_failed`, and in `stopped` when
    /// nobody asked for the stop.
    pub fn fault(&self) -> Option<&Fault> {
        self.lifecycle.phase.fault()
    }

    /// Whether a later start may succeed although the sandbox is in `error`.
    pub fn is_recoverable(&self) -> bool {
        self.lifecycle.is_recoverable()
    }

    /// Stopping an ephemeral sandbox deletes it.
    pub fn is_ephemeral(&self) -> bool {
        self.intervals.is_ephemeral()
    }

    /// When the sandbox is deleted whatever its state; None without a time to live.
    pub fn auto_destroy_at(&self) -> Option<Timestamp> {
        self.intervals.auto_destroy_at(self.created_at)
    }

    /// Whether its owner still sees it.
    pub fn is_visible(&self) -> bool {
        self.lifecycle.is_visible()
    }
}

/// A started sandbox for tests of this crate.
#[cfg(test)]
pub(crate) fn sample(at: Timestamp) -> Sandbox {
    let id = SandboxId::from_uuid(uuid::Uuid::from_u128(1));
    Sandbox {
        name: id.to_string(),
        id,
        organization_id: OrganizationId::from_uuid(uuid::Uuid::from_u128(2)),
        snapshot_id: SnapshotId::from_uuid(uuid::Uuid::from_u128(3)),
        snapshot: "default".to_owned(),
        image: "sha256:0".to_owned(),
        class: SandboxClass::Container,
        user: "daytona".to_owned(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        is_public: false,
        region: "us".to_owned(),
        resources: Resources::DEFAULT,
        intervals: Intervals::default(),
        lifecycle: Lifecycle::created(at),
        agent_version: None,
        created_at: at,
        updated_at: at,
        last_activity_at: at,
        version: 1,
    }
}
