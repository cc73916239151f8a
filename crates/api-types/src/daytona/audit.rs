//! Audit logs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// One thing that was done, or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditLog {
    pub id: String,
    /// The user's id; empty where nobody was let in.
    pub actor_id: String,
    pub actor_email: String,
    /// The first characters of the key that the user came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_api_key_prefix: Option<String>,
    /// The last characters of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_api_key_suffix: Option<String>,
    /// The name of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_api_key_name: Option<String>,
    /// Not there in the log of the server itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,
    /// The status of the answer; 0 where the client did not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// What kind of client says that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<BTreeMap<String, String>>,
    pub created_at: Timestamp,
}

/// A line of an export: a row with its place in the chain of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedAuditLog {
    #[serde(flatten)]
    pub row: AuditLog,
    /// Counts the rows of the log, from 1 on, without a gap.
    pub number: i64,
    /// The hash of the row before, in hex.
    pub previous_hash: String,
    /// The hash of this row, in hex.
    pub hash: String,
}

/// A page of a log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaginatedAuditLogs {
    pub items: Vec<AuditLog>,
    /// Rows that fit, on all pages.
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
    /// The way to the next page, which stays right while rows are added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// What this server writes down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditScenarios {
    pub targets: Vec<AuditTargetScenario>,
}

/// What is written down of one kind of thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditTargetScenario {
    pub target_type: String,
    pub actions: Vec<String>,
}

/// The body that writes a row by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateAuditLog {
    pub actor_id: String,
    pub actor_email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,
}

impl FromBody for CreateAuditLog {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            actor_id: fields.required("actorId", "a string"),
            actor_email: fields.required("actorEmail", "a string"),
            organization_id: fields.text("organizationId"),
            action: fields.required("action", "a string"),
            target_type: fields.text("targetType"),
            target_id: fields.text("targetId"),
        }
    }
}

/// What was done in a sandbox, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxActivityList {
    pub items: Vec<SandboxActivity>,
    /// The way to what followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One thing that was done in a sandbox, or to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxActivity {
    pub id: String,
    pub created_at: Timestamp,
    /// `command`, `file`, `connection`, `request` or `change`.
    pub kind: String,
    /// As the audit log has it.
    pub action: String,
    /// Empty for what the sandbox did by itself, and for whoever came with a token or without a credential.
    pub actor_id: String,
    pub actor_email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The text of a command, without what is known to be secret, at most 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The folder that it was run in, where the client named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Paths, as the client named them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub files: Vec<String>,
    /// What else is known, such as the method and path of a request, or the name that a sandbox asked for.
    #[schema(value_type = Object)]
    pub details: BTreeMap<String, String>,
}
