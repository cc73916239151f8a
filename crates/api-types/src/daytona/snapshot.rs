//! Snapshots: what sandboxes are made from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sandbox::word_enum;
use crate::Timestamp;

word_enum! {
    SnapshotState {
        Building = "building",
        Pending = "pending",
        Pulling = "pulling",
        Snapshotting = "snapshotting",
        Active = "active",
        Inactive = "inactive",
        Error = "error",
        BuildFailed = "build_failed",
        Removing = "removing",
    }
}

/// A snapshot. The fields that are null when empty must be there all the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SnapshotDto)]
pub struct Snapshot {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Everyone may use it.
    pub general: bool,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    pub state: SnapshotState,
    /// GiB.
    #[schema(required = true)]
    pub size: Option<f64>,
    #[schema(required = true)]
    pub entrypoint: Option<Vec<String>>,
    pub cpu: u32,
    pub gpu: u32,
    /// GiB. The wire says `mem` here and `memory` in a sandbox.
    pub mem: u32,
    /// GiB.
    pub disk: u32,
    #[schema(required = true)]
    pub error_reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
    #[schema(required = true)]
    pub source_sandbox_id: Option<String>,
    #[serde(default)]
    pub region_ids: Vec<String>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_class: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaginatedSnapshots)]
pub struct SnapshotPage {
    pub items: Vec<Snapshot>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}
