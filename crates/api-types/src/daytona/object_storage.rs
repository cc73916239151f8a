//! Leave to put build contexts into the object storage.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Credentials of an S3 client, good for an hour and for what is below the organization's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StorageAccessDto)]
pub struct StorageAccess {
    pub access_key: String,
    pub secret: String,
    pub session_token: String,
    pub storage_url: String,
    pub organization_id: String,
    pub bucket: String,
    pub region: String,
}
