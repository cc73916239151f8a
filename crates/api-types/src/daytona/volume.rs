//! Volumes: file systems that sandboxes of an organization share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sandbox::word_enum;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

word_enum! {
    VolumeState {
        Creating = "creating",
        Ready = "ready",
        PendingCreate = "pending_create",
        PendingDelete = "pending_delete",
        Deleting = "deleting",
        Deleted = "deleted",
        Error = "error",
    }
}

/// A volume. The fields that are null when empty must be there all the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VolumeDto)]
pub struct Volume {
    pub id: String,
    pub name: String,
    pub organization_id: String,
    pub state: VolumeState,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When a sandbox with it was last made or started.
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
    #[schema(required = true)]
    pub error_reason: Option<String>,
}

/// The body that makes a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreateVolume {
    /// The id when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl FromBody for CreateVolume {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.text("name"),
        }
    }
}
