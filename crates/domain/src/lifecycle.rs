//! The life of a sandbox: what it is, what it should become, and what may happen next.
//!
//! ```text
//!            create                        start
//!              │              ┌───────────────────────────────┐
//!              ▼    running   ▼   stop                stopped │
//!  unknown ► creating ─────► started ───────► stopping ─────► stopped ─────► archiving
//!    │         │            │ ▲ │  │            ▲              ▲ │   archive     │
//!    │         │     failed │ │ │  └────────────┼─ agent died ─┘ │ start         ▼
//!    │         ▼            │ │ │ running       │ stop           ▼            archived
//!    │        error ◄───────┘ │ └◄──────────────┴──────────── starting           │
//!    │         ▲              │                                                  │
//!    └─────────┘              ├◄──── resuming ◄──── paused ◄──── pausing         │
//!   no copy                   │        start           stop: stopping            │
//!                             └◄──── restoring ◄─────────────────────────────────┘ start
//!
//!  started ⇄ resizing, snapshotting, forking ⇄ stopped: back to where it came from, done or not
//!  delete, from everywhere: destroying ───────► destroyed
//! ```
//!
//! A [`Lifecycle`] changes in three ways: a [`Command`] is taken or refused, an [`Observation`] is
//! taken or dropped, and an order that has had its time is given up. Each consumes the old value and
//! gives a [`Step`]: the new value and what is to be done about it.
//!
//! The generation is the fence. Every order carries a new one, and so does every turn that nobody
//! ordered (a sandbox that died): an observation made under an older one says nothing and is dropped.
//! Within one generation an observation on the stream may be doubled or late, so a settled state
//! leaves only for an observation that cannot stem from the way to it.
//!
//! A fork is born in `unknown`: its row is there, and it waits for the copy of its parent's disk. One whose image
//! is built for it is born in `pending_build` and waits for the image:
//!
//! ```text
//!  pending_build ──► building_snapshot ──► creating
//!        └───────────────────┴───────────► build_failed
//! ```
//!
//! `pulling_snapshot` is named already; nothing leads to it yet, and no match here has a `_` arm over phases, so
//! that each must be thought about when it comes.

mod command;
mod observe;
mod state;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

use crate::{Resources, SandboxId, SnapshotId};

pub use state::{DesiredState, FaultCode, SandboxState};

/// A cause: the code for programs, the text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: FaultCode,
    pub message: String,
}

impl Fault {
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
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
    /// Nothing is ordered yet: it waits for its image, whose build has not begun.
    PendingBuild,
    /// It waits for its image, which is being built.
    BuildingSnapshot,
    /// Nothing is ordered yet: it waits for the copy of its parent's disk.
    Unknown,
    PullingSnapshot,
    Archived,
    Archiving,
    /// The sizes that it is to get; the old ones count until they are there.
    Resizing {
        to: Resources,
    },
    /// The snapshot that its files become.
    Snapshotting {
        snapshot: SnapshotId,
    },
    /// The new sandbox that gets a copy of its disk.
    Forking {
        child: SandboxId,
    },
    Pausing,
    Paused,
    Resuming,
}

/// What of a phase matters to a command that needs a settled sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Started,
    Stopped,
    Paused,
    Archived,
    Errored {
        has_disk: bool,
    },
    /// On the way somewhere.
    Moving,
    Gone,
}

impl Phase {
    fn standing(&self) -> Standing {
        match self {
            Self::Started => Standing::Started,
            Self::Stopped { .. } => Standing::Stopped,
            Self::Paused => Standing::Paused,
            Self::Archived => Standing::Archived,
            Self::Error { has_disk, .. } => Standing::Errored {
                has_disk: *has_disk,
            },
            Self::BuildFailed { .. } => Standing::Errored { has_disk: false },
            Self::Creating
            | Self::Restoring
            | Self::Starting
            | Self::Stopping
            | Self::PendingBuild
            | Self::BuildingSnapshot
            | Self::Unknown
            | Self::PullingSnapshot
            | Self::Archiving
            | Self::Resizing { .. }
            | Self::Snapshotting { .. }
            | Self::Forking { .. }
            | Self::Pausing
            | Self::Resuming => Standing::Moving,
            Self::Destroying | Self::Destroyed => Standing::Gone,
        }
    }

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
            Self::Resizing { .. } => SandboxState::Resizing,
            Self::Snapshotting { .. } => SandboxState::Snapshotting,
            Self::Forking { .. } => SandboxState::Forking,
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
    /// Number of the newest order or unordered turn.
    pub generation: u64,
    /// Moves with the state only, never with activity: a stuck sandbox with traffic is still stuck.
    pub state_changed_at: Timestamp,
}

/// What a caller or a timer wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Start,
    /// `force` kills at once.
    Stop {
        force: bool,
    },
    Delete,
    /// Hold every process where it is, with its memory.
    Pause,
    /// Put the disk away, compressed; a start brings it back.
    Archive,
    /// Try again what ended in an error.
    Recover {
        skip_start: bool,
    },
    Resize {
        to: Resources,
    },
    Snapshot {
        snapshot: SnapshotId,
    },
    Fork {
        child: SandboxId,
    },
}

/// What a runner saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    Running,
    Stopped { fault: Option<Fault> },
    Failed { fault: Fault, has_disk: bool },
    Absent,
    Paused,
    Archived,
}

/// What there is to tell of the build of its image to a sandbox that waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildNews {
    Begun,
    /// The image is there.
    Made,
    Failed(Fault),
}

/// How an observation came, which decides how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// As the answer to the order of its generation: what the order led to.
    Answer,
    /// On the stream of things that nobody ordered: true when it was seen, perhaps in the middle of an
    /// order, perhaps a while ago, perhaps twice.
    Stream,
    /// From a look at everything on the host.
    Inventory,
}

/// What a runner is to be told. What a piece of work is about stands in the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Running,
    Stopped {
        force: bool,
    },
    Absent,
    Paused,
    Archived,
    /// It has the sizes of [`Phase::Resizing`], running or not as before.
    Resized,
    /// Its files are the image of [`Phase::Snapshotting`], and it is as before.
    Captured,
    /// The child of [`Phase::Forking`] has a copy of its disk, and it is as before.
    Copied,
}

/// What a transition asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changed: already so, or the observation says nothing.
    Keep,
    /// The lifecycle changed and no order is open any more.
    Settle,
    /// The lifecycle changed; the runner is to be given this goal under the new generation.
    Order(Goal),
}

/// Outcome of a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub lifecycle: Lifecycle,
    pub effect: Effect,
}

/// Why a command is not taken. Every one is the caller's to handle: none is a server error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Sandbox state change in progress")]
    InProgress { state: SandboxState },
    #[error("Sandbox is in an errored state")]
    Errored { state: SandboxState },
    #[error("Sandbox is not in a stoppable state")]
    NotStoppable { state: SandboxState },
    #[error("Sandbox is not started, so it cannot be paused")]
    NotPausable { state: SandboxState },
    #[error("Sandbox is not stopped, so it cannot be archived")]
    NotArchivable { state: SandboxState },
    #[error("Sandbox is not in a recoverable error state")]
    NotRecoverable { state: SandboxState },
    /// Resize, snapshot and fork want a sandbox that is settled and has its disk at hand.
    #[error("Sandbox must be started or stopped")]
    NotSettled { state: SandboxState },
    /// It is going or gone: as good as not there.
    #[error("Sandbox not found")]
    Gone,
}

impl Lifecycle {
    /// A sandbox that was just asked for; its first order is [`Goal::Running`].
    pub fn created(at: Timestamp) -> Self {
        Self {
            phase: Phase::Creating,
            desired: DesiredState::Started,
            generation: 1,
            state_changed_at: at,
        }
    }

    /// A fork that waits for its copy.
    pub fn awaiting_copy(at: Timestamp) -> Self {
        Self {
            phase: Phase::Unknown,
            ..Self::created(at)
        }
    }

    /// A sandbox that waits for its image to be built.
    pub fn awaiting_image(at: Timestamp) -> Self {
        Self {
            phase: Phase::PendingBuild,
            ..Self::created(at)
        }
    }

    /// Whether it waits for its image to be built.
    pub fn awaits_image(&self) -> bool {
        matches!(self.phase, Phase::PendingBuild | Phase::BuildingSnapshot)
    }

    /// The state to show: what is, with what is about to be where nothing moves yet.
    pub fn display_state(&self) -> SandboxState {
        match (self.phase.state(), self.desired) {
            (SandboxState::Started, DesiredState::Stopped) => SandboxState::Stopping,
            (SandboxState::Started | SandboxState::Stopped, DesiredState::Destroyed) => {
                SandboxState::Destroying
            }
            (SandboxState::Stopped, DesiredState::Started) => SandboxState::Starting,
            (SandboxState::Stopped, DesiredState::Archived) => SandboxState::Archiving,
            (SandboxState::Unknown, DesiredState::Started) => SandboxState::Creating,
            (SandboxState::Archived, DesiredState::Started) => SandboxState::Restoring,
            (state, _) => state,
        }
    }

    /// Whether its owner still sees it.
    pub fn is_visible(&self) -> bool {
        match self.phase {
            Phase::Destroyed => false,
            Phase::Error { .. } | Phase::BuildFailed { .. } => {
                self.desired != DesiredState::Destroyed
            }
            _ => true,
        }
    }

    /// Whether it still holds its name.
    pub fn holds_name(&self) -> bool {
        self.desired != DesiredState::Destroyed
    }

    /// Whether a start may succeed although the sandbox is in `error`.
    pub fn is_recoverable(&self) -> bool {
        matches!(self.phase, Phase::Error { has_disk: true, .. })
            && self.desired != DesiredState::Destroyed
    }

    /// Whether it has processes and nothing is being made of it: a change of its network is brought to it then. On
    /// every way to here the order has brought it already.
    pub fn is_at_work(&self) -> bool {
        matches!(self.phase, Phase::Started | Phase::Paused)
    }

    /// Whether a change of its network may matter before somebody starts it.
    pub fn may_have_processes(&self) -> bool {
        match self.open_goal() {
            None => self.is_at_work(),
            Some(Goal::Stopped { .. } | Goal::Absent | Goal::Archived) => false,
            Some(Goal::Running | Goal::Paused | Goal::Resized | Goal::Captured | Goal::Copied) => {
                true
            }
        }
    }

    /// The goal that the open order has; None where nothing is being worked on.
    pub fn open_goal(&self) -> Option<Goal> {
        match self.phase {
            Phase::Creating | Phase::Starting | Phase::Restoring | Phase::Resuming => {
                Some(Goal::Running)
            }
            Phase::Stopping => Some(Goal::Stopped { force: false }),
            Phase::Destroying => Some(Goal::Absent),
            Phase::Archiving => Some(Goal::Archived),
            Phase::Resizing { .. } => Some(Goal::Resized),
            Phase::Snapshotting { .. } => Some(Goal::Captured),
            Phase::Forking { .. } => Some(Goal::Copied),
            Phase::Pausing => Some(Goal::Paused),
            Phase::Started
            | Phase::Stopped { .. }
            | Phase::Error { .. }
            | Phase::BuildFailed { .. }
            | Phase::Destroyed
            | Phase::PendingBuild
            | Phase::BuildingSnapshot
            | Phase::Unknown
            | Phase::PullingSnapshot
            | Phase::Archived
            | Phase::Paused => None,
        }
    }

    /// Puts the open order above `current`, which the runner says it has already seen.
    #[must_use]
    pub fn outrank(mut self, current: u64) -> Self {
        self.generation = self.generation.max(current).saturating_add(1);
        self
    }

    fn keep(self) -> Step {
        Step {
            lifecycle: self,
            effect: Effect::Keep,
        }
    }

    fn settle(self, phase: Phase, desired: DesiredState, at: Timestamp) -> Step {
        let state_changed_at = if phase.state() == self.phase.state() {
            self.state_changed_at
        } else {
            at
        };
        Step {
            lifecycle: Self {
                phase,
                desired,
                generation: self.generation,
                state_changed_at,
            },
            effect: Effect::Settle,
        }
    }

    /// A change that nobody ordered.
    fn turn(mut self, phase: Phase, desired: DesiredState, at: Timestamp) -> Step {
        self.generation = self.generation.saturating_add(1);
        self.settle(phase, desired, at)
    }

    fn order(self, phase: Phase, desired: DesiredState, goal: Goal, at: Timestamp) -> Step {
        let step = self.turn(phase, desired, at);
        Step {
            effect: Effect::Order(goal),
            ..step
        }
    }

    fn order_start(self, phase: Phase, at: Timestamp) -> Step {
        self.order(phase, DesiredState::Started, Goal::Running, at)
    }

    fn order_stop(self, force: bool, at: Timestamp) -> Step {
        self.order(
            Phase::Stopping,
            DesiredState::Stopped,
            Goal::Stopped { force },
            at,
        )
    }
}

/// Whether a state may stand beside a wish: the invariant that every write keeps.
pub fn may_coexist(desired: DesiredState, state: SandboxState) -> bool {
    use SandboxState as S;
    match desired {
        DesiredState::Started => !matches!(
            state,
            S::Destroyed | S::Destroying | S::Stopping | S::Pausing
        ),
        DesiredState::Stopped => matches!(
            state,
            S::Started
                | S::Stopping
                | S::Stopped
                | S::Error
                | S::BuildFailed
                | S::Resizing
                | S::Snapshotting
                | S::Forking
                | S::Paused
                | S::Pausing
        ),
        DesiredState::Archived => matches!(
            state,
            S::Archived | S::Archiving | S::Stopped | S::Error | S::BuildFailed
        ),
        DesiredState::Destroyed => matches!(
            state,
            S::Destroyed
                | S::Destroying
                | S::Stopped
                | S::Started
                | S::Archived
                | S::Error
                | S::BuildFailed
                | S::Archiving
                | S::PendingBuild
                | S::Paused
        ),
        DesiredState::Paused => matches!(state, S::Started | S::Pausing | S::Paused),
        DesiredState::Resized => false,
    }
}
