//! What the agent and the program that does its git operations say to each other: one [`GitOrder`] as a line of JSON on
//! the program's standard input, and lines of [`GitLine`] on its standard output, up to the outcome. The body of the
//! answer follows the last of them, as it goes to the client.

use serde::{Deserialize, Serialize};

use crate::{
    ErrorCode, GitAddRemoteRequest, GitAddRequest, GitAuthenticateRequest, GitBranchRequest,
    GitCheckoutRequest, GitCloneRequest, GitCommitRequest, GitConfigScope, GitConfigureUserRequest,
    GitInitRequest, GitPullRequest, GitPushRequest, GitResetRequest, GitRestoreRequest,
    GitSetConfigRequest,
};

/// One operation with all that it needs. Paths are absolute here; the agent has resolved them.
#[derive(Debug, Serialize, Deserialize)]
pub enum GitOrder {
    Clone(GitCloneRequest),
    Status {
        path: String,
        is_strict: bool,
    },
    Branches {
        path: String,
        is_strict: bool,
    },
    CreateBranch(GitBranchRequest),
    DeleteBranch(GitBranchRequest),
    Checkout(GitCheckoutRequest),
    Add(GitAddRequest),
    Commit(GitCommitRequest),
    History {
        path: String,
    },
    Push(GitPushRequest),
    Pull(GitPullRequest),
    Init(GitInitRequest),
    Reset(GitResetRequest),
    Restore(GitRestoreRequest),
    Remotes {
        path: String,
    },
    AddRemote(GitAddRemoteRequest),
    GetConfig {
        key: String,
        scope: GitConfigScope,
        path: Option<String>,
    },
    SetConfig(GitSetConfigRequest),
    ConfigureUser(GitConfigureUserRequest),
    Authenticate(GitAuthenticateRequest),
    /// No operation of git's: a file by HTTP, since no other program inside speaks TLS.
    Download {
        address: String,
        /// Not there yet.
        path: String,
    },
}

impl GitOrder {
    /// The path that the operation is about, for the agent to resolve.
    pub fn path_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Clone(order) => Some(&mut order.path),
            Self::Status { path, .. }
            | Self::Branches { path, .. }
            | Self::History { path }
            | Self::Remotes { path }
            | Self::Download { path, .. } => Some(path),
            Self::CreateBranch(order) | Self::DeleteBranch(order) => Some(&mut order.path),
            Self::Checkout(order) => Some(&mut order.path),
            Self::Add(order) => Some(&mut order.path),
            Self::Commit(order) => Some(&mut order.path),
            Self::Push(order) => Some(&mut order.path),
            Self::Pull(order) => Some(&mut order.path),
            Self::Init(order) => Some(&mut order.path),
            Self::Reset(order) => Some(&mut order.path),
            Self::Restore(order) => Some(&mut order.path),
            Self::AddRemote(order) => Some(&mut order.path),
            Self::GetConfig { path, .. } => path.as_mut(),
            Self::SetConfig(order) => order.path.as_mut(),
            Self::ConfigureUser(order) => order.path.as_mut(),
            Self::Authenticate(_) => None,
        }
    }
}

/// What the program says.
#[derive(Debug, Serialize, Deserialize)]
pub enum GitLine {
    /// The folder of a clone is the program's from here on. Should it fail or die, what is in the folder goes, and if
    /// the program `made` it, the folder too.
    Claimed { made: bool },
    /// The body follows.
    Done,
    /// Nothing follows.
    Failed(GitFault),
}

/// Why an operation was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitFault {
    pub code: ErrorCode,
    /// For the caller; holds no secret.
    pub message: String,
}
