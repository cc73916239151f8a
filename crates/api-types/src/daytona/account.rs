//! Who the caller is.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::quota::with_older;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// An API key as it may be shown: never the whole value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKeyList)]
pub struct ApiKey {
    pub name: String,
    /// First three characters, asterisks, last three characters.
    pub value: String,
    pub created_at: Timestamp,
    pub permissions: Vec<String>,
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
    #[schema(required = true)]
    pub expires_at: Option<Timestamp>,
    pub user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateApiKey {
    /// One user's keys in an organization have different names.
    pub name: String,
    pub permissions: Vec<String>,
    /// Never, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Another organization of the user; the one of the caller's key when absent. Our own field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
}

impl FromBody for CreateApiKey {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            permissions: fields.required("permissions", "an array of strings"),
            expires_at: fields.optional("expiresAt", "a date with time and offset"),
            organization_id: fields.text("organizationId"),
        }
    }
}

/// A key that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyResponse {
    pub name: String,
    /// The whole key. Shown this once; the server keeps only its hash.
    pub value: String,
    pub created_at: Timestamp,
    pub permissions: Vec<String>,
    #[schema(required = true)]
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: String,
    pub name: String,
    pub email: String,
    /// Whether the address is known to be the user's.
    pub email_verified: bool,
    pub public_keys: Vec<UserPublicKey>,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserPublicKey {
    pub key: String,
    pub name: String,
}

/// An organization. Limits of zero and null mean that nothing is set; clients need the keys. Of one that is not suspended,
/// the dates of the suspension are the beginning of 1970 and its reason is empty: clients of all ages read no null there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the contract has them as separate fields"
)]
pub struct Organization {
    pub id: String,
    pub name: String,
    pub created_by: String,
    pub personal: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub suspended: bool,
    #[serde(serialize_with = "or_never")]
    #[schema(required = true, value_type = Timestamp)]
    pub suspended_at: Option<Timestamp>,
    #[serde(serialize_with = "or_empty")]
    #[schema(required = true, value_type = String)]
    pub suspension_reason: Option<String>,
    #[serde(serialize_with = "or_never")]
    #[schema(required = true, value_type = Timestamp)]
    pub suspended_until: Option<Timestamp>,
    pub suspension_cleanup_grace_period_hours: u32,
    pub max_cpu_per_sandbox: u32,
    pub max_memory_per_sandbox: u32,
    pub max_disk_per_sandbox: u32,
    pub secret_quota: u32,
    pub max_secrets_per_sandbox: u32,
    pub snapshot_deactivation_timeout_minutes: u32,
    #[schema(required = true)]
    pub default_queue_timeout: Option<u32>,
    pub sandbox_limited_network_egress: bool,
    pub preview_warning_enabled: bool,
    pub sso_enabled: bool,
    pub scim_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_region_id: Option<String>,
    #[schema(required = true)]
    pub authenticated_rate_limit: Option<u32>,
    #[schema(required = true)]
    pub sandbox_create_rate_limit: Option<u32>,
    #[schema(required = true)]
    pub sandbox_lifecycle_rate_limit: Option<u32>,
    #[schema(required = true)]
    pub authenticated_rate_limit_ttl_seconds: Option<u32>,
    #[schema(required = true)]
    pub sandbox_create_rate_limit_ttl_seconds: Option<u32>,
    #[schema(required = true)]
    pub sandbox_lifecycle_rate_limit_ttl_seconds: Option<u32>,
    #[schema(value_type = Object)]
    pub experimental_config: serde_json::Map<String, serde_json::Value>,
    #[schema(required = true, value_type = Option<Object>)]
    pub otel_config: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Clients up to 0.120 need these. They are per region since then.
const OLDER_TOTALS: [(&str, u64); 3] = [
    ("totalCpuQuota", 0),
    ("totalMemoryQuota", 0),
    ("totalDiskQuota", 0),
];

impl Serialize for Organization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Self::serialize(self, serde_json::value::Serializer);
        with_older(fields, &OLDER_TOTALS, serializer)
    }
}

impl<'de> Deserialize<'de> for Organization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn or_never<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    let never = || Timestamp::from(jiff::Timestamp::UNIX_EPOCH);
    time.unwrap_or_else(never).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn or_empty<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_deref().unwrap_or_default())
}
