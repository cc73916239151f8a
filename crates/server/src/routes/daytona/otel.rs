//! What an organization says of itself: where its telemetry is sent, and settings that this server knows nothing of.

use alcove_api_types::ErrorBody;
use alcove_api_types::body::WholeBody;
use alcove_api_types::daytona::{
    GpuCapacityResponse, OtelConfig, SandboxIdentity, UpdateOrganizationDefaultQueueTimeout,
};
use alcove_domain::{OrganizationId, OtelRequest, OtelTarget};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, CallerOrService, PathOf, Service};

/// Where the telemetry of the organization's sandboxes is sent, as its owner. What is in the headers is shown as `******`; a
/// service credential of the role `otel-collector` is told it, of any organization.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/otel-config", tag = "organizations",
    operation_id = "getOrganizationOtelConfig", params(("organizationId" = String, Path)),
    responses((status = 200, body = OtelConfig), (status = 403, body = ErrorBody),
        (status = 404, description = "It is sent nowhere", body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    who: CallerOrService,
    PathOf(id): PathOf<String>,
) -> Result<Json<OtelConfig>, ApiError> {
    let control = app.control();
    let (organization, target) = match who {
        CallerOrService::Caller(caller) => {
            let target = control.otel_target(&caller, &id)?;
            (caller.organization, target)
        }
        CallerOrService::Service(role) => control.otel_target_as_collector(role, &id)?,
    };
    Ok(Json(shown(&organization, target)))
}

/// Has the telemetry of the organization's sandboxes sent to an endpoint that speaks OTLP over HTTP, as its owner. A header whose
/// value is `******` stays as it was.
#[utoipa::path(put, path = "/api/organizations/{organizationId}/otel-config", tag = "organizations",
    operation_id = "updateOrganizationOtelConfig", params(("organizationId" = String, Path)),
    request_body = OtelConfig,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 422, description = "This server keeps no telemetry", body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<OtelConfig>,
) -> Result<StatusCode, ApiError> {
    if body.organization_id.is_some_and(|named| named != id) {
        return Err(ApiError::invalid(&[
            "organizationId must be that of the path".to_owned(),
        ]));
    }
    let request = OtelRequest {
        endpoint: body.endpoint,
        headers: body.headers.unwrap_or_default(),
    };
    app.control().put_otel_target(&caller, &id, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has it sent nowhere, as the owner of the organization.
#[utoipa::path(delete, path = "/api/organizations/{organizationId}/otel-config", tag = "organizations",
    operation_id = "deleteOrganizationOtelConfig", params(("organizationId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_otel_target(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the telemetry of a sandbox is sent, by its token, for a service credential of the role `otel-collector`.
#[utoipa::path(get, path = "/api/organizations/otel-config/by-sandbox-auth-token/{authToken}", tag = "organizations",
    operation_id = "getOrganizationOtelConfigBySandboxAuthToken", params(("authToken" = String, Path)),
    responses((status = 200, body = OtelConfig), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn of_token(
    State(app): State<App>,
    Service(role): Service,
    PathOf(token): PathOf<String>,
) -> Result<Json<OtelConfig>, ApiError> {
    let (organization, target) = app.control().otel_target_of_token(role, &token)?;
    Ok(Json(shown(&organization, target)))
}

/// Which sandbox a token is of, for a service credential of the role `otel-collector`.
#[utoipa::path(get, path = "/api/organizations/sandbox-identity/by-sandbox-auth-token/{authToken}",
    tag = "organizations", operation_id = "getSandboxIdentityBySandboxAuthToken",
    params(("authToken" = String, Path)),
    responses((status = 200, body = SandboxIdentity), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn identity(
    State(app): State<App>,
    Service(role): Service,
    PathOf(token): PathOf<String>,
) -> Result<Json<SandboxIdentity>, ApiError> {
    let (sandbox, organization) = app.control().sandbox_of_token(role, &token)?;
    Ok(Json(SandboxIdentity {
        sandbox_id: sandbox.to_string(),
        organization_id: organization.to_string(),
    }))
}

/// Keeps free settings of the organization, as its owner, in place of those before. This server heeds none of them.
#[utoipa::path(put, path = "/api/organizations/{organizationId}/experimental-config", tag = "organizations",
    operation_id = "updateExperimentalConfig", params(("organizationId" = String, Path)),
    request_body = Option<Object>,
    responses((status = 200), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn experimental(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(WholeBody(body)): BodyOf<WholeBody<Map<String, Value>>>,
) -> Result<StatusCode, ApiError> {
    let written = app.control().put_experimental_config(&caller, &id, body);
    written.await?;
    Ok(StatusCode::OK)
}

/// Which processors for graphics are free: this server has none.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/gpu-capacity", tag = "organizations",
    operation_id = "getGpuCapacity", params(("organizationId" = String, Path)),
    responses((status = 200, body = GpuCapacityResponse), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn gpu_capacity(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<GpuCapacityResponse>, ApiError> {
    let observed_at = app.control().gpu_capacity(&caller, &id)?;
    Ok(Json(GpuCapacityResponse {
        observed_at: observed_at.into(),
        capacity: Vec::new(),
    }))
}

/// How long creates wait for a runner, as the owner of the organization. Creates do not wait here: only null is taken.
#[utoipa::path(patch, path = "/api/organizations/{organizationId}/default-queue-timeout", tag = "organizations",
    operation_id = "updateOrganizationDefaultQueueTimeout", params(("organizationId" = String, Path)),
    request_body = UpdateOrganizationDefaultQueueTimeout,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 422, description = "Any time", body = ErrorBody)))]
pub(crate) async fn queue_timeout(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateOrganizationDefaultQueueTimeout>,
) -> Result<StatusCode, ApiError> {
    let minutes = body.default_queue_timeout;
    app.control()
        .set_default_queue_timeout(&caller, &id, minutes)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn shown(organization: &OrganizationId, target: OtelTarget) -> OtelConfig {
    OtelConfig {
        endpoint: target.endpoint,
        headers: (!target.headers.is_empty()).then_some(target.headers),
        organization_id: Some(organization.to_string()),
    }
}
