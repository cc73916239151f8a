//! What becomes of an observation in each phase.

use jiff::Timestamp;

use super::{DesiredState, Effect, Fault, FaultCode, Lifecycle, Observation, Origin, Phase, Step};

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
            Phase::Destroyed
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
            | Phase::Paused => self.keep(),
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
            (Origin::Answer, Observation::Running)
            | (
                Origin::Stream | Origin::Inventory,
                Observation::Running | Observation::Failed { .. } | Observation::Absent,
            ) => self.keep(),
        }
    }

    fn take_while_stopped(self, origin: Origin, seen: Observation, at: Timestamp) -> Step {
        match (origin, seen) {
            (Origin::Inventory, Observation::Running) => self.order_stop(false, at),
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
            (Origin::Inventory, Observation::Running) if self.desired == DesiredState::Stopped => {
                self.order_stop(false, at)
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

    /// Gives up the open order: it has had its time. A delete is never given up.
    pub fn give_up(self, fault: Fault, at: Timestamp) -> Step {
        let desired = self.desired;
        match self.phase {
            Phase::Creating => {
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
            Phase::Started
            | Phase::Stopped { .. }
            | Phase::Error { .. }
            | Phase::BuildFailed { .. }
            | Phase::Destroying
            | Phase::Destroyed
            | Phase::Unknown
            | Phase::PullingSnapshot
            | Phase::Archived
            | Phase::Archiving
            | Phase::Resizing
            | Phase::Snapshotting
            | Phase::Forking
            | Phase::Pausing
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
