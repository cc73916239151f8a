//! What the server tells everyone about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Clients between 0.113 and 0.146 refuse to work when one of these fields is missing.
///
/// `analyticsApiUrl` is left out on purpose: clients that see it ask there for metrics, not here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DaytonaConfiguration)]
pub struct Configuration {
    pub version: String,
    pub oidc: Oidc,
    pub linked_accounts_enabled: bool,
    #[schema(value_type = Object)]
    pub announcements: BTreeMap<String, serde_json::Value>,
    /// Where previews are, with the placeholders `{{PORT}}` and `{{sandboxId}}`.
    pub proxy_template_url: String,
    pub proxy_toolbox_url: String,
    pub default_snapshot: String,
    pub dashboard_url: String,
    /// Minutes.
    pub max_auto_archive_interval: u32,
    /// The contract spells it so.
    #[serde(rename = "maintananceMode")]
    pub maintenance_mode: bool,
    pub environment: String,
    /// The command that opens an SSH session, with the placeholder `{{TOKEN}}`. It and what follows of it are absent where there
    /// is no gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_gateway_command: Option<String>,
    /// The gateway's key as a line of OpenSSH's, in base64 once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_gateway_public_key: Option<String>,
    /// Absent where the operator has given a command, which has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_gateway_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_gateway_port: Option<u16>,
    /// Lines of OpenSSH's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_gateway_host_keys: Option<Vec<String>>,
    /// Such as `SHA256:…`, in the same order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_gateway_host_key_fingerprints: Option<Vec<String>>,
    /// What requests are limited to; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimits>,
}

/// Limits of requests that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RateLimitConfig)]
pub struct RateLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_auth: Option<RateLimitEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<RateLimitEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_create: Option<RateLimitEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_lifecycle: Option<RateLimitEntry>,
}

/// So many requests in such a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateLimitEntry {
    /// Seconds.
    pub ttl: u32,
    pub limit: u32,
}

/// The identity provider; all fields are empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OidcConfig)]
pub struct Oidc {
    pub issuer: String,
    pub client_id: String,
    pub audience: String,
    pub provider: String,
}
