//! The life of a sandbox.

mod state;

use jiff::Timestamp;

pub use state::{DesiredState, FaultCode, SandboxState};

/// A cause: the code for programs, the text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: FaultCode,
    pub message: String,
}

/// What a sandbox is, with what only that state knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Creating,
    Restoring,
    Destroyed,
    Destroying,
    Started,
    /// `fault` tells why, where nobody asked for the stop.
    Stopped {
        fault: Option<Fault>,
    },
    Starting,
    Stopping,
    /// `has_disk` tells whether a later start has something to start from.
    Error {
        fault: Fault,
        has_disk: bool,
    },
    BuildFailed {
        fault: Fault,
    },
    PendingBuild,
    BuildingSnapshot,
    Unknown,
    PullingSnapshot,
    Archived,
    Archiving,
    Resizing,
    Snapshotting,
    Forking,
    Pausing,
    Paused,
    Resuming,
}

impl Phase {
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Error { fault, .. } | Self::BuildFailed { fault } => Some(fault),
            Self::Stopped { fault } => fault.as_ref(),
            _ => None,
        }
    }

    pub fn state(&self) -> SandboxState {
        match self {
            Self::Creating => SandboxState::Creating,
            Self::Restoring => SandboxState::Restoring,
            Self::Destroyed => SandboxState::Destroyed,
            Self::Destroying => SandboxState::Destroying,
            Self::Started => SandboxState::Started,
            Self::Stopped { .. } => SandboxState::Stopped,
            Self::Starting => SandboxState::Starting,
            Self::Stopping => SandboxState::Stopping,
            Self::Error { .. } => SandboxState::Error,
            Self::BuildFailed { .. } => SandboxState::BuildFailed,
            Self::PendingBuild => SandboxState::PendingBuild,
            Self::BuildingSnapshot => SandboxState::BuildingSnapshot,
            Self::Unknown => SandboxState::Unknown,
            Self::PullingSnapshot => SandboxState::PullingSnapshot,
            Self::Archived => SandboxState::Archived,
            Self::Archiving => SandboxState::Archiving,
            Self::Resizing => SandboxState::Resizing,
            Self::Snapshotting => SandboxState::Snapshotting,
            Self::Forking => SandboxState::Forking,
            Self::Pausing => SandboxState::Pausing,
            Self::Paused => SandboxState::Paused,
            Self::Resuming => SandboxState::Resuming,
        }
    }
}

/// What was decided and what is known about a sandbox's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub phase: Phase,
    pub desired: DesiredState,
    /// Number of the newest order; reports made from an older one say nothing.
    pub generation: u64,
    pub state_changed_at: Timestamp,
}

impl Lifecycle {
    pub fn display_state(&self) -> SandboxState {
        self.phase.state()
    }

    pub fn is_visible(&self) -> bool {
        true
    }

    pub fn is_recoverable(&self) -> bool {
        matches!(self.phase, Phase::Error { has_disk: true, .. })
    }
}

/// What a caller or a timer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Start,
    Stop { force: bool },
    Delete,
}

/// What a runner saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    Running,
    Stopped { fault: Option<Fault> },
    Failed { fault: Fault, has_disk: bool },
    Absent,
}

/// How an observation came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Answer,
    Stream,
    Inventory,
}

/// Why a command is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Sandbox state change in progress")]
    InProgress { state: SandboxState },
    #[error("Sandbox is in an errored state")]
    Errored { state: SandboxState },
    #[error("Sandbox is not in a stoppable state")]
    NotStoppable { state: SandboxState },
    #[error("Sandbox is not in a startable state")]
    NotStartable { state: SandboxState },
    #[error("Sandbox is being destroyed")]
    Gone,
}
