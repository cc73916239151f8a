//! Drives.

use serde::{Deserialize, Serialize};

use super::sandbox::Pagination;
use crate::body::{BodyFields, FromBody};

/// A drive by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drive {
    pub id: String,
    pub name: String,
    pub project_id: String,
    pub region: String,
    pub max_size_bytes: u64,
    pub created_at: i64,
    pub updated_at: i64,
    /// Of what runs with it; one of them, if several do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_sandbox_name: Option<String>,
    /// The drive that this one is a fork of. It may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_drive_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveAnswer {
    pub drive: Drive,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrivePage {
    pub drives: Vec<Drive>,
    pub pagination: Pagination,
}

/// `POST /v2/sandboxes/drives/{name}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeDrive {
    pub project: Option<String>,
    pub region: Option<String>,
    pub max_size_bytes: Option<i64>,
}

impl FromBody for MakeDrive {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            project: fields.text("projectId"),
            region: fields.text("region"),
            max_size_bytes: fields.integer("maxSizeBytes"),
        }
    }
}

/// `POST /v2/sandboxes/drives/{name}/fork`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkDrive {
    /// Of the new one.
    pub name: String,
}

impl FromBody for ForkDrive {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
        }
    }
}

/// Where a drive is mounted, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub drive: String,
    /// `read-write` where a client does not say.
    #[serde(default = "read_write")]
    pub mode: String,
}

pub const READ_WRITE: &str = "read-write";
/// Others may write to the drive meanwhile, where they have it so.
pub const READ_ONLY: &str = "read-only";

fn read_write() -> String {
    READ_WRITE.to_owned()
}
