//! Git repositories of the sandbox.
//!
//! Field names are the wire's own: snake case in requests, camel case in the status. A required text that is empty
//! counts as missing, which the agent checks: here it only has a default.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A password or token. It can be sent and stored, not printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Body of `POST /git/clone`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitCloneRequest {
    pub url: String,
    /// The new work tree; it must not exist or be an empty folder.
    pub path: String,
    /// A branch or a tag; the remote's own choice where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Commit to check out detached afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Whether any certificate will do, now and for later work with this remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_tls: Option<bool>,
    /// Commits of history to fetch; all where absent or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<i64>,
}

/// Body of `POST /git/add`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitAddRequest {
    pub path: String,
    /// Files and folders, from the top of the work tree; a single dot means all.
    pub files: Option<Vec<String>>,
}

/// Body of `POST` and `DELETE /git/branches`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitBranchRequest {
    pub path: String,
    pub name: String,
}

/// Body of `POST /git/checkout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitCheckoutRequest {
    pub path: String,
    /// A branch, a branch that only the remote has yet, a tag, or a commit by its id or the beginning of it.
    pub branch: String,
}

/// Body of `POST /git/commit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitCommitRequest {
    pub path: String,
    pub message: String,
    pub author: String,
    pub email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_empty: Option<bool>,
}

/// Answer of `POST /git/commit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitCommitResponse {
    pub hash: String,
}

/// One commit of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitCommitInfo {
    pub hash: String,
    pub author: String,
    pub email: String,
    /// As it was written, with its last newline.
    pub message: String,
    /// When it was authored; RFC 3339 with the author's own offset.
    pub timestamp: String,
}

/// Body of `POST /git/push`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitPushRequest {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// The current branch where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// `origin` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Whether to note the pushed branch down as the one to pull from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_upstream: Option<bool>,
}

/// Body of `POST /git/pull`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitPullRequest {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// The upstream of the current branch where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

/// Body of `POST /git/init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitInitRequest {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare: Option<bool>,
    /// Git's own default where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_branch: Option<String>,
}

/// How far a reset goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GitResetMode {
    /// The branch only.
    Soft,
    /// The branch and what is staged.
    #[default]
    Mixed,
    /// The files too; changes are lost.
    Hard,
    /// The files too, but for changes that are not staged.
    Merge,
    /// The files too, but for changes of any kind.
    Keep,
}

/// Body of `POST /git/reset`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitResetRequest {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<GitResetMode>,
    /// A revision; `HEAD` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Takes only these back from the stage, and leaves the branch where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
}

/// Body of `POST /git/restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitRestoreRequest {
    pub path: String,
    pub files: Option<Vec<String>>,
    /// Whether what is staged is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<bool>,
    /// Whether the files are restored; they are where neither is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<bool>,
    /// A revision; where absent, `HEAD` for what is staged, and what is staged for the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Body of `POST /git/remotes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitAddRemoteRequest {
    pub path: String,
    pub name: String,
    pub url: String,
    /// Whether to fetch from it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<bool>,
    /// Whether a remote of that name gets the new address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<bool>,
}

/// A remote repository that this one knows by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitRemote {
    pub name: String,
    pub url: String,
}

/// Answer of `GET /git/remotes`, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListRemotesResponse {
    pub remotes: Vec<GitRemote>,
}

/// Which of git's configuration files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GitConfigScope {
    /// The user's.
    #[default]
    Global,
    /// The repository's; needs a path.
    Local,
    /// The machine's.
    System,
}

/// Body of `POST /git/config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitSetConfigRequest {
    /// Such as `user.name`.
    pub key: String,
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<GitConfigScope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Answer of `GET /git/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitConfigResponse {
    /// Null where the key is not set.
    pub value: Option<String>,
}

/// Body of `POST /git/config/user`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitConfigureUserRequest {
    pub name: String,
    pub email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<GitConfigScope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Body of `POST /git/credentials`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitAuthenticateRequest {
    pub username: String,
    pub password: Password,
    /// `github.com` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `https` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// Answer of `GET /git/branches`, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListBranchResponse {
    pub branches: Vec<String>,
    /// The branch that is checked out, empty for a commit without one. Left out for clients that fail on fields
    /// they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum FileState {
    Unmodified,
    Untracked,
    Modified,
    Added,
    Deleted,
    Renamed,
    Copied,
    #[serde(rename = "Updated but unmerged")]
    Unmerged,
}

/// A file that differs from the last commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileStatus {
    /// From the top of the work tree.
    pub name: String,
    /// The former name of a renamed file, else empty.
    pub extra: String,
    pub staging: FileState,
    pub worktree: FileState,
}

/// Answer of `GET /git/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitStatus {
    /// Also of a repository without commits; `HEAD` where no branch is checked out.
    pub current_branch: String,
    /// Sorted by name.
    pub file_status: Vec<FileStatus>,
    /// Commits that the upstream does not have; 0 without one.
    pub ahead: u64,
    /// Commits of the upstream that are not here.
    pub behind: u64,
    /// Whether the branch has an upstream that exists.
    pub branch_published: bool,
    /// Left out, like the next, for clients that fail on fields they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<bool>,
    /// Such as `origin/main`, empty where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_print() {
        let request = GitCloneRequest {
            password: Some(Password("hunter2".into())),
            ..GitCloneRequest::default()
        };
        assert!(!format!("{request:?}").contains("hunter2"));
    }

    #[test]
    fn unmerged_files_are_spelled_as_the_clients_know_them() {
        let spelled = serde_json::to_string(&FileState::Unmerged).unwrap_or_default();
        assert_eq!(spelled, r#""Updated but unmerged""#);
    }
}
