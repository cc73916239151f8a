//! What the driver holds of its sandbox, and what that means to others.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use alcove_runner_api::{Fault, FaultCode, ImageDigest, Observed};
use alcove_spawner::protocol::ExitStatus;

use crate::archive::Header;
use crate::journal::{Hold, Record, Running};
use crate::making::{LastDevice, Made};
use crate::runner::Occupied;

#[derive(Debug)]
pub(super) enum Held {
    Absent {
        fault: Option<Fault>,
    },
    Stopped {
        record: Box<Record>,
        device: LastDevice,
        why: Why,
    },
    Running(Box<Live>),
    Archived {
        header: Header,
        /// Why it could not be brought back when that was asked for.
        fault: Option<Fault>,
    },
}

/// Why a sandbox is stopped.
#[derive(Debug, Clone)]
pub(super) enum Why {
    Asked,
    /// Nobody asked: its first process ended.
    Ended(Fault),
    /// It was to run again and could not.
    StartFailed(Fault),
}

impl Held {
    /// In a word, for messages.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "absent",
            Self::Stopped { .. } => "stopped",
            Self::Running(live) if live.running.hold == Hold::Processes => "paused",
            Self::Running(_) => "running",
            Self::Archived { .. } => "archived",
        }
    }
}

impl Why {
    pub(super) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Asked => None,
            Self::Ended(fault) | Self::StartFailed(fault) => Some(fault),
        }
    }
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) record: Record,
    pub(super) running: Running,
    pub(super) pidfd: Arc<OwnedFd>,
}

pub(super) fn live(made: Made) -> Held {
    let Made {
        record,
        running,
        pidfd,
    } = made;
    Held::Running(Box::new(Live {
        record,
        running,
        pidfd: Arc::new(pidfd),
    }))
}

pub(super) fn token(held: &Held) -> Option<Arc<str>> {
    match held {
        Held::Running(live) if live.running.hold != Hold::Processes => {
            Some(live.running.token.as_str().into())
        }
        _ => None,
    }
}

/// The first process, while it runs and is not held still.
pub(super) fn process(held: &Held) -> Option<Arc<OwnedFd>> {
    match held {
        Held::Running(live) if live.running.hold != Hold::Processes => {
            Some(Arc::clone(&live.pidfd))
        }
        _ => None,
    }
}

pub(super) fn image(held: &Held) -> Option<ImageDigest> {
    match held {
        Held::Absent { .. } => None,
        Held::Stopped { record, .. } => Some(record.image.clone()),
        Held::Running(live) => Some(live.record.image.clone()),
        Held::Archived { header, .. } => Some(header.image.clone()),
    }
}

/// By what its use is looked at, while it has processes.
pub(super) fn occupied(held: &Held) -> Option<Arc<Occupied>> {
    let Held::Running(live) = held else {
        return None;
    };
    Some(Arc::new(Occupied {
        pid: live.running.process.pid,
        pidfd: Arc::clone(&live.pidfd),
        slot: live.running.slot,
        resources: live.running.spec.resources,
    }))
}

/// The version of the policy that is in force, where there are processes.
pub(super) fn network_version(held: &Held) -> Option<u64> {
    match held {
        Held::Running(live) => Some(live.running.spec.network.version),
        Held::Absent { .. } | Held::Stopped { .. } | Held::Archived { .. } => None,
    }
}

pub(super) fn observed(held: &Held) -> Observed {
    match held {
        Held::Running(live) if live.running.hold == Hold::Processes => Observed::Paused {
            agent_version: live.running.agent_version.clone(),
        },
        Held::Running(live) => Observed::Running {
            agent_version: live.running.agent_version.clone(),
        },
        Held::Archived { fault: None, .. } => Observed::Archived,
        Held::Archived {
            fault: Some(fault), ..
        }
        | Held::Stopped {
            why: Why::StartFailed(fault),
            ..
        } => Observed::Failed {
            fault: fault.clone(),
            has_disk: true,
        },
        Held::Stopped { why, .. } => Observed::Stopped {
            fault: why.fault().cloned(),
        },
        Held::Absent { fault: Some(fault) } => Observed::Failed {
            fault: fault.clone(),
            has_disk: false,
        },
        Held::Absent { fault: None } => Observed::Absent,
    }
}

pub(super) fn ending_fault(status: Option<ExitStatus>, had_oom_kill: bool) -> Fault {
    let was_killed = matches!(status, None | Some(ExitStatus::Signal(libc::SIGKILL)));
    if had_oom_kill && was_killed {
        let message = "the sandbox ran out of memory and its first process was killed".to_owned();
        return Fault {
            code: FaultCode::OutOfMemory,
            message,
        };
    }
    let how = match status {
        Some(ExitStatus::Code(code)) => format!("the agent ended with code {code}"),
        Some(ExitStatus::Signal(signal)) => format!("the agent was ended by signal {signal}"),
        None => "the agent ended".to_owned(),
    };
    Fault {
        code: FaultCode::AgentExited,
        message: how,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_agent_after_an_oom_kill_ran_out_of_memory() {
        let killed = Some(ExitStatus::Signal(libc::SIGKILL));
        assert_eq!(ending_fault(killed, true).code, FaultCode::OutOfMemory);
        assert_eq!(ending_fault(killed, false).code, FaultCode::AgentExited);
        // The job was killed for memory, the agent ended for another reason.
        let exited = Some(ExitStatus::Code(1));
        assert_eq!(ending_fault(exited, true).code, FaultCode::AgentExited);
    }
}
