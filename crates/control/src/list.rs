//! Lists of sandboxes and snapshots.

use alcove_domain::{SandboxFilter, SandboxSort, SnapshotSort, SortOrder};

/// A list by cursor. Absent values mean the documented defaults; limits are checked by the control
/// plane.
#[derive(Debug, Clone, Default)]
pub struct ListSandboxes {
    pub filter: SandboxFilter,
    /// `lastActivityAt` when absent; only the first six sorts are taken here.
    pub sort: Option<SandboxSort>,
    pub order: Option<SortOrder>,
    /// 1 to 200, 100 when absent.
    pub limit: Option<i64>,
    pub cursor: Option<String>,
}

/// A list by page number.
#[derive(Debug, Clone, Default)]
pub struct PageSandboxes {
    pub filter: SandboxFilter,
    /// `createdAt` when absent.
    pub sort: Option<SandboxSort>,
    pub order: Option<SortOrder>,
    pub limit: Option<i64>,
    pub page: Option<i64>,
}

/// A list of snapshots.
#[derive(Debug, Clone, Default)]
pub struct ListSnapshots {
    /// Part of the name.
    pub name: Option<String>,
    /// `lastUsedAt` when absent; general snapshots come last.
    pub sort: Option<SnapshotSort>,
    pub order: Option<SortOrder>,
    pub limit: Option<i64>,
    pub page: Option<i64>,
}
