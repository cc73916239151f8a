//! Webhooks on their way outside: what endpoints are told, and the requests to them.
//!
//! An endpoint is anybody's choice, and so is all that answers there: see `outside.rs`. Of an answer's body little is read and
//! nothing kept.

use std::io;
use std::time::Duration;

use alcove_api_types::daytona::{WebhookNews, WebhookPayload};
use alcove_control::{Event, EventBody, WebhookRequest, WebhookSender};
use alcove_domain::webhook::Outcome;
use alcove_domain::{SandboxState, WebhookEndpoint, WebhookEvent};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use jiff::Timestamp;

use crate::outside::Outside;

/// A whole try, the look-up of the name and the answer's body included. Receivers are to answer first and work then.
const SEND_LIMIT: Duration = Duration::from_secs(15);
/// What is read of an answer's body, for its sender's sake. Nothing is done with it.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// How long that is waited for.
const BODY_LIMIT: Duration = Duration::from_secs(2);

/// Sends webhooks by HTTP.
#[derive(Debug, Clone)]
pub struct Webhooks {
    outside: Outside,
    limit: Duration,
}

impl Webhooks {
    /// `hosts` are those that the operator has named: they may be at private addresses, and be asked without TLS.
    ///
    /// # Errors
    /// If the host's certificates cannot be read.
    pub fn new(hosts: &[String]) -> io::Result<Self> {
        Ok(Self {
            outside: Outside::new(hosts)?,
            limit: SEND_LIMIT,
        })
    }

    /// With another bound on the time of a try.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    async fn ask(&self, request: WebhookRequest) -> Outcome {
        let failed = |reason: &str| Outcome::Failed {
            reason: reason.to_owned(),
        };
        let Some(request) = http_request(&request) else {
            return failed("its URL is none");
        };
        let answer = match self.outside.ask(request).await {
            Ok(answer) => answer,
            Err(reason) => return failed(reason),
        };
        let status = answer.status().as_u16();
        // Whether the rest of the body comes changes nothing about the answer.
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect();
        let _ = tokio::time::timeout(BODY_LIMIT, body).await;
        Outcome::Answered { status }
    }
}

#[async_trait]
impl WebhookSender for Webhooks {
    fn is_known(&self, host: &str) -> bool {
        self.outside.is_known(host)
    }

    fn tell(&self, event: &Event) -> Vec<(WebhookEvent, String)> {
        let news = news(event);
        let bodies = news
            .into_iter()
            .map(|(kind, news)| (kind, body(kind, event.at, news)));
        bodies.collect()
    }

    fn tell_disabled(&self, endpoint: &WebhookEndpoint, at: Timestamp) -> String {
        let disabled = endpoint.disabled.as_ref();
        let news = WebhookNews::EndpointDisabled {
            endpoint_id: endpoint.id.to_string(),
            url: endpoint.url.to_string(),
            organization_id: endpoint.organization_id.to_string(),
            reason: disabled
                .map(|disabled| disabled.reason.clone())
                .unwrap_or_default(),
            disabled_at: at.into(),
        };
        body(WebhookEvent::EndpointDisabled, at, news)
    }

    async fn send(&self, request: WebhookRequest) -> Outcome {
        let limit = self.limit;
        tokio::time::timeout(limit, self.ask(request))
            .await
            .unwrap_or_else(|_| Outcome::Failed {
                reason: format!("it did not answer within {} s", limit.as_secs()),
            })
    }
}

/// With the headers of Standard Webhooks, and with Svix's names for the same.
fn http_request(request: &WebhookRequest) -> Option<Request<Full<Bytes>>> {
    let uri: Uri = request.url.parse().ok()?;
    let mut builder = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("alcove/", env!("CARGO_PKG_VERSION")));
    let timestamp = request.timestamp.to_string();
    let mut signature = HeaderValue::from_str(&request.signature.0).ok()?;
    signature.set_sensitive(true);
    for prefix in ["webhook", "svix"] {
        builder = builder
            .header(format!("{prefix}-id"), request.id.as_str())
            .header(format!("{prefix}-timestamp"), timestamp.as_str())
            .header(format!("{prefix}-signature"), signature.clone());
    }
    builder
        .body(Full::new(Bytes::from(request.body.clone())))
        .ok()
}

fn body(event: WebhookEvent, at: Timestamp, news: WebhookNews) -> String {
    let payload = WebhookPayload {
        event: event.as_str().to_owned(),
        timestamp: at.into(),
        news,
    };
    serde_json::to_string(&payload).unwrap_or_default()
}

/// What endpoints are told of an event: nothing, or one thing, or that and what it means.
fn news(event: &Event) -> Vec<(WebhookEvent, WebhookNews)> {
    let at = event.at.into();
    let organization_id = event.organization.to_string();
    match &event.body {
        EventBody::SandboxCreated { sandbox } => vec![(
            WebhookEvent::SandboxCreated,
            WebhookNews::SandboxCreated {
                id: sandbox.id.to_string(),
                organization_id,
                state: sandbox.state().as_str().to_owned(),
                sandbox_class: sandbox.class.as_str().to_owned(),
                created_at: sandbox.created_at.into(),
            },
        )],
        EventBody::SandboxStateUpdated {
            sandbox,
            old_state,
            new_state,
        } => {
            let news = WebhookNews::SandboxState {
                id: sandbox.id.to_string(),
                organization_id,
                old_state: old_state.as_str().to_owned(),
                new_state: new_state.as_str().to_owned(),
                error_reason: sandbox.fault().map(|fault| fault.message.clone()),
                updated_at: at,
            };
            let meaning = match new_state {
                SandboxState::Destroyed => Some(WebhookEvent::SandboxDeleted),
                SandboxState::Error | SandboxState::BuildFailed => Some(WebhookEvent::SandboxError),
                _ => None,
            };
            std::iter::once(WebhookEvent::SandboxStateUpdated)
                .chain(meaning)
                .map(|kind| (kind, news.clone()))
                .collect()
        }
        EventBody::SnapshotCreated { snapshot } => vec![(
            WebhookEvent::SnapshotCreated,
            WebhookNews::SnapshotCreated {
                id: snapshot.id.to_string(),
                name: snapshot.name.clone(),
                organization_id,
                state: snapshot.state.as_str().to_owned(),
                created_at: snapshot.created_at.into(),
            },
        )],
        EventBody::SnapshotStateUpdated {
            snapshot,
            old_state,
            new_state,
        } => vec![(
            WebhookEvent::SnapshotStateUpdated,
            WebhookNews::SnapshotState {
                id: snapshot.id.to_string(),
                name: snapshot.name.clone(),
                organization_id,
                old_state: old_state.as_str().to_owned(),
                new_state: new_state.as_str().to_owned(),
                updated_at: at,
            },
        )],
        EventBody::SnapshotRemoved { snapshot } => vec![(
            WebhookEvent::SnapshotRemoved,
            WebhookNews::SnapshotRemoved {
                id: snapshot.id.to_string(),
                name: snapshot.name.clone(),
                organization_id,
                removed_at: at,
            },
        )],
        EventBody::VolumeCreated { volume } => vec![(
            WebhookEvent::VolumeCreated,
            WebhookNews::VolumeCreated {
                id: volume.id.to_string(),
                name: volume.name.clone(),
                organization_id,
                state: volume.state().as_str().to_owned(),
                created_at: volume.created_at.into(),
            },
        )],
        EventBody::VolumeStateUpdated {
            volume,
            old_state,
            new_state,
        } => vec![(
            WebhookEvent::VolumeStateUpdated,
            WebhookNews::VolumeState {
                id: volume.id.to_string(),
                name: volume.name.clone(),
                organization_id,
                old_state: old_state.as_str().to_owned(),
                new_state: new_state.as_str().to_owned(),
                updated_at: at,
            },
        )],
        EventBody::SandboxDesiredStateUpdated { .. }
        | EventBody::VolumeLastUsedAtUpdated { .. } => Vec::new(),
    }
}
