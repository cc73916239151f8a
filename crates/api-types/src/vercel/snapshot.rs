//! Snapshots.

use serde::{Deserialize, Serialize};

use super::sandbox::{OlderPagination, Pagination, Session};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub id: String,
    pub source_session_id: String,
    /// The same, as clients before 2 call it.
    pub source_sandbox_id: String,
    pub region: String,
    pub status: String,
    pub size_bytes: u64,
    pub created_at: i64,
    pub updated_at: i64,
    pub creation_method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
}

/// A snapshot among those that were made after the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotNode {
    pub snapshot: Snapshot,
    pub siblings: Vec<Snapshot>,
    /// A number in words: of all of them, with the snapshot itself.
    pub count: String,
}

/// A way from a snapshot to what was before it, or after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotTree {
    pub snapshots: Vec<SnapshotNode>,
    pub anchor: SnapshotNode,
    pub pagination: Pagination,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotAnswer {
    pub snapshot: Snapshot,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The session, as clients before 2 read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Session>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotPage {
    pub snapshots: Vec<Snapshot>,
    pub pagination: Pagination,
}

/// The same as clients before 2 read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OlderSnapshotPage {
    pub snapshots: Vec<Snapshot>,
    pub pagination: OlderPagination,
}
