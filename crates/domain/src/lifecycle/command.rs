//! What becomes of a wish in each phase.

use jiff::Timestamp;

use super::{BuildNews, Command, DesiredState, Goal, Lifecycle, Phase, Refusal, Standing, Step};

impl Lifecycle {
    /// Takes or refuses a wish.
    pub fn command(self, command: Command, at: Timestamp) -> Result<Step, Refusal> {
        match command {
            Command::Start => self.start(at),
            Command::Stop { force } => self.stop(force, at),
            Command::Delete => self.delete(at),
            Command::Pause => self.pause(at),
            Command::Archive => self.archive(at),
            Command::Recover { skip_start } => self.recover(skip_start, at),
            Command::Resize { to } => self.work(Phase::Resizing { to }, Goal::Resized, at),
            Command::Snapshot { snapshot } => {
                self.work(Phase::Snapshotting { snapshot }, Goal::Captured, at)
            }
            Command::Fork { child } => self.work(Phase::Forking { child }, Goal::Copied, at),
        }
    }

    fn start(self, at: Timestamp) -> Result<Step, Refusal> {
        let state = self.phase.state();
        match self.phase {
            Phase::Started
            | Phase::Creating
            | Phase::Starting
            | Phase::Restoring
            | Phase::Resuming
            | Phase::PendingBuild
            | Phase::BuildingSnapshot
            | Phase::PullingSnapshot
            | Phase::Unknown => Ok(self.keep()),
            Phase::Stopped { .. } | Phase::Error { has_disk: true, .. } => {
                Ok(self.order_start(Phase::Starting, at))
            }
            // One that is being put away comes back before it has gone.
            Phase::Archived | Phase::Archiving => Ok(self.order_start(Phase::Restoring, at)),
            Phase::Paused => Ok(self.order_start(Phase::Resuming, at)),
            Phase::Error {
                has_disk: false, ..
            }
            | Phase::BuildFailed { .. } => Err(Refusal::Errored { state }),
            Phase::Stopping
            | Phase::Pausing
            | Phase::Resizing { .. }
            | Phase::Snapshotting { .. }
            | Phase::Forking { .. } => Err(Refusal::InProgress { state }),
            Phase::Destroying | Phase::Destroyed => Err(Refusal::Gone),
        }
    }

    fn stop(self, force: bool, at: Timestamp) -> Result<Step, Refusal> {
        let state = self.phase.state();
        match self.phase {
            // A start is cut short: whoever wants it stopped need not wait for it to run.
            Phase::Started
            | Phase::Starting
            | Phase::Paused
            | Phase::Error { has_disk: true, .. } => Ok(self.order_stop(force, at)),
            // The polite stop may hang on a program that ignores it.
            Phase::Stopping if force => Ok(self.order_stop(true, at)),
            Phase::Error {
                has_disk: false, ..
            }
            | Phase::BuildFailed { .. } => Err(Refusal::Errored { state }),
            // There is nothing yet that could be stopped.
            Phase::Creating
            | Phase::PendingBuild
            | Phase::BuildingSnapshot
            | Phase::PullingSnapshot
            | Phase::Unknown
            | Phase::Restoring
            | Phase::Resuming
            | Phase::Stopping
            | Phase::Pausing
            | Phase::Resizing { .. }
            | Phase::Snapshotting { .. }
            | Phase::Forking { .. }
            | Phase::Archiving => Err(Refusal::InProgress { state }),
            Phase::Stopped { .. } | Phase::Archived => Err(Refusal::NotStoppable { state }),
            Phase::Destroying | Phase::Destroyed => Err(Refusal::Gone),
        }
    }

    fn delete(self, at: Timestamp) -> Result<Step, Refusal> {
        match self.phase {
            Phase::Destroyed => Err(Refusal::Gone),
            Phase::Destroying => Ok(self.keep()),
            Phase::Creating
            | Phase::Restoring
            | Phase::Started
            | Phase::Stopped { .. }
            | Phase::Starting
            | Phase::Stopping
            | Phase::Error { .. }
            | Phase::BuildFailed { .. }
            | Phase::PendingBuild
            | Phase::BuildingSnapshot
            | Phase::Unknown
            | Phase::PullingSnapshot
            | Phase::Archived
            | Phase::Archiving
            | Phase::Resizing { .. }
            | Phase::Snapshotting { .. }
            | Phase::Forking { .. }
            | Phase::Pausing
            | Phase::Paused
            | Phase::Resuming => {
                Ok(self.order(Phase::Destroying, DesiredState::Destroyed, Goal::Absent, at))
            }
        }
    }

    fn pause(self, at: Timestamp) -> Result<Step, Refusal> {
        let state = self.phase.state();
        match self.phase.standing() {
            Standing::Started => {
                Ok(self.order(Phase::Pausing, DesiredState::Paused, Goal::Paused, at))
            }
            Standing::Stopped | Standing::Paused | Standing::Archived => {
                Err(Refusal::NotPausable { state })
            }
            Standing::Errored { .. } => Err(Refusal::Errored { state }),
            Standing::Moving => Err(Refusal::InProgress { state }),
            Standing::Gone => Err(Refusal::Gone),
        }
    }

    fn archive(self, at: Timestamp) -> Result<Step, Refusal> {
        let state = self.phase.state();
        match self.phase.standing() {
            Standing::Stopped => {
                Ok(self.order(Phase::Archiving, DesiredState::Archived, Goal::Archived, at))
            }
            Standing::Started | Standing::Paused | Standing::Archived => {
                Err(Refusal::NotArchivable { state })
            }
            Standing::Errored { .. } => Err(Refusal::Errored { state }),
            Standing::Moving => Err(Refusal::InProgress { state }),
            Standing::Gone => Err(Refusal::Gone),
        }
    }

    fn recover(self, skip_start: bool, at: Timestamp) -> Result<Step, Refusal> {
        let state = self.phase.state();
        match self.phase.standing() {
            Standing::Errored { has_disk: true } if skip_start => Ok(self.order_stop(false, at)),
            Standing::Errored { has_disk: true } => Ok(self.order_start(Phase::Starting, at)),
            Standing::Errored { has_disk: false }
            | Standing::Started
            | Standing::Stopped
            | Standing::Paused
            | Standing::Archived => Err(Refusal::NotRecoverable { state }),
            Standing::Moving => Err(Refusal::InProgress { state }),
            Standing::Gone => Err(Refusal::Gone),
        }
    }

    /// Something is made of the sandbox, which then is as it was before.
    fn work(self, phase: Phase, goal: Goal, at: Timestamp) -> Result<Step, Refusal> {
        let state = self.phase.state();
        match self.phase.standing() {
            Standing::Started => Ok(self.order(phase, DesiredState::Started, goal, at)),
            Standing::Stopped => Ok(self.order(phase, DesiredState::Stopped, goal, at)),
            Standing::Paused | Standing::Archived => Err(Refusal::NotSettled { state }),
            Standing::Errored { .. } => Err(Refusal::Errored { state }),
            Standing::Moving => Err(Refusal::InProgress { state }),
            Standing::Gone => Err(Refusal::Gone),
        }
    }

    /// Takes what there is to tell of the build that it waits for.
    pub fn take_build(self, news: BuildNews, at: Timestamp) -> Step {
        if !self.awaits_image() {
            return self.keep();
        }
        let desired = self.desired;
        match news {
            BuildNews::Begun if self.phase == Phase::BuildingSnapshot => self.keep(),
            BuildNews::Begun => self.settle(Phase::BuildingSnapshot, desired, at),
            BuildNews::Made => self.order_start(Phase::Creating, at),
            BuildNews::Failed(fault) => self.settle(Phase::BuildFailed { fault }, desired, at),
        }
    }

    /// The copy that it waited for is there, or is not: the runner knows.
    pub fn begin(self, at: Timestamp) -> Step {
        match self.phase {
            Phase::Unknown => self.order_start(Phase::Creating, at),
            Phase::Creating
            | Phase::Restoring
            | Phase::Destroyed
            | Phase::Destroying
            | Phase::Started
            | Phase::Stopped { .. }
            | Phase::Starting
            | Phase::Stopping
            | Phase::Error { .. }
            | Phase::BuildFailed { .. }
            | Phase::PendingBuild
            | Phase::BuildingSnapshot
            | Phase::PullingSnapshot
            | Phase::Archived
            | Phase::Archiving
            | Phase::Resizing { .. }
            | Phase::Snapshotting { .. }
            | Phase::Forking { .. }
            | Phase::Pausing
            | Phase::Paused
            | Phase::Resuming => self.keep(),
        }
    }
}
