//! What runners are asked to do, as they are told of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SandboxState;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    #[default]
    Pending,
    InProgress,
    Completed,
    Failed,
}

impl JobStatus {
    pub fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(word.into()).ok()
    }
}

/// A piece of work for a runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub status: JobStatus,
    pub resource_type: String,
    pub resource_id: String,
    /// JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

/// Some of a runner's jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaginatedJobs {
    pub items: Vec<Job>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}

/// Work that a runner is to begin now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PollJobsResponse {
    pub jobs: Vec<Job>,
}

/// The body with which a runner tells how far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateJobStatus {
    pub status: JobStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_metadata: Option<String>,
}

impl FromBody for UpdateJobStatus {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            status: fields.required(
                "status",
                "one of PENDING, IN_PROGRESS, COMPLETED and FAILED",
            ),
            error_message: fields.text("errorMessage"),
            result_metadata: fields.text("resultMetadata"),
        }
    }
}

/// The body with which a runner tells what became of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateSandboxState {
    #[schema(required = true)]
    pub state: Option<SandboxState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverable: Option<bool>,
}

impl FromBody for UpdateSandboxState {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let words = "a state of sandboxes";
        let state: String = fields.required("state", words);
        Self {
            state: fields.read("state", state.into()),
            error_reason: fields.text("errorReason"),
            recoverable: fields.boolean("recoverable"),
        }
    }
}
