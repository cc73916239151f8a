//! What becomes of a wish in each phase.

use jiff::Timestamp;

use super::{Command, DesiredState, Goal, Lifecycle, Phase, Refusal, Step};

impl Lifecycle {
    /// Takes or refuses a wish.
    pub fn command(self, command: Command, at: Timestamp) -> Result<Step, Refusal> {
        match command {
            Command::Start => self.start(at),
            Command::Stop { force } => self.stop(force, at),
            Command::Delete => self.delete(at),
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
                Ok(self.order(Phase::Starting, DesiredState::Started, Goal::Running, at))
            }
            Phase::Error {
                has_disk: false, ..
            }
            | Phase::BuildFailed { .. } => Err(Refusal::Errored { state }),
            Phase::Stopping
            | Phase::Pausing
            | Phase::Resizing
            | Phase::Snapshotting
            | Phase::Forking
            | Phase::Archiving => Err(Refusal::InProgress { state }),
            Phase::Archived | Phase::Paused => Err(Refusal::NotStartable { state }),
            Phase::Destroying | Phase::Destroyed => Err(Refusal::Gone),
        }
    }

    fn stop(self, force: bool, at: Timestamp) -> Result<Step, Refusal> {
        let state = self.phase.state();
        match self.phase {
            // A start is cut short: whoever wants it stopped need not wait for it to run.
            Phase::Started | Phase::Starting | Phase::Error { has_disk: true, .. } => {
                Ok(self.order_stop(force, at))
            }
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
            | Phase::Resizing
            | Phase::Snapshotting
            | Phase::Forking
            | Phase::Archiving => Err(Refusal::InProgress { state }),
            Phase::Stopped { .. } | Phase::Archived | Phase::Paused => {
                Err(Refusal::NotStoppable { state })
            }
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
            | Phase::Resizing
            | Phase::Snapshotting
            | Phase::Forking
            | Phase::Pausing
            | Phase::Paused
            | Phase::Resuming => {
                Ok(self.order(Phase::Destroying, DesiredState::Destroyed, Goal::Absent, at))
            }
        }
    }
}
