//! What a helper is asked, as one line of JSON on its standard input.
//!
//! Paths are absolute here; the agent has resolved them.

use alcove_agent_api::{
    GitAddRemoteRequest, GitAddRequest, GitAuthenticateRequest, GitBranchRequest,
    GitCheckoutRequest, GitCloneRequest, GitCommitRequest, GitConfigScope, GitConfigureUserRequest,
    GitInitRequest, GitPullRequest, GitPushRequest, GitResetRequest, GitRestoreRequest,
    GitSetConfigRequest,
};
use serde::{Deserialize, Serialize};

/// One operation with all that it needs.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
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
}

impl Order {
    /// The path that the operation is about, for the agent to resolve.
    pub fn path_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Clone(order) => Some(&mut order.path),
            Self::Status { path, .. }
            | Self::Branches { path, .. }
            | Self::History { path }
            | Self::Remotes { path } => Some(path),
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
