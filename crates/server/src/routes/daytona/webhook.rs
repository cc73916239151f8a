//! Webhooks: endpoints of organizations, what they are told, and what came of it.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    CreateWebhookEndpoint, ReplayWebhooks, ReplayedWebhooks, SendWebhook, UpdateWebhookEndpoint,
    WebhookAppPortalAccess, WebhookAttempt, WebhookEnabled, WebhookEndpoint, WebhookEndpointSecret,
    WebhookInitializationStatus, WebhookMessage,
};
use alcove_control::{Replay, WebhookStatus};
use alcove_domain::{EndpointRequest, webhook as domain};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, Manages, PathOf};
use crate::page;

/// The address of a page on which an organization's webhooks are managed for an hour, as its owner.
#[utoipa::path(post, path = "/api/webhooks/organizations/{organizationId}/app-portal-access", tag = "webhooks",
    operation_id = "WebhookController_getAppPortalAccess", params(("organizationId" = String, Path)),
    responses((status = 200, body = WebhookAppPortalAccess), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn portal_access(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<WebhookAppPortalAccess>, ApiError> {
    let manager = app.control().webhook_manager(&caller, &id)?;
    let token = app.control().webhook_token(&manager).0;
    let base = app.public_url();
    let url = format!("{base}/api/webhooks/portal#organization={id}&token={token}");
    Ok(Json(WebhookAppPortalAccess { token, url }))
}

/// How the caller's organization stands with webhooks.
#[utoipa::path(get, path = "/api/webhooks/organizations/{organizationId}/initialization-status", tag = "webhooks",
    operation_id = "WebhookController_getInitializationStatus", params(("organizationId" = String, Path)),
    responses((status = 200, body = WebhookInitializationStatus),
        (status = 404, description = "The organization uses no webhooks", body = ErrorBody)))]
pub(crate) async fn status(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<WebhookInitializationStatus>, ApiError> {
    let status = app.control().webhook_status(&caller, &id).await?;
    Ok(Json(shown_status(status)))
}

/// Says that an organization uses webhooks, as its owner. Adding an endpoint says it too.
#[utoipa::path(post, path = "/api/webhooks/organizations/{organizationId}/initialize", tag = "webhooks",
    operation_id = "WebhookController_initializeWebhooks", params(("organizationId" = String, Path)),
    responses((status = 201, body = WebhookInitializationStatus), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 503, description = "The server sends no webhooks", body = ErrorBody)))]
pub(crate) async fn initialize(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<(StatusCode, Json<WebhookInitializationStatus>), ApiError> {
    let manager = app.control().webhook_manager(&caller, &id)?;
    let status = app.control().initialize_webhooks(&manager).await?;
    Ok((StatusCode::CREATED, Json(shown_status(status))))
}

/// Tries at once what waits for the organization's endpoints.
#[utoipa::path(post, path = "/api/webhooks/organizations/{organizationId}/refresh-endpoints", tag = "webhooks",
    operation_id = "WebhookController_refreshEndpoints", params(("organizationId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn refresh(
    State(app): State<App>,
    Manages(manager): Manages,
) -> Result<StatusCode, ApiError> {
    app.control().refresh_webhooks(&manager).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An organization's endpoints.
#[utoipa::path(get, path = "/api/webhooks/organizations/{organizationId}/endpoints", tag = "webhooks",
    operation_id = "listWebhookEndpoints", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<WebhookEndpoint>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Manages(manager): Manages,
) -> Result<Json<Vec<WebhookEndpoint>>, ApiError> {
    let endpoints = app.control().list_endpoints(&manager).await?;
    Ok(Json(endpoints.into_iter().map(shown).collect()))
}

/// Adds an endpoint, which is told of what happens from now on.
#[utoipa::path(post, path = "/api/webhooks/organizations/{organizationId}/endpoints", tag = "webhooks",
    operation_id = "createWebhookEndpoint", params(("organizationId" = String, Path)),
    request_body = CreateWebhookEndpoint,
    responses((status = 201, body = WebhookEndpoint), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, description = "The server sends no webhooks", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Manages(manager): Manages,
    BodyOf(body): BodyOf<CreateWebhookEndpoint>,
) -> Result<(StatusCode, Json<WebhookEndpoint>), ApiError> {
    let request = EndpointRequest {
        url: Some(body.url),
        description: body.description,
        events: body.event_types,
        is_disabled: body.disabled,
    };
    let made = app.control().create_endpoint(&manager, request).await?;
    let mut endpoint = shown(made.endpoint);
    endpoint.secret = Some(made.secret.0);
    Ok((StatusCode::CREATED, Json(endpoint)))
}

/// An endpoint.
#[utoipa::path(get, path = "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}", tag = "webhooks",
    operation_id = "getWebhookEndpoint", params(("organizationId" = String, Path), ("endpointId" = String, Path)),
    responses((status = 200, body = WebhookEndpoint), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, endpoint)): PathOf<(String, String)>,
) -> Result<Json<WebhookEndpoint>, ApiError> {
    let endpoint = app.control().get_endpoint(&manager, &endpoint).await?;
    Ok(Json(shown(endpoint)))
}

/// Changes an endpoint. One that is disabled loses what waits for it; a replay brings it back.
#[utoipa::path(patch, path = "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}", tag = "webhooks",
    operation_id = "updateWebhookEndpoint", params(("organizationId" = String, Path), ("endpointId" = String, Path)),
    request_body = UpdateWebhookEndpoint,
    responses((status = 200, body = WebhookEndpoint), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, endpoint)): PathOf<(String, String)>,
    BodyOf(body): BodyOf<UpdateWebhookEndpoint>,
) -> Result<Json<WebhookEndpoint>, ApiError> {
    let request = EndpointRequest {
        url: body.url,
        description: body.description,
        events: body.event_types,
        is_disabled: body.disabled,
    };
    let changed = app
        .control()
        .update_endpoint(&manager, &endpoint, request)
        .await?;
    Ok(Json(shown(changed)))
}

/// Removes an endpoint with what waits for it.
#[utoipa::path(delete, path = "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}", tag = "webhooks",
    operation_id = "deleteWebhookEndpoint", params(("organizationId" = String, Path), ("endpointId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, endpoint)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_endpoint(&manager, &endpoint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an endpoint's messages are signed with.
#[utoipa::path(get, path = "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}/secret",
    tag = "webhooks", operation_id = "getWebhookEndpointSecret",
    params(("organizationId" = String, Path), ("endpointId" = String, Path)),
    responses((status = 200, body = WebhookEndpointSecret), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn secret(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, endpoint)): PathOf<(String, String)>,
) -> Result<Json<WebhookEndpointSecret>, ApiError> {
    let secret = app.control().endpoint_secret(&manager, &endpoint).await?.0;
    Ok(Json(WebhookEndpointSecret { secret }))
}

/// Makes a new secret. For a day, messages carry a signature by the last one too.
#[utoipa::path(post, path = "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}/secret/rotate",
    tag = "webhooks", operation_id = "rotateWebhookEndpointSecret",
    params(("organizationId" = String, Path), ("endpointId" = String, Path)),
    responses((status = 200, body = WebhookEndpointSecret), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, endpoint)): PathOf<(String, String)>,
) -> Result<Json<WebhookEndpointSecret>, ApiError> {
    let secret = app
        .control()
        .rotate_endpoint_secret(&manager, &endpoint)
        .await?
        .0;
    Ok(Json(WebhookEndpointSecret { secret }))
}

/// Sends an endpoint what it has missed, in order, before what is newer.
#[utoipa::path(post, path = "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}/replay",
    tag = "webhooks", operation_id = "replayWebhooks",
    params(("organizationId" = String, Path), ("endpointId" = String, Path)), request_body = ReplayWebhooks,
    responses((status = 200, body = ReplayedWebhooks), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "The endpoint is disabled", body = ErrorBody)))]
pub(crate) async fn replay(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, endpoint)): PathOf<(String, String)>,
    BodyOf(body): BodyOf<ReplayWebhooks>,
) -> Result<Json<ReplayedWebhooks>, ApiError> {
    let replay = match (body.since, body.message_id) {
        (Some(since), None) => Replay::Since(since.0),
        (None, Some(message)) => Replay::Message(message),
        _ => {
            let reason = "one of since and messageId must be there, and not both";
            return Err(ApiError::invalid(&[reason.to_owned()]));
        }
    };
    let messages = app.control().replay(&manager, &endpoint, replay).await?;
    Ok(Json(ReplayedWebhooks { messages }))
}

/// The newest tries at an endpoint, at most 250, the newest first.
#[utoipa::path(get, path = "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}/attempts",
    tag = "webhooks", operation_id = "listWebhookEndpointAttempts",
    params(("organizationId" = String, Path), ("endpointId" = String, Path)),
    responses((status = 200, body = Vec<WebhookAttempt>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn endpoint_attempts(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, endpoint)): PathOf<(String, String)>,
) -> Result<Json<Vec<WebhookAttempt>>, ApiError> {
    let found = app
        .control()
        .list_endpoint_attempts(&manager, &endpoint)
        .await?;
    Ok(Json(found.into_iter().map(shown_attempt).collect()))
}

/// The newest messages of an organization, at most 250, the newest first. They are kept for a week.
#[utoipa::path(get, path = "/api/webhooks/organizations/{organizationId}/messages", tag = "webhooks",
    operation_id = "listWebhookMessages", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<WebhookMessage>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn messages(
    State(app): State<App>,
    Manages(manager): Manages,
) -> Result<Json<Vec<WebhookMessage>>, ApiError> {
    let found = app.control().list_webhook_messages(&manager).await?;
    Ok(Json(found.iter().map(shown_message).collect()))
}

/// The newest tries of a message at all endpoints, at most 250, the newest first.
#[utoipa::path(get, path = "/api/webhooks/organizations/{organizationId}/messages/{messageId}/attempts",
    tag = "webhooks", operation_id = "WebhookController_getMessageAttempts",
    params(("organizationId" = String, Path), ("messageId" = String, Path)),
    responses((status = 200, body = Vec<WebhookAttempt>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn attempts(
    State(app): State<App>,
    Manages(manager): Manages,
    PathOf((_, message)): PathOf<(String, String)>,
) -> Result<Json<Vec<WebhookAttempt>>, ApiError> {
    let found = app
        .control()
        .list_message_attempts(&manager, &message)
        .await?;
    Ok(Json(found.into_iter().map(shown_attempt).collect()))
}

/// Whether this server sends webhooks, as its administrator.
#[utoipa::path(get, path = "/api/admin/webhooks/status", tag = "admin", operation_id = "adminGetWebhookStatus",
    responses((status = 200, body = WebhookEnabled), (status = 403, body = ErrorBody)))]
pub(crate) async fn enabled(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<WebhookEnabled>, ApiError> {
    let enabled = app.control().webhooks_enabled(&caller).await?;
    Ok(Json(WebhookEnabled { enabled }))
}

/// Sends a message to the endpoints of an organization, as the administrator of the server.
#[utoipa::path(post, path = "/api/admin/webhooks/organizations/{organizationId}/send", tag = "admin",
    operation_id = "adminSendWebhook", params(("organizationId" = String, Path)), request_body = SendWebhook,
    responses((status = 200), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn send(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<SendWebhook>,
) -> Result<StatusCode, ApiError> {
    let control = app.control();
    let manager = control.webhook_manager_as_admin(&caller, &id).await?;
    let payload = serde_json::Value::Object(body.payload).to_string();
    control
        .send_webhook(&manager, &body.event_type, payload, body.event_id)
        .await?;
    Ok(StatusCode::OK)
}

/// The tries of a message of any organization, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/webhooks/organizations/{organizationId}/messages/{messageId}/attempts",
    tag = "admin", operation_id = "adminGetMessageAttempts",
    params(("organizationId" = String, Path), ("messageId" = String, Path)),
    responses((status = 200, body = Vec<WebhookAttempt>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn attempts_of_any(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, message)): PathOf<(String, String)>,
) -> Result<Json<Vec<WebhookAttempt>>, ApiError> {
    let control = app.control();
    let manager = control.webhook_manager_as_admin(&caller, &id).await?;
    let found = control.list_message_attempts(&manager, &message).await?;
    Ok(Json(found.into_iter().map(shown_attempt).collect()))
}

/// Says that any organization uses webhooks, as the administrator of the server.
#[utoipa::path(post, path = "/api/admin/webhooks/organizations/{organizationId}/initialize", tag = "admin",
    operation_id = "adminInitializeWebhooks", params(("organizationId" = String, Path)),
    responses((status = 201), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, description = "The server sends no webhooks", body = ErrorBody)))]
pub(crate) async fn initialize_any(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    let control = app.control();
    let manager = control.webhook_manager_as_admin(&caller, &id).await?;
    control.initialize_webhooks(&manager).await?;
    Ok(StatusCode::CREATED)
}

/// The same as the administrator's, where clients before 0.164 look for it.
#[utoipa::path(get, path = "/api/webhooks/status", tag = "webhooks", operation_id = "WebhookController_getStatus",
    responses((status = 200, body = WebhookEnabled), (status = 403, body = ErrorBody)))]
pub(crate) async fn enabled_older(
    app: State<App>,
    caller: Authenticated,
) -> Result<Json<WebhookEnabled>, ApiError> {
    enabled(app, caller).await
}

/// The same as the administrator's, where clients before 0.164 look for it.
#[utoipa::path(post, path = "/api/webhooks/organizations/{organizationId}/send", tag = "webhooks",
    operation_id = "WebhookController_sendWebhook", params(("organizationId" = String, Path)),
    request_body = SendWebhook,
    responses((status = 200), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn send_older(
    app: State<App>,
    caller: Authenticated,
    id: PathOf<String>,
    body: BodyOf<SendWebhook>,
) -> Result<StatusCode, ApiError> {
    send(app, caller, id, body).await
}

/// The page on which webhooks are managed.
#[utoipa::path(get, path = "/api/webhooks/portal", tag = "webhooks", operation_id = "getWebhookPortal",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)), security(()))]
pub(crate) async fn portal() -> Response {
    page::file(page::HTML, include_str!("../../../pages/webhooks.html"))
}

/// What the page does.
#[utoipa::path(get, path = "/api/webhooks/portal.js", tag = "webhooks", operation_id = "getWebhookPortalScript",
    responses((status = 200, description = "The script", content_type = "text/javascript", body = String)),
    security(()))]
pub(crate) async fn portal_script() -> Response {
    page::file(page::SCRIPT, include_str!("../../../pages/webhooks.js"))
}

/// How the page looks.
#[utoipa::path(get, path = "/api/webhooks/portal.css", tag = "webhooks", operation_id = "getWebhookPortalStyle",
    responses((status = 200, description = "The stylesheet", content_type = "text/css", body = String)),
    security(()))]
pub(crate) async fn portal_style() -> Response {
    page::file(page::STYLE, page::SHEET)
}

fn shown_status(status: WebhookStatus) -> WebhookInitializationStatus {
    let organization_id = status.organization.to_string();
    WebhookInitializationStatus {
        svix_application_id: Some(organization_id.clone()),
        organization_id,
        last_error: status.last_error,
        retry_count: 0,
        created_at: status.created_at.into(),
        updated_at: status.updated_at.into(),
    }
}

fn shown(endpoint: domain::WebhookEndpoint) -> WebhookEndpoint {
    let (disabled_at, reason) = endpoint
        .disabled
        .map(|disabled| (disabled.at.into(), disabled.reason))
        .unzip();
    WebhookEndpoint {
        id: endpoint.id.to_string(),
        url: endpoint.url.to_string(),
        description: endpoint.description,
        event_types: endpoint
            .events
            .iter()
            .map(|event| event.as_str().to_owned())
            .collect(),
        disabled: disabled_at.is_some(),
        disabled_at,
        disabled_reason: reason.filter(|reason| !reason.is_empty()),
        created_at: endpoint.created_at.into(),
        updated_at: endpoint.updated_at.into(),
        secret: None,
    }
}

fn shown_message(message: &domain::WebhookMessage) -> WebhookMessage {
    WebhookMessage {
        id: message.id.to_string(),
        event_type: message.event.as_str().to_owned(),
        payload: serde_json::from_str(&message.payload).unwrap_or_default(),
        created_at: message.created_at.into(),
    }
}

fn shown_attempt(attempt: domain::WebhookAttempt) -> WebhookAttempt {
    let is_delivered = attempt.outcome.is_delivered();
    let response_status_code = attempt.outcome.status();
    let error = match attempt.outcome {
        domain::Outcome::Failed { reason } => Some(reason),
        domain::Outcome::Answered { .. } => None,
    };
    WebhookAttempt {
        message_id: attempt.message_id.to_string(),
        endpoint_id: attempt.endpoint_id.to_string(),
        attempt: attempt.number,
        timestamp: attempt.at.into(),
        status: if is_delivered { "success" } else { "failed" }.to_owned(),
        response_status_code,
        response_duration_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        error,
    }
}
