//! Sandboxes one at a time.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{CreateSandbox, Sandbox, ToolboxProxyUrl, UpdateLastActivity};
use alcove_domain::{NetworkSettings, NewSandbox};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf, QueryOf};
use crate::present;

/// Makes a sandbox and answers when it is started, or after a while as it then is.
#[utoipa::path(post, path = "/api/sandbox", tag = "sandbox", operation_id = "createSandbox",
    request_body = CreateSandbox,
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    BodyOf(body): BodyOf<CreateSandbox>,
) -> Result<Response, ApiError> {
    let sandbox = app
        .control()
        .create_sandbox(&caller, new_sandbox(body))
        .await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Everything that was asked for goes on: what cannot be had is refused there, not dropped here.
fn new_sandbox(body: CreateSandbox) -> NewSandbox {
    NewSandbox {
        name: body.name,
        snapshot: body.snapshot,
        image: body.image,
        user: body.user,
        env: body.env,
        labels: body.labels,
        is_public: body.public,
        target: body.target,
        class: None,
        size_class: None,
        auto_stop_interval: body.auto_stop_interval,
        auto_pause_interval: body.auto_pause_interval,
        auto_archive_interval: body.auto_archive_interval,
        auto_delete_interval: body.auto_delete_interval,
        ttl_minutes: body.ttl_minutes,
        queue_timeout: body.queue_timeout,
        cpu: body.cpu,
        memory: body.memory,
        disk: body.disk,
        gpu: body.gpu,
        gpu_types: body.gpu_type,
        spot: body.spot,
        kvm: body.kvm,
        network: NetworkSettings {
            block_all: body.network_block_all,
            allow_list: body.network_allow_list,
            domain_allow_list: body.domain_allow_list,
        },
        outbound_proxy_url: body.outbound_proxy_url,
        otel_endpoint_override: body.otel_endpoint_override,
        linked_sandbox: body.linked_sandbox,
        volumes: super::volume::mounts(body.volumes),
        secret_count: body.secrets.len(),
        has_build_info: body.build_info.is_some(),
    }
}

/// A sandbox by id or name.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}", tag = "sandbox",
    operation_id = "getSandbox", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().get_sandbox(&caller, &id).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Deletes a sandbox in any state. Its name is free at once.
#[utoipa::path(delete, path = "/api/sandbox/{sandboxIdOrName}", tag = "sandbox",
    operation_id = "deleteSandbox", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().delete_sandbox(&caller, &id).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Starts a stopped sandbox and answers when it is started.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/start", tag = "sandbox",
    operation_id = "startSandbox", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn start(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().start_sandbox(&caller, &id).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Stops a sandbox and answers when it is stopped. `force` does not wait for its programs.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/stop", tag = "sandbox",
    operation_id = "stopSandbox",
    params(("sandboxIdOrName" = String, Path), ("force" = Option<bool>, Query)),
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn stop(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let force = query.boolean("force").unwrap_or(false);
    let reasons = query.into_reasons();
    if !reasons.is_empty() {
        return Err(ApiError::invalid(&reasons));
    }
    let sandbox = app.control().stop_sandbox(&caller, &id, force).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Base of the sandbox's toolbox, for clients of 0.132 to 0.146.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/toolbox-proxy-url", tag = "sandbox",
    operation_id = "getToolboxProxyUrl", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = ToolboxProxyUrl), (status = 404, body = ErrorBody)))]
pub(crate) async fn toolbox_url(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<ToolboxProxyUrl>, ApiError> {
    app.control().get_sandbox(&caller, &id).await?;
    Ok(Json(ToolboxProxyUrl {
        url: app.toolbox_url().to_owned(),
    }))
}

/// Tells that the sandbox is in use.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/last-activity", tag = "sandbox",
    operation_id = "updateLastActivity", params(("sandboxIdOrName" = String, Path)),
    request_body(content = UpdateLastActivity, description = "May be left out"),
    responses((status = 201, description = "Noted"), (status = 404, body = ErrorBody)))]
pub(crate) async fn last_activity(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateLastActivity>,
) -> Result<StatusCode, ApiError> {
    app.control().update_last_activity(&caller, &id).await?;
    if let Some(activity) = body.activity_type {
        tracing::debug!(sandbox.id = id, activity, "told to be in use");
    }
    Ok(StatusCode::CREATED)
}
