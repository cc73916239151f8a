//! Webhooks on their way outside: what endpoints are told, and the requests to them.
//!
//! An endpoint is anybody's choice, and so is all that answers there. Only public addresses are connected to, unless the operator
//! has named the host; the names of hosts are looked up for each request, and what was looked at is what is connected to. An
//! answer that sends elsewhere is not followed, and of its body little is read and nothing kept.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alcove_api_types::daytona::{WebhookNews, WebhookPayload};
use alcove_control::{Event, EventBody, WebhookRequest, WebhookSender};
use alcove_domain::network::is_public;
use alcove_domain::webhook::Outcome;
use alcove_domain::{SandboxState, WebhookEndpoint, WebhookEvent};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tower::util::BoxCloneSyncService;

/// A host that is there takes a connection within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A whole try, the look-up of the name and the answer's body included. Receivers are to answer first and work then.
const SEND_LIMIT: Duration = Duration::from_secs(15);
/// What is read of an answer's body, for its sender's sake. Nothing is done with it.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// How long that is waited for.
const BODY_LIMIT: Duration = Duration::from_secs(2);
/// The text by which a refusal is known again on its way through the client.
const NOT_PUBLIC: &str = "the host is not at a public address";

type Resolver = BoxCloneSyncService<Name, std::vec::IntoIter<SocketAddr>, io::Error>;

/// Sends webhooks by HTTP.
#[derive(Clone)]
pub struct Webhooks {
    /// In small letters.
    hosts: Arc<[String]>,
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    limit: Duration,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Webhooks {
    /// `hosts` are those that the operator has named: they may be at private addresses, and be asked without TLS.
    ///
    /// # Errors
    /// If the host's certificates cannot be read.
    pub fn new(hosts: &[String]) -> io::Result<Self> {
        let hosts: Arc<[String]> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let mut tcp = HttpConnector::new_with_resolver(resolver(Arc::clone(&hosts)));
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // A connection that is kept would not be looked at again.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(https);
        Ok(Self {
            hosts,
            client,
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
        // An address is not looked up, so the resolver does not see it.
        let host = request.uri().host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_closed = host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip));
        if is_closed && !self.is_known(host) {
            return failed(NOT_PUBLIC);
        }
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => return failed(reason(&error)),
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
        self.hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(host))
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

/// Looks names up, and leaves out what is not public.
fn resolver(hosts: Arc<[String]>) -> Resolver {
    let service = tower::service_fn(move |name: Name| {
        let hosts = Arc::clone(&hosts);
        async move {
            let is_known = hosts
                .iter()
                .any(|host| host.eq_ignore_ascii_case(name.as_str()));
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| is_known || is_public(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NOT_PUBLIC));
            }
            Ok(allowed.into_iter())
        }
    });
    BoxCloneSyncService::new(service)
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

/// Why there was no answer, for the owners of the endpoint. What the system calls it is not told.
fn reason(error: &hyper_util::client::legacy::Error) -> &'static str {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string().contains(NOT_PUBLIC) {
            return NOT_PUBLIC;
        }
        source = cause.source();
    }
    if error.is_connect() {
        "it cannot be connected to"
    } else {
        "the connection broke before it answered"
    }
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
