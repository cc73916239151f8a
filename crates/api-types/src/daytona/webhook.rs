//! Webhooks: what endpoints are told, and how they are managed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// The body of a message. `event` and `timestamp` are in each; what follows depends on the event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebhookPayload {
    pub event: String,
    /// When it happened.
    pub timestamp: Timestamp,
    #[serde(flatten)]
    pub news: WebhookNews,
}

/// What happened to what.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all_fields = "camelCase", untagged)]
pub enum WebhookNews {
    /// `sandbox.created`
    SandboxCreated {
        id: String,
        organization_id: String,
        state: String,
        sandbox_class: String,
        created_at: Timestamp,
    },
    /// `sandbox.state.updated`, `sandbox.deleted`, `sandbox.error`
    SandboxState {
        id: String,
        organization_id: String,
        old_state: String,
        new_state: String,
        /// Why, where it is a state of error.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_reason: Option<String>,
        updated_at: Timestamp,
    },
    /// `snapshot.created`
    SnapshotCreated {
        id: String,
        name: String,
        organization_id: String,
        state: String,
        created_at: Timestamp,
    },
    /// `snapshot.state.updated`
    SnapshotState {
        id: String,
        name: String,
        organization_id: String,
        old_state: String,
        new_state: String,
        updated_at: Timestamp,
    },
    /// `snapshot.removed`
    SnapshotRemoved {
        id: String,
        name: String,
        organization_id: String,
        removed_at: Timestamp,
    },
    /// `volume.created`
    VolumeCreated {
        id: String,
        name: String,
        organization_id: String,
        state: String,
        created_at: Timestamp,
    },
    /// `volume.state.updated`
    VolumeState {
        id: String,
        name: String,
        organization_id: String,
        old_state: String,
        new_state: String,
        updated_at: Timestamp,
    },
    /// `webhook.endpoint.disabled`
    EndpointDisabled {
        endpoint_id: String,
        url: String,
        organization_id: String,
        reason: String,
        disabled_at: Timestamp,
    },
}

/// How an organization stands with webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookInitializationStatus {
    pub organization_id: String,
    /// The id of the organization: this server delivers itself.
    #[schema(required = true)]
    pub svix_application_id: Option<String>,
    /// Why an endpoint was disabled last, if one is.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// Always 0: there is nothing to be tried again.
    pub retry_count: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The page on which webhooks are managed, and what it is opened with, for an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookAppPortalAccess {
    /// Stands for the owner in all that concerns the organization's endpoints.
    pub token: String,
    /// With the token behind `#`, which browsers keep to themselves.
    pub url: String,
}

/// Whether the server sends webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookEnabled {
    pub enabled: bool,
}

/// The body that sends a message to an organization's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SendWebhookDto)]
pub struct SendWebhook {
    pub event_type: String,
    #[schema(value_type = Object)]
    pub payload: serde_json::Map<String, serde_json::Value>,
    /// The id of the message. What is sent again with the same one is sent once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
}

impl FromBody for SendWebhook {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            event_type: fields.required("eventType", "a string"),
            payload: fields.required("payload", "an object"),
            event_id: fields.text("eventId"),
        }
    }
}

/// Where an organization is told of what happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEndpoint {
    pub id: String,
    pub url: String,
    pub description: String,
    /// What it is told of; empty for everything.
    pub event_types: Vec<String>,
    pub disabled: bool,
    pub disabled_at: Option<Timestamp>,
    /// Why the server has disabled it; null where people have.
    pub disabled_reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// What messages are signed with; in the answer to the creation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What messages of an endpoint are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookEndpointSecret {
    /// `whsec_…`, as the libraries of Svix and of Standard Webhooks take it.
    pub secret: String,
}

/// The body that adds an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateWebhookEndpoint {
    /// `https`, or `http` at a host that the operator has named.
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it is to be told of; absent or empty for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

impl FromBody for CreateWebhookEndpoint {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            url: fields.required("url", "a string"),
            description: fields.text("description"),
            event_types: fields.optional("eventTypes", "an array of strings"),
            disabled: fields.boolean("disabled"),
        }
    }
}

/// The body that changes an endpoint. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateWebhookEndpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_types: Option<Vec<String>>,
    /// A disabled endpoint is told nothing, and what waited for it does not wait any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

impl FromBody for UpdateWebhookEndpoint {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            url: fields.text("url"),
            description: fields.text("description"),
            event_types: fields.optional("eventTypes", "an array of strings"),
            disabled: fields.boolean("disabled"),
        }
    }
}

/// The body that sends an endpoint what it has missed: one of the two fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayWebhooks {
    /// What has not been delivered of the messages since then, at most those of a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// This message, delivered or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

impl FromBody for ReplayWebhooks {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            since: fields.optional("since", "an ISO 8601 date and time with a zone"),
            message_id: fields.text("messageId"),
        }
    }
}

/// What a replay has brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayedWebhooks {
    /// Messages that are sent again.
    pub messages: u64,
}

/// A message to an organization's endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookMessage {
    pub id: String,
    pub event_type: String,
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
    pub created_at: Timestamp,
}

/// One try to deliver a message to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAttempt {
    pub message_id: String,
    pub endpoint_id: String,
    /// Which try of this message it is, from 1 on.
    pub attempt: u32,
    pub timestamp: Timestamp,
    /// `success` or `failed`.
    pub status: String,
    /// What the endpoint answered; null where it did not.
    pub response_status_code: Option<u16>,
    pub response_duration_ms: u64,
    /// Why there was no answer.
    pub error: Option<String>,
}
