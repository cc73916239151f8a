//! What the administrator of the server sees of all organizations. Paths and shapes are our own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Sandbox;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// Whether every organization sees a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SetSnapshotGeneralStatusDto)]
pub struct SetSnapshotGeneral {
    pub general: bool,
}

impl FromBody for SetSnapshotGeneral {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            general: fields.required("general", "a boolean"),
        }
    }
}

/// An organization in the list of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdministeredOrganization {
    pub id: String,
    pub name: String,
    /// Id of the user who made it.
    pub created_by: String,
    pub personal: bool,
    /// `active`, `suspended` or `deleting`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension_reason: Option<String>,
    /// When a suspension ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_until: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// Some of all organizations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdministeredOrganizations {
    pub items: Vec<AdministeredOrganization>,
    /// Null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Some of the sandboxes of all organizations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdministeredSandboxes {
    pub items: Vec<Sandbox>,
    /// Null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A build or a pull that is under way, or waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    pub id: String,
    /// `build` or `pull`.
    pub kind: String,
    #[schema(required = true)]
    pub organization_id: Option<String>,
    pub snapshot_id: String,
    /// Null for what is built for sandboxes alone.
    #[schema(required = true)]
    pub snapshot_name: Option<String>,
    /// The state of the snapshot: `building`, `pending` or `pulling`.
    pub state: String,
    /// When a build was ordered, or a pull reached its state.
    pub since: Timestamp,
}
