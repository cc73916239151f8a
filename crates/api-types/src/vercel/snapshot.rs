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
