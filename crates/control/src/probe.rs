//! Points at which a test can hold the control plane, to end it there as a kill would.

use async_trait::async_trait;

/// Between two steps of the way from a wish to its end. Each is a place where a process can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A wish is in the store, nobody works on it yet.
    WishWritten,
    /// The order is about to go to the runner.
    OrderReady,
    /// The runner has answered, nothing is written yet.
    AnswerHeard,
    /// The outcome is in the store, nobody was told yet.
    OutcomeWritten,
    /// A sandbox that was made ahead of need is kept for a caller.
    MemberTaken,
    /// The runner has made it the caller's, nothing is written yet.
    HandedOver,
    /// A new key seals secrets, nothing that was there is sealed with it yet.
    KeyAdded,
    /// Some secrets are sealed with it.
    Resealed,
    /// All are, and the old key is gone.
    KeyDropped,
    /// A sandbox with sessions runs, and has not yet what it is to begin with.
    BeginsEmpty,
    /// It has all that, nothing is written yet.
    BeginsWhole,
    /// A sandbox with sessions runs again; its session counts from now on, which is not written yet.
    RunsAgain,
}

impl Step {
    /// Those of a create that finds a sandbox made ahead of need.
    pub const CLAIM: [Self; 3] = [Self::MemberTaken, Self::HandedOver, Self::OutcomeWritten];

    /// Those of a new key that seals secrets.
    pub const ROTATION: [Self; 3] = [Self::KeyAdded, Self::Resealed, Self::KeyDropped];
    /// Those of a create of a sandbox with sessions, beside those of every create.
    pub const BEGINNING: [Self; 2] = [Self::BeginsEmpty, Self::BeginsWhole];
    /// Those of the next session of one, beside those of every start.
    pub const RESUMING: [Self; 1] = [Self::RunsAgain];

    /// Those of every other wish.
    pub const ALL: [Self; 4] = [
        Self::WishWritten,
        Self::OrderReady,
        Self::AnswerHeard,
        Self::OutcomeWritten,
    ];
}

/// Called at each step; the control plane goes on when it returns.
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    async fn reached(&self, step: Step);
}
