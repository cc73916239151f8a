//! What becomes of an observation in each phase.

use jiff::Timestamp;

use super::{
    DesiredState, Effect, Fault, FaultCode, Goal, Lifecycle, Observation, Origin, Phase, Step,
};

impl Lifecycle {
    /// Takes or drops what a runner saw under `generation`.
    pub fn observe(
        mut self,
        origin: Origin,
        generation: u64,
        observation: Observation,
        at: Timestamp,
    ) -> Step {
        if generation < self.generation {
            return self.keep();
        }
        if generation > self.generation {
            // The host knows a newer order than the store: the store was put back to an older copy.
            // Only a look at the host as it is can be built on, and the next order must be newer still.
            if origin != Origin::Inventory {
                return self.keep();
            }
            let before = self.generation;
            self.generation = generation;
            let step = self.take(origin, observation, at);
            return match step.effect {
                Effect::Keep if before != generation => Step {
                    effect: Effect::Settle,
                    ..step
                },
                _ => step,
            };
        }
        self.take(origin, observation, at)
    }

    fn take(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match self.phase {
            Phase::Creating | Phase::Starting | Phase::Restoring | Phase::Resuming => {
                self.take_while_starting(origin, seen, at)
            }
            Phase::Started => self.take_while_started(origin, seen, at),
            Phase::Stopping => self.take_while_stopping(origin, seen, at),
            Phase::Stopped { .. } => self.take_while_stopped(origin, seen, at),
            Phase::Error { .. } => self.take_in_error(origin, seen, at),
            Phase::Destroying => match (origin, seen) {
                (Origin::Answer | Origin::Stream, Observation::Absent) => {
                    self.settle(Phase::Destroyed, DesiredState::Destroyed, at)
                }
                // Whatever is still there will go: the order stays open until it is gone.
                _ => self.keep(),
            },
            Phase::Pausing => self.take_while_pausing(origin, seen, at),
            Phase::Paused => self.take_while_paused(origin, seen, at),
            Phase::Archiving => self.take_while_archiving(origin, seen, at),
            Phase::Archived => self.take_while_archived(origin, seen, at),
            Phase::Resizing { .. } | Phase::Snapshotting { .. } | Phase::Forking { .. } => {
                self.take_while_working(origin, seen, at)
            }
            Phase::Destroyed
            | Phase::BuildFailed { .. }
            | Phase::PendingBuild
            | Phase::BuildingSnapshot
            | Phase::Unknown
            | Phase::PullingSnapshot => self.keep(),
        }
    }

    fn take_while_starting(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        let desired = self.desired;
        match (origin, seen) {
            (_, Observation::Running) => self.settle(Phase::Started, DesiredState::Started, at),
            (Origin::Answer | Origin::Stream, Observation::Failed { fault, has_disk }) => {
                self.settle(Phase::Error { fault, has_disk }, desired, at)
            }
            (Origin::Answer | Origin::Stream, Observation::Stopped { fault: Some(fault) }) => {
                let phase = Phase::Error {
                    fault,
                    has_disk: true,
                };
                self.settle(phase, desired, at)
            }
            (Origin::Answer, Observation::Stopped { fault: None }) => {
                let phase = Phase::Error {
                    fault: Fault::new(
                        FaultCode::Internal,
                        "the sandbox stopped while it was started",
                    ),
                    has_disk: true,
                };
                self.settle(phase, desired, at)
            }
            (Origin::Answer, Observation::Paused | Observation::Archived) => {
                let phase = Phase::Error {
                    fault: Fault::new(FaultCode::Internal, "the sandbox did not come up"),
                    has_disk: true,
                };
                self.settle(phase, desired, at)
            }
            (Origin::Answer, Observation::Absent) => self.settle(lost(), desired, at),
            // Not there yet, or not up yet: the order is being worked on.
            (Origin::Stream | Origin::Inventory, _) => self.keep(),
        }
    }

    fn take_while_started(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            // It runs no more, and nobody asked: the wish follows the fact, and the turn is fenced off
            // against late words that it runs.
            (Origin::Stream, Observation::Stopped { fault: Some(fault) }) => self.turn(
                Phase::Stopped { fault: Some(fault) },
                DesiredState::Stopped,
                at,
            ),
            (Origin::Inventory, Observation::Stopped { fault }) => {
                self.turn(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Failed { fault, has_disk }) => {
                self.turn(Phase::Error { fault, has_disk }, DesiredState::Started, at)
            }
            (Origin::Inventory, Observation::Absent) => {
                self.turn(lost(), DesiredState::Started, at)
            }
            // A pause that was given up came about after all.
            (Origin::Inventory, Observation::Paused) => self.order_start(Phase::Resuming, at),
            (Origin::Inventory, Observation::Archived) => self.order_start(Phase::Restoring, at),
            // Seen on the way up, or said twice.
            (Origin::Answer | Origin::Stream, _) | (Origin::Inventory, Observation::Running) => {
                self.keep()
            }
        }
    }

    fn take_while_stopping(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            // Asked for, so a fault on the way down is none.
            (_, Observation::Stopped { .. }) => {
                self.settle(Phase::Stopped { fault: None }, DesiredState::Stopped, at)
            }
            (Origin::Answer, Observation::Failed { fault, has_disk }) => {
                self.settle(Phase::Error { fault, has_disk }, DesiredState::Stopped, at)
            }
            (Origin::Answer, Observation::Absent) => self.settle(lost(), DesiredState::Stopped, at),
            // Put away is more than stopped.
            (Origin::Answer | Origin::Inventory, Observation::Archived) => {
                self.settle(Phase::Archived, DesiredState::Archived, at)
            }
            (Origin::Answer, Observation::Running | Observation::Paused)
            | (
                Origin::Stream | Origin::Inventory,
                Observation::Running
                | Observation::Paused
                | Observation::Failed { .. }
                | Observation::Absent,
            )
            | (Origin::Stream, Observation::Archived) => self.keep(),
        }
    }

    fn take_while_stopped(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            (Origin::Inventory, Observation::Running | Observation::Paused) => {
                self.order_stop(false, at)
            }
            // An archive that was given up came about after all.
            (Origin::Inventory, Observation::Archived) => {
                self.turn(Phase::Archived, DesiredState::Archived, at)
            }
            (Origin::Inventory, Observation::Absent) => {
                self.turn(lost(), DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Failed { fault, has_disk }) => {
                self.turn(Phase::Error { fault, has_disk }, DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Stopped { .. })
            | (Origin::Answer | Origin::Stream, _) => self.keep(),
        }
    }

    fn take_in_error(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        let Phase::Error { fault, has_disk } = &self.phase else {
            return self.keep();
        };
        match (origin, seen) {
            // An order that was given up came to its end after all.
            (Origin::Inventory, Observation::Running) if self.desired == DesiredState::Started => {
                self.settle(Phase::Started, DesiredState::Started, at)
            }
            (Origin::Inventory, Observation::Running | Observation::Paused)
                if self.desired == DesiredState::Stopped =>
            {
                self.order_stop(false, at)
            }
            (Origin::Inventory, Observation::Paused) if self.desired == DesiredState::Started => {
                self.order_start(Phase::Resuming, at)
            }
            (Origin::Inventory, Observation::Archived)
                if matches!(self.desired, DesiredState::Started | DesiredState::Stopped) =>
            {
                self.turn(Phase::Archived, DesiredState::Archived, at)
            }
            (Origin::Inventory, Observation::Stopped { .. }) if !has_disk => {
                let fault = fault.clone();
                let desired = self.desired;
                let phase = Phase::Error {
                    fault,
                    has_disk: true,
                };
                self.settle(phase, desired, at)
            }
            (Origin::Inventory, Observation::Absent) if *has_disk => {
                let fault = fault.clone();
                let desired = self.desired;
                let phase = Phase::Error {
                    fault,
                    has_disk: false,
                };
                self.settle(phase, desired, at)
            }
            (Origin::Answer | Origin::Stream | Origin::Inventory, _) => self.keep(),
        }
    }

    fn take_while_pausing(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            (_, Observation::Paused) => self.settle(Phase::Paused, DesiredState::Paused, at),
            // It could not be held, and goes on.
            (Origin::Answer, Observation::Running) => {
                self.settle(Phase::Started, DesiredState::Started, at)
            }
            (Origin::Answer | Origin::Inventory, Observation::Stopped { fault }) => {
                self.settle(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Stream, Observation::Stopped { fault: Some(fault) }) => {
                let fault = Some(fault);
                self.settle(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Answer, Observation::Failed { fault, has_disk }) => {
                self.settle(Phase::Error { fault, has_disk }, DesiredState::Started, at)
            }
            (Origin::Answer, Observation::Archived) => {
                self.settle(Phase::Archived, DesiredState::Archived, at)
            }
            (Origin::Answer, Observation::Absent) => self.settle(lost(), DesiredState::Started, at),
            (Origin::Stream | Origin::Inventory, _) => self.keep(),
        }
    }

    fn take_while_paused(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            (Origin::Stream, Observation::Stopped { fault: Some(fault) }) => {
                let fault = Some(fault);
                self.turn(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Stopped { fault }) => {
                self.turn(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Running) => {
                self.order(Phase::Pausing, DesiredState::Paused, Goal::Paused, at)
            }
            (Origin::Inventory, Observation::Failed { fault, has_disk }) => {
                self.turn(Phase::Error { fault, has_disk }, DesiredState::Started, at)
            }
            (Origin::Inventory, Observation::Archived) => {
                self.turn(Phase::Archived, DesiredState::Archived, at)
            }
            (Origin::Inventory, Observation::Absent) => {
                self.turn(lost(), DesiredState::Started, at)
            }
            (Origin::Inventory, Observation::Paused) | (Origin::Answer | Origin::Stream, _) => {
                self.keep()
            }
        }
    }

    fn take_while_archiving(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            (_, Observation::Archived) => self.settle(Phase::Archived, DesiredState::Archived, at),
            // It could not be put away: the disk is where it was.
            (Origin::Answer, Observation::Stopped { fault }) => {
                self.settle(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Answer, Observation::Failed { fault, has_disk }) => {
                self.settle(Phase::Error { fault, has_disk }, DesiredState::Stopped, at)
            }
            (Origin::Answer, Observation::Absent) => self.settle(lost(), DesiredState::Stopped, at),
            // Something of it runs, so there was nothing to put away.
            (Origin::Answer, Observation::Running | Observation::Paused) => {
                self.order_stop(false, at)
            }
            (Origin::Stream | Origin::Inventory, _) => self.keep(),
        }
    }

    fn take_while_archived(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            (Origin::Inventory, Observation::Running | Observation::Paused) => {
                self.order_stop(false, at)
            }
            (Origin::Inventory, Observation::Stopped { fault }) => {
                self.turn(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Failed { fault, has_disk }) => {
                self.turn(Phase::Error { fault, has_disk }, DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Absent) => {
                self.turn(lost(), DesiredState::Stopped, at)
            }
            (Origin::Inventory, Observation::Archived) | (Origin::Answer | Origin::Stream, _) => {
                self.keep()
            }
        }
    }

    /// Whether the work was done is not seen here: the sandbox is as it was either way.
    fn take_while_working(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        let desired = self.desired;
        match (origin, seen) {
            (Origin::Answer, Observation::Running) if desired == DesiredState::Started => {
                self.settle(Phase::Started, desired, at)
            }
            (Origin::Answer, Observation::Paused) if desired == DesiredState::Started => {
                self.order_start(Phase::Resuming, at)
            }
            (Origin::Answer, Observation::Running | Observation::Paused) => {
                self.order_stop(false, at)
            }
            (Origin::Answer, Observation::Stopped { fault }) => {
                self.settle(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            // Said under this order, so seen after it began.
            (Origin::Stream, Observation::Stopped { fault: Some(fault) }) => {
                let fault = Some(fault);
                self.settle(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            (Origin::Answer, Observation::Failed { fault, has_disk }) => {
                self.settle(Phase::Error { fault, has_disk }, desired, at)
            }
            (Origin::Answer, Observation::Archived) => {
                self.settle(Phase::Archived, DesiredState::Archived, at)
            }
            (Origin::Answer, Observation::Absent) => self.settle(lost(), desired, at),
            (Origin::Stream | Origin::Inventory, _) => self.keep(),
        }
    }

    /// Gives up the open order: it has had its time. A delete is never given up. A sandbox that waits for a copy is given
    /// up when that cannot be made.
    pub fn give_up(self, fault: Fault, at: Timestamp) -> Step {
        let desired = self.desired;
        match self.phase {
            Phase::Creating | Phase::Unknown => {
                let has_disk = false;
                self.settle(Phase::Error { fault, has_disk }, desired, at)
            }
            Phase::Starting | Phase::Stopping | Phase::Restoring | Phase::Resuming => {
                let has_disk = true;
                self.settle(Phase::Error { fault, has_disk }, desired, at)
            }
            Phase::PendingBuild | Phase::BuildingSnapshot => {
                self.settle(Phase::BuildFailed { fault }, desired, at)
            }
            // As far as is known, nothing has changed. If it has, the inventory tells.
            Phase::Pausing => self.settle(Phase::Started, DesiredState::Started, at),
            Phase::Archiving => {
                let fault = Some(fault);
                self.settle(Phase::Stopped { fault }, DesiredState::Stopped, at)
            }
            Phase::Resizing { .. } | Phase::Snapshotting { .. } | Phase::Forking { .. } => {
                let phase = match desired {
                    DesiredState::Started => Phase::Started,
                    _ => Phase::Stopped { fault: None },
                };
                self.settle(phase, desired, at)
            }
            Phase::Started
            | Phase::Stopped { .. }
            | Phase::Error { .. }
            | Phase::BuildFailed { .. }
            | Phase::Destroying
            | Phase::Destroyed
            | Phase::PullingSnapshot
            | Phase::Archived
            | Phase::Paused => self.keep(),
        }
    }
}

fn lost() -> Phase {
    Phase::Error {
        fault: Fault::new(FaultCode::Lost, "the runner has no trace of the sandbox"),
        has_disk: false,
    }
}
