//! Who the caller is.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::otel::OtelConfig;
use super::quota::with_others;
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

/// An organization. Limits of zero and null mean that nothing is set; clients need the keys. Clients of all ages read no null
/// of a suspension: without one its dates are the beginning of 1970 and its reason is empty, and one without an end has the
/// end of 9999.
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
    #[schema(required = true)]
    pub otel_config: Option<OtelConfig>,
}

/// Clients up to 0.120 need these. They are per region since then.
pub(super) const OLDER_TOTALS: [&str; 3] = ["totalCpuQuota", "totalMemoryQuota", "totalDiskQuota"];

const NEVER: &str = "1970-01-01T00:00:00.000Z";

/// The end of a suspension that has none, as far as dates go everywhere.
const NO_END: &str = "9999-12-30T00:00:00.000Z";

impl Serialize for Organization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Self::serialize(self, serde_json::value::Serializer);
        let mut others = OLDER_TOTALS.map(|name| (name, 0.into())).to_vec();
        if self.suspended_until.is_none() {
            let until = if self.suspended { NO_END } else { NEVER };
            others.push(("suspendedUntil", until.into()));
        }
        with_others(fields, others, serializer)
    }
}

impl<'de> Deserialize<'de> for Organization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn or_never<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => time.serialize(serializer),
        None => serializer.serialize_str(NEVER),
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn or_empty<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::{Value, json};

    use super::*;

    fn until(suspended: bool, until: &Value) -> Value {
        let mut fields = json!({
            "id": "o", "name": "o", "createdBy": "u", "personal": false,
            "createdAt": NEVER, "updatedAt": NEVER, "suspendedAt": null, "suspensionReason": null,
            "suspensionCleanupGracePeriodHours": 0, "maxCpuPerSandbox": 0, "maxMemoryPerSandbox": 0,
            "maxDiskPerSandbox": 0, "secretQuota": 0, "maxSecretsPerSandbox": 0,
            "snapshotDeactivationTimeoutMinutes": 0, "defaultQueueTimeout": null,
            "sandboxLimitedNetworkEgress": false, "previewWarningEnabled": false,
            "ssoEnabled": false, "scimEnabled": false, "authenticatedRateLimit": null,
            "sandboxCreateRateLimit": null, "sandboxLifecycleRateLimit": null,
            "authenticatedRateLimitTtlSeconds": null, "sandboxCreateRateLimitTtlSeconds": null,
            "sandboxLifecycleRateLimitTtlSeconds": null, "experimentalConfig": {}, "otelConfig": null,
        });
        fields["suspended"] = suspended.into();
        fields["suspendedUntil"] = until.clone();
        let organization: Organization = serde_json::from_value(fields).unwrap();
        let shown = serde_json::to_value(organization).unwrap();
        assert_eq!(shown["suspensionReason"], "");
        assert_eq!(shown["suspendedAt"], NEVER);
        assert_eq!(shown["totalDiskQuota"], 0);
        shown["suspendedUntil"].clone()
    }

    #[test]
    fn a_suspension_has_no_null() {
        assert_eq!(until(false, &Value::Null), NEVER);
        assert_eq!(until(true, &Value::Null), NO_END);
        let end = json!("2100-01-01T00:00:00.000Z");
        assert_eq!(until(true, &end), end);
    }
}
