//! The life of a sandbox: what it is, what it should become, and what may happen next.
//!
//! ```text
//!            create                        start
//!              │              ┌───────────────────────────────┐
//!              ▼    running   ▼   stop                stopped │
//!          creating ───────► started ───────► stopping ─────► stopped
//!              │              │  ▲  │            ▲              ▲ │
//!              │       failed │  │  └────────────┼─ agent died ─┘ │ start
//!              ▼              ▼  │ running       │ stop           ▼
//!             error ◄────────────┴──────────────────────────── starting
//!              │ delete, from everywhere
//!              ▼
//!          destroying ───────► destroyed
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
//! Phases of archiving, building, pausing, resizing, forking are named already; nothing leads to them
//! yet, and no match here has a `_` arm over phases, so that each must be thought about when it comes.

mod command;
mod observe;
mod state;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

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
    /// Number of the newest order or unordered turn.
    pub generation: u64,
    /// Moves with the state only, never with activity: a stuck sandbox with traffic is still stuck.
    pub state_changed_at: Timestamp,
}

/// What a caller or a timer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Start,
    /// `force` kills at once.
    Stop {
        force: bool,
    },
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

/// What a runner is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Running,
    Stopped { force: bool },
    Absent,
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
    #[error("Sandbox is not in a startable state")]
    NotStartable { state: SandboxState },
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

    /// The goal that the open order has; None where nothing is being worked on.
    pub fn open_goal(&self) -> Option<Goal> {
        match self.phase {
            Phase::Creating | Phase::Starting | Phase::Restoring | Phase::Resuming => {
                Some(Goal::Running)
            }
            Phase::Stopping => Some(Goal::Stopped { force: false }),
            Phase::Destroying => Some(Goal::Absent),
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
            | Phase::Archiving
            | Phase::Resizing
            | Phase::Snapshotting
            | Phase::Forking
            | Phase::Pausing
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
