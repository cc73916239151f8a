//! Snapshots: what sandboxes are made from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::create_sandbox::{CreateBuildInfo, one_or_many};
use super::sandbox::word_enum;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

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

/// The body that makes a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateSnapshot {
    pub name: String,
    /// Reference of an image in a registry, with a tag or a digest. The tag `latest` is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// What is run in its sandboxes, in place of what the image names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<i64>,
    /// One value or a list in order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub gpu_type: Vec<String>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_info: Option<CreateBuildInfo>,
    /// Id or name of a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_class: Option<String>,
}

impl FromBody for CreateSnapshot {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            image_name: fields.text("imageName"),
            entrypoint: fields.optional("entrypoint", "an array of strings"),
            cpu: fields.integer("cpu"),
            gpu: fields.integer("gpu"),
            gpu_type: one_or_many(fields, "gpuType"),
            memory: fields.integer("memory"),
            disk: fields.integer("disk"),
            build_info: fields.optional("buildInfo", "an object with the string dockerfileContent"),
            region_id: fields.text("regionId"),
            sandbox_class: fields.text("sandboxClass"),
        }
    }
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

/// Where something is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Url {
    pub url: String,
}
