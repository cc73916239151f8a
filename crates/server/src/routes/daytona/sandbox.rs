//! Sandboxes one at a time.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    CreateBuildInfo, CreateSandbox, Sandbox, ToolboxProxyUrl, UpdateLastActivity, Url,
};
use alcove_control::BuildLog;
use alcove_domain::{BuildInfo, NetworkSettings, NewSandbox};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, CallerOrService, ClientEra, PathOf, QueryOf};
use crate::present;
use crate::query::Query;

/// Makes a sandbox and answers when it is started, or after a while as it then is. One whose image must be built first is
/// answered at once, as `pending_build`.
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
        stop_at: None,
        is_unfinished: false,
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
        build_info: body.build_info.map(build_info),
    }
}

pub(super) fn build_info(body: CreateBuildInfo) -> BuildInfo {
    BuildInfo {
        dockerfile: body.dockerfile_content,
        context_hashes: body.context_hashes,
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
    let after_delete = era.asks_after_a_delete();
    let found = app
        .control()
        .get_sandbox_and_build(&caller, &id, after_delete);
    let (sandbox, build) = found.await?;
    Ok(match build {
        Some(build) => {
            let shown = present::built_sandbox(&app, &sandbox, build);
            present::shown_sandbox_answer(era, shown)
        }
        None => present::sandbox_answer(&app, era, &sandbox),
    })
}

/// What the build of a sandbox's image said, as text. With `follow` the answer grows until the build is over.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/build-logs", tag = "sandbox",
    operation_id = "getBuildLogs",
    params(("sandboxIdOrName" = String, Path), ("follow" = Option<bool>, Query)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, body = ErrorBody)))]
pub(crate) async fn build_logs(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf,
) -> Result<Response, ApiError> {
    let follows = follows(query)?;
    let log = app
        .control()
        .sandbox_build_log(&caller, &id, follows)
        .await?;
    Ok(log_answer(log))
}

/// Whether a log is followed.
pub(super) fn follows(mut query: Query) -> Result<bool, ApiError> {
    let follows = query.boolean("follow").unwrap_or(false);
    query.finish()?;
    Ok(follows)
}

/// The log of a build as an answer that grows with it.
pub(super) fn log_answer(log: BuildLog) -> Response {
    let body = Body::from_stream(log.map(Ok::<_, std::convert::Infallible>));
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

/// Where the log of the build of a sandbox's image is read. Clients append `?follow=true`.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/build-logs-url", tag = "sandbox",
    operation_id = "getBuildLogsUrl", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Url), (status = 404, body = ErrorBody)))]
pub(crate) async fn build_logs_url(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Url>, ApiError> {
    let (sandbox, _) = app.control().get_built_sandbox(&caller, &id).await?;
    Ok(Json(Url {
        url: format!("{}/api/sandbox/{}/build-logs", app.public_url(), sandbox.id),
    }))
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
    query.finish()?;
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

/// Tells that the sandbox is in use. By its id, service credentials of the roles `proxy` and `ssh-gateway` may tell it too.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/last-activity", tag = "sandbox",
    operation_id = "updateLastActivity", params(("sandboxIdOrName" = String, Path)),
    request_body(content = UpdateLastActivity, description = "May be left out"),
    responses((status = 201, description = "Noted"), (status = 404, body = ErrorBody)))]
pub(crate) async fn last_activity(
    State(app): State<App>,
    who: CallerOrService,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateLastActivity>,
) -> Result<StatusCode, ApiError> {
    let control = app.control();
    match who {
        CallerOrService::Caller(caller) => control.update_last_activity(&caller, &id).await?,
        CallerOrService::Service(role) => {
            let updated = control.update_last_activity_as_service(role, &id);
            updated.await?;
        }
    }
    if let Some(activity) = body.activity_type {
        tracing::debug!(sandbox.id = id, activity, "told to be in use");
    }
    Ok(StatusCode::CREATED)
}
