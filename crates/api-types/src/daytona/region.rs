//! Where sandboxes run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// What kind of region it is. Ours are open to every organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegionType {
    Shared,
    Dedicated,
    Custom,
}

/// A region. Addresses are null where the server's own count, which `GET /config` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Region {
    pub id: String,
    pub name: String,
    pub organization_id: Option<String>,
    pub region_type: RegionType,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub proxy_url: Option<String>,
    pub ssh_gateway_url: Option<String>,
    pub snapshot_manager_url: Option<String>,
}
