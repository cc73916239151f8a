//! What an organization says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// Where the telemetry of an organization's sandboxes is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtelConfig {
    /// An endpoint of OTLP over HTTP, such as `https://otlp.example.com`. The path of each signal is put behind it.
    pub endpoint: String,
    /// Sent with each request. To people they are shown as `******`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
}

impl FromBody for OtelConfig {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            endpoint: fields.required("endpoint", "a string"),
            headers: fields.optional("headers", "an object of strings"),
            organization_id: fields.text("organizationId"),
        }
    }
}

/// Which sandbox a token is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxIdentity {
    pub sandbox_id: String,
    pub organization_id: String,
}

/// Which processors for graphics are free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuCapacityResponse {
    pub observed_at: Timestamp,
    /// Always empty.
    pub capacity: Vec<GpuCapacity>,
}

/// Processors for graphics of one kind. There are none here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuCapacity {
    pub gpu_type: String,
    pub available_on_demand: u32,
    pub available_spot: u32,
}

/// How long creates wait for a runner, in minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateOrganizationDefaultQueueTimeout {
    #[schema(required = true)]
    pub default_queue_timeout: Option<i64>,
}

impl FromBody for UpdateOrganizationDefaultQueueTimeout {
    fn from_fields(fields: &mut BodyFields) -> Self {
        if !fields.contains("defaultQueueTimeout") {
            // Null means something here, so it must be said.
            let _: i64 = fields.required("defaultQueueTimeout", "an integer number or null");
        }
        Self {
            default_queue_timeout: fields.integer("defaultQueueTimeout"),
        }
    }
}
