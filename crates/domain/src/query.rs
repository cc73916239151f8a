//! What lists can be asked for.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{SandboxClass, SandboxState, SnapshotId};

/// Conditions of a list of snapshots; all must hold, an empty one holds always.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotFilter {
    pub name_part: Option<String>,
    /// Id of the sandbox that they were made from.
    pub source_sandbox: Option<String>,
    /// Only those that were made from a sandbox.
    pub of_sandboxes: bool,
    /// Those of this project, and those of none.
    pub project: Option<String>,
    pub parent: Option<SnapshotParent>,
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
}

/// From which snapshot those go out that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotParent {
    Is(SnapshotId),
    /// They are the first of their sandbox.
    Nobody,
}

/// Conditions of a sandbox list; all must hold, an empty one holds always.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SandboxFilter {
    pub id_prefix: Option<String>,
    /// Compared without regard to case.
    pub name_prefix: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Shows also sandboxes in `error` or `build_failed` that are being deleted.
    pub include_errored_deleted: bool,
    pub states: Vec<SandboxState>,
    pub snapshots: Vec<String>,
    pub regions: Vec<String>,
    pub classes: Vec<SandboxClass>,
    pub min_cpu: Option<i64>,
    pub max_cpu: Option<i64>,
    pub min_memory_gib: Option<i64>,
    pub max_memory_gib: Option<i64>,
    pub min_disk_gib: Option<i64>,
    pub max_disk_gib: Option<i64>,
    pub is_public: Option<bool>,
    pub is_recoverable: Option<bool>,
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    pub last_event_after: Option<Timestamp>,
    pub last_event_before: Option<Timestamp>,
    pub auto_destroy_after: Option<Timestamp>,
    pub auto_destroy_before: Option<Timestamp>,
}

/// What a sandbox list is sorted by; the id breaks ties. The cursor form offers the first six only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SandboxSort {
    Name,
    Cpu,
    MemoryGib,
    DiskGib,
    LastActivityAt,
    CreatedAt,
    Id,
    State,
    Snapshot,
    Region,
    UpdatedAt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotSort {
    Name,
    State,
    LastUsedAt,
    CreatedAt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SortOrder {
    Ascending,
    Descending,
}

/// A page whose successor is found by a cursor.
#[derive(Debug, Clone, PartialEq)]
pub struct CursorPage<T> {
    pub items: Vec<T>,
    /// None at the end.
    pub next_cursor: Option<String>,
}

/// A page found by its number, counted from one.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetPage<T> {
    pub items: Vec<T>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}
