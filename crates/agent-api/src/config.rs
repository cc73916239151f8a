//! What whoever starts the agent hands it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Header that carries the sandbox's secret; every request to the agent must have it.
pub const AGENT_TOKEN_HEADER: &str = "x-alcove-agent-token";

/// Descriptor of the listening unix stream socket.
pub const LISTEN_FD: i32 = 3;

/// Descriptor of the configuration, JSON: a file that is read from its beginning, or a pipe that it comes through later.
pub const CONFIG_FD: i32 = 4;

/// The first of four descriptors that tell about the sandbox's control group, where [`AgentConfig::limits`] says that
/// there are any: open files of it, read anew each time. In this order:
///
/// | | version 1 | version 2 |
/// |---|---|---|
/// | memory that is charged | `memory.usage_in_bytes` | `memory.current` |
/// | its limit | `memory.limit_in_bytes` | `memory.max` |
/// | what it is used for | `memory.stat` | `memory.stat` |
/// | limit of processor time, a period of 100 ms in version 1 | `cpu.cfs_quota_us` | `cpu.max` |
pub const LIMITS_FD: i32 = 5;

/// How many descriptors start at [`LIMITS_FD`].
pub const LIMITS_FD_COUNT: usize = 4;

/// Descriptor of the program that does git operations, to be executed by it; there where [`AgentConfig::git`] says so.
pub const GIT_FD: i32 = 9;

/// The agent could not start; one line on standard error says why.
pub const EXIT_START_FAILURE: i32 = 2;

/// The configuration names a user that the image does not have.
pub const EXIT_UNKNOWN_USER: i32 = 3;

/// The agent's configuration.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentConfig {
    pub sandbox_id: String,
    /// The secret that requests must carry.
    pub token: String,
    /// A name of the image's `/etc/passwd`, or `uid`, or `uid:gid`, or `name:group`.
    pub user: String,
    /// Variables of every process that the agent starts.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The image's working directory; the user's home where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Whether the descriptors from [`LIMITS_FD`] on are there.
    #[serde(default)]
    pub limits: bool,
    /// Whether the descriptor [`GIT_FD`] is there. Without it no git operation can be started.
    #[serde(default)]
    pub git: bool,
    /// Program and arguments of the image that run for as long as they like beside the agent; none where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Seconds that a command of `POST /process/execute` gets whose caller names no limit; no limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execute_timeout_seconds: Option<u64>,
    /// Most bytes of output kept for one session command, 1 MiB at least; the oldest go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_log_max_bytes: Option<u64>,
    /// Whether this is a step of a build: the agent then has the routes of one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub build: bool,
}

// The token must not reach a log by way of a debug print.
impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("sandbox_id", &self.sandbox_id)
            .field("user", &self.user)
            .field("workdir", &self.workdir)
            .finish_non_exhaustive()
    }
}
