//! Messages between runner and spawner: one JSON text a packet over `SOCK_SEQPACKET`, with descriptors.
//!
//! A request carries a number; its answer carries the same one. Answers may come in another order than
//! the requests, and [`Answer::Exited`] comes unasked.

use serde::{Deserialize, Serialize};

/// Raised whenever a message changes its meaning. A runner does not use a spawner of another version; it
/// leaves that one to its sandboxes and starts its own.
pub const PROTOCOL_VERSION: u32 = 3;

/// Longest packet, in bytes.
pub const PACKET_MAX_BYTES: usize = 16 * 1024;

/// Most descriptors in one packet. The kernel's own limit is 253.
pub const DESCRIPTORS_MAX: usize = 16;

/// The descriptor on which the agent finds its listening socket.
pub const AGENT_LISTENER_FD: i32 = 3;

/// The descriptor on which the agent finds its configuration.
pub const AGENT_CONFIG_FD: i32 = 4;

/// The first of the descriptors by which the agent learns limits and use of its sandbox.
pub const AGENT_LIMITS_FD: i32 = 5;

/// How many those are.
pub const AGENT_LIMITS_COUNT: usize = 4;

/// The descriptor of the program that does the agent's git operations.
pub const AGENT_GIT_FD: i32 = 9;

#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub number: u64,
    pub body: RequestBody,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RequestBody {
    /// Answered with [`Answer::Hello`].
    Hello,
    /// Makes the first process of a sandbox. Descriptors: see [`SpawnDescriptors`].
    Spawn(Spawn),
    /// Makes a user namespace that maps ids 0..65536 to `id_base`.., and answers with its descriptor.
    UserNamespace { id_base: u32 },
    /// Ends the spawner if it has no children; otherwise nothing happens.
    Quit,
}

/// How the new process gets into its control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupEntry {
    /// Each descriptor is a `tasks` file, opened for writing: the child writes itself into it. Writing
    /// another process's number from outside waits 7 to 14 ms for a grace period of the kernel.
    WriteTasks,
    /// The one descriptor is the folder of a version 2 group: the process is born in it.
    BornInto,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Spawn {
    /// First host id of the sandbox's 65,536 user and group ids.
    pub id_base: u32,
    pub hostname: String,
    pub cgroup_entry: CgroupEntry,
    /// Limit of `/dev/shm` in bytes; what is in it counts as memory of the sandbox.
    pub shm_bytes: u64,
}

/// The order of the descriptors that come with [`Spawn`]; those of the control groups follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum SpawnDescriptors {
    /// A detached mount: the sandbox's root.
    Root = 0,
    /// The network namespace to be born in.
    Network = 1,
    /// The agent's listening socket.
    AgentListener = 2,
    /// The agent's configuration: a sealed memory file, or a pipe that it will come through.
    AgentConfig = 3,
    /// The agent's program, open for reading.
    AgentProgram = 4,
    /// The program of the agent's git operations, open for reading.
    GitProgram = 5,
    /// Where the agent's standard output and error go.
    AgentLog = 6,
    /// The first of [`AGENT_LIMITS_COUNT`] files of the control group, open for reading, for the agent.
    FirstLimit = 7,
    /// The first of the control group descriptors.
    FirstCgroup = 7 + AGENT_LIMITS_COUNT,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    Hello {
        number: u64,
        version: u32,
        pid: i32,
        children: usize,
    },
    /// The agent's program has been entered. Comes with the process descriptor.
    Spawned { number: u64, pid: i32 },
    /// Comes with the descriptor of the namespace.
    UserNamespace { number: u64 },
    /// Nothing of the request is left behind.
    Failed {
        number: u64,
        step: Step,
        /// The kernel's error number; 0 where the request itself was wrong.
        errno: i32,
    },
    /// A sandbox's first process ended and was reaped.
    Exited { pid: i32, status: ExitStatus },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
}

/// What was being done when a spawn failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Step {
    Request = 0,
    EnterNetwork,
    Clone,
    MapIds,
    EnterCgroup,
    BecomeRoot,
    Hostname,
    AttachRoot,
    MountProc,
    MountDev,
    MountSys,
    MaskProc,
    PivotRoot,
    DropCapabilities,
    LoadSeccomp,
    PassDescriptors,
    Exec,
    Stage,
}

impl Step {
    pub(crate) const ALL: [Self; 18] = [
        Self::Request,
        Self::EnterNetwork,
        Self::Clone,
        Self::MapIds,
        Self::EnterCgroup,
        Self::BecomeRoot,
        Self::Hostname,
        Self::AttachRoot,
        Self::MountProc,
        Self::MountDev,
        Self::MountSys,
        Self::MaskProc,
        Self::PivotRoot,
        Self::DropCapabilities,
        Self::LoadSeccomp,
        Self::PassDescriptors,
        Self::Exec,
        Self::Stage,
    ];

    /// The step with this number, as a child wrote it into its status pipe.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What `alcove-spawner rehearse` found out, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Kinds of namespaces that the kernel does not give, each with its error number.
    pub refused_namespaces: Vec<(String, i32)>,
    /// A process in a user namespace with the ids of [`REHEARSAL_ID_BASE`]; `None` where there can be none.
    pub user_namespace_pid: Option<i32>,
    /// What a sandbox's first process could not do.
    pub refusal: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub step: Step,
    pub errno: i32,
}

/// First host id of a rehearsal: the end of the numbers, far from those of sandboxes.
pub const REHEARSAL_ID_BASE: u32 = 0xFFFE_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_back_from_its_number() {
        for step in Step::ALL {
            assert_eq!(Step::from_number(step as u8), Some(step));
        }
        assert_eq!(Step::from_number(200), None);
    }
}
