//! Where sandboxes run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody, TextChange};

/// What kind of region it is: the server itself is open to every organization, and those that organizations make are `custom`.
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
    /// Always null: telemetry is not sent on by region.
    pub otel_endpoint: Option<String>,
}

/// Why no region has one.
const NO_OTEL: &str = "is not offered: telemetry is not sent on by region";

/// The body that makes a region. Each address may be null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateRegion {
    /// 2 to 255 letters, digits, `_`, `.` and `-`; one of a kind in the organization.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_gateway_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_manager_url: Option<String>,
}

impl FromBody for CreateRegion {
    fn from_fields(fields: &mut BodyFields) -> Self {
        fields.refuse("otelEndpoint", NO_OTEL);
        Self {
            name: fields.required("name", "a string"),
            proxy_url: fields.text("proxyUrl"),
            ssh_gateway_url: fields.text("sshGatewayUrl"),
            snapshot_manager_url: fields.text("snapshotManagerUrl"),
        }
    }
}

/// A new region, or a changed one, with the credentials that were made for it. They are shown this once; those that were
/// not made now are null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateRegionResponse {
    pub id: String,
    pub proxy_api_key: Option<String>,
    pub ssh_gateway_api_key: Option<String>,
    pub snapshot_manager_username: Option<String>,
    pub snapshot_manager_password: Option<String>,
}

/// The body that changes addresses of a region: null takes one away, and what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct UpdateRegion {
    #[schema(value_type = Option<String>)]
    pub proxy_url: TextChange,
    #[schema(value_type = Option<String>)]
    pub ssh_gateway_url: TextChange,
    #[schema(value_type = Option<String>)]
    pub snapshot_manager_url: TextChange,
}

impl FromBody for UpdateRegion {
    fn from_fields(fields: &mut BodyFields) -> Self {
        fields.refuse("otelEndpoint", NO_OTEL);
        Self {
            proxy_url: fields.text_change("proxyUrl"),
            ssh_gateway_url: fields.text_change("sshGatewayUrl"),
            snapshot_manager_url: fields.text_change("snapshotManagerUrl"),
        }
    }
}

/// A new key, shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateApiKeyResponse {
    pub api_key: String,
}

/// What a region's snapshot manager is logged in to with, shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotManagerCredentials {
    pub username: String,
    pub password: String,
}
