//! What everyone may ask.

use std::collections::BTreeMap;

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    Configuration, Health, Oidc, RateLimitEntry, RateLimits, Readiness, ServerNumbers,
};
use alcove_control::Statistics;
use alcove_domain::rate_limit::Limiter;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, Service};
use crate::{metrics, openapi, page};

/// Longest `autoArchiveInterval`, in minutes.
const AUTO_ARCHIVE_MAX_MINUTES: u32 = alcove_domain::interval::AUTO_ARCHIVE_MAX_MINUTES;

/// What the server tells about itself.
#[utoipa::path(get, path = "/api/config", tag = "config", operation_id = "ConfigController_getConfig",
    responses((status = 200, body = Configuration)), security(()))]
pub(crate) async fn config(State(app): State<App>) -> Json<Configuration> {
    let base = app.public_url();
    let (ssh_command, ssh) = app.ssh_gateway().unzip();
    let ssh_address = ssh.and_then(|ssh| ssh.address.clone());
    Json(Configuration {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        oidc: oidc(&app),
        linked_accounts_enabled: app.control().settings().identity_provider.is_some(),
        announcements: BTreeMap::new(),
        proxy_template_url: app.preview_url("{{PORT}}", "{{sandboxId}}"),
        proxy_toolbox_url: app.toolbox_url().to_owned(),
        default_snapshot: app.control().settings().default_snapshot.clone(),
        dashboard_url: format!("{base}/dashboard"),
        max_auto_archive_interval: AUTO_ARCHIVE_MAX_MINUTES,
        maintenance_mode: false,
        environment: "self-hosted".to_owned(),
        ssh_gateway_command: ssh_command.map(str::to_owned),
        ssh_gateway_public_key: ssh.map(|ssh| STANDARD.encode(&ssh.host_key)),
        ssh_gateway_port: ssh_address.as_ref().map(|(_, port)| *port),
        ssh_gateway_host: ssh_address.map(|(host, _)| host),
        ssh_gateway_host_keys: ssh.map(|ssh| vec![ssh.host_key.clone()]),
        ssh_gateway_host_key_fingerprints: ssh.map(|ssh| vec![ssh.fingerprint.clone()]),
        rate_limit: rate_limits(&app.control().settings().rate_limits),
    })
}

fn rate_limits(limits: &alcove_control::RateLimits) -> Option<RateLimits> {
    let entry = |limiter| {
        let limit = limits.get(&limiter)?;
        Some(RateLimitEntry {
            ttl: limit.seconds(),
            limit: limit.count(),
        })
    };
    (!limits.is_empty()).then(|| RateLimits {
        failed_auth: entry(Limiter::FailedAuth),
        authenticated: entry(Limiter::Authenticated),
        sandbox_create: entry(Limiter::SandboxCreate),
        sandbox_lifecycle: entry(Limiter::SandboxLifecycle),
    })
}

fn oidc(app: &App) -> Oidc {
    match &app.control().settings().identity_provider {
        None => Oidc::default(),
        Some(provider) => Oidc {
            issuer: provider.issuer.clone(),
            client_id: provider.client_id.clone(),
            audience: provider.audience.clone(),
            provider: String::new(),
        },
    }
}

/// Whether the server answers at all.
#[utoipa::path(get, path = "/api/health", tag = "Health", operation_id = "HealthController_live",
    responses((status = 200, body = Health)), security(()))]
pub(crate) async fn health() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Whether all parts work. Public, since probes carry no keys, and it tells no more than up or down. With a service credential
/// of the role `health-check`, it has numbers about the whole server too (`server`).
#[utoipa::path(get, path = "/api/health/ready", tag = "Health",
    operation_id = "HealthController_check",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)), security(()))]
pub(crate) async fn ready(State(app): State<App>, service: Option<Service>) -> Response {
    let statistics = match service {
        Some(Service(role)) => app.control().statistics_as_probe(role).await.ok(),
        None => None,
    };
    let found = match &statistics {
        Some(statistics) => statistics.readiness,
        None => app.control().readiness().await,
    };
    let parts = [("database", found.store), ("runner", found.runner)];
    let readiness = Readiness {
        server: statistics.map(numbers),
        ..Readiness::of(parts)
    };
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness)).into_response()
}

fn numbers(statistics: Statistics) -> ServerNumbers {
    let sandboxes = statistics.sandboxes.into_iter();
    ServerNumbers {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sandboxes: sandboxes
            .map(|(state, count)| (state.to_owned(), count))
            .collect(),
        webhook_queues: statistics.webhook_queues as u64,
    }
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "config", operation_id = "getOpenApiDocument",
    responses((status = 200, description = "The OpenAPI document", body = Object)), security(()))]
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], openapi::text())
}

/// A page that shows this document and tries its operations.
#[utoipa::path(get, path = "/api/docs", tag = "config", operation_id = "getReference",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)), security(()))]
pub(crate) async fn reference() -> Response {
    page::file(page::HTML, include_str!("../../../pages/reference.html"))
}

/// What the page does.
#[utoipa::path(get, path = "/api/docs.js", tag = "config", operation_id = "getReferenceScript",
    responses((status = 200, description = "The script", content_type = "text/javascript", body = String)),
    security(()))]
pub(crate) async fn reference_script() -> Response {
    page::file(page::SCRIPT, include_str!("../../../pages/reference.js"))
}

/// How the page looks.
#[utoipa::path(get, path = "/api/docs.css", tag = "config", operation_id = "getReferenceStyle",
    responses((status = 200, description = "The stylesheet", content_type = "text/css", body = String)),
    security(()))]
pub(crate) async fn reference_style() -> Response {
    page::file(page::STYLE, page::SHEET)
}

/// Numbers about the whole server in the text form of Prometheus, as its administrator. A listener of its own
/// (`--metrics-listen`) answers with the same at `/metrics`, without a key.
#[utoipa::path(get, path = "/api/metrics", tag = "Health", operation_id = "getMetrics",
    responses((status = 200, description = "The numbers", content_type = "text/plain", body = String),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn metrics(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Response, ApiError> {
    let statistics = app.control().statistics_as_admin(&caller).await?;
    Ok(metrics::answer(&app, &statistics))
}
