//! Sandboxes under the name that clients up to 0.20 have for them.
//!
//! Each operation is the sandbox's of the same name. What differs is told in [`Workspace`]: the id is the name.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::era::Era;
use alcove_api_types::daytona::{CreateWorkspace, SandboxLabels, Workspace};
use alcove_domain::{NewSandbox, Sandbox};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::sandbox::{build_info, follows, log_answer};
use super::sandbox_list;
use super::settings::{is_public, minutes};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};
use crate::present;

/// Sizes from here on are in MiB, below in GiB: no machine of that age had so little of the one or so much of the
/// other.
const MIB_FROM: i64 = 512;

fn answer(app: &App, sandbox: &Sandbox) -> Response {
    let workspace = Workspace::new(present::sandbox(app, sandbox), app.preview_host());
    present::wrapped_sandbox_answer(Era::WORKSPACES, &workspace)
}

/// All workspaces as full objects.
#[utoipa::path(get, path = "/api/workspace", tag = "workspace",
    operation_id = "listWorkspaces_deprecated",
    params(("verbose" = Option<bool>, Query, description = "Nothing is left out either way"),
        ("labels" = Option<String>, Query, description = "JSON object; all must match")),
    responses((status = 200, body = Vec<Workspace>), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    query.boolean("verbose");
    let workspaces: Vec<Workspace> = sandbox_list::all(&app, &caller, query)
        .await?
        .into_iter()
        .map(|sandbox| Workspace::new(sandbox, app.preview_host()))
        .collect();
    Ok(present::sandboxes_answer(Era::WORKSPACES, &workspaces))
}

/// Makes a workspace and answers when it is started: clients of that age hardly wait themselves.
#[utoipa::path(post, path = "/api/workspace", tag = "workspace",
    operation_id = "createWorkspace_deprecated", request_body = CreateWorkspace,
    responses((status = 200, body = Workspace), (status = 400, body = ErrorBody),
        (status = 409, description = "The id is taken", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateWorkspace>,
) -> Result<Response, ApiError> {
    let request = new_sandbox(body)?;
    let sandbox = app.control().create_sandbox(&caller, request).await?;
    Ok(answer(&app, &sandbox))
}

fn new_sandbox(body: CreateWorkspace) -> Result<NewSandbox, ApiError> {
    let name = match (body.id, body.name) {
        (Some(id), Some(name)) if !name.is_empty() && id != name => {
            return Err(ApiError::invalid(&[
                "id and name must be the same where both are given".to_owned(),
            ]));
        }
        (Some(id), _) => Some(id),
        (None, name) => name,
    };
    Ok(NewSandbox {
        name,
        image: body.image,
        user: body.user,
        env: body.env,
        labels: body.labels,
        is_public: body.public,
        size_class: body.class,
        cpu: body.cpu,
        gpu: body.gpu,
        memory: body.memory.map(gib),
        disk: body.disk.map(gib),
        auto_stop_interval: body.auto_stop_interval,
        auto_archive_interval: body.auto_archive_interval,
        volumes: super::volume::mounts(body.volumes),
        build_info: body.build_info.map(build_info),
        ..NewSandbox::default()
    })
}

fn gib(size: i64) -> i64 {
    if size < MIB_FROM {
        size
    } else {
        // Rounded up, so that nobody gets less than asked for.
        size / 1024 + i64::from(size % 1024 > 0)
    }
}

/// A workspace by its id.
#[utoipa::path(get, path = "/api/workspace/{workspaceId}", tag = "workspace",
    operation_id = "getWorkspace_deprecated",
    params(("workspaceId" = String, Path),
        ("verbose" = Option<bool>, Query, description = "Nothing is left out either way")),
    responses((status = 200, body = Workspace), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    query.boolean("verbose");
    query.finish()?;
    let sandbox = app.control().get_sandbox(&caller, &id).await?;
    Ok(answer(&app, &sandbox))
}

/// Deletes a workspace in any state, forced or not.
#[utoipa::path(delete, path = "/api/workspace/{workspaceId}", tag = "workspace",
    operation_id = "deleteWorkspace_deprecated",
    params(("workspaceId" = String, Path), ("force" = Option<bool>, Query)),
    responses((status = 200), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<StatusCode, ApiError> {
    query.boolean("force");
    query.finish()?;
    app.control().delete_sandbox(&caller, &id).await?;
    Ok(StatusCode::OK)
}

/// Starts a stopped workspace and answers when it is started.
#[utoipa::path(post, path = "/api/workspace/{workspaceId}/start", tag = "workspace",
    operation_id = "startWorkspace_deprecated", params(("workspaceId" = String, Path)),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn start(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().start_sandbox(&caller, &id).await?;
    Ok(StatusCode::OK)
}

/// Stops a workspace and answers when it is stopped.
#[utoipa::path(post, path = "/api/workspace/{workspaceId}/stop", tag = "workspace",
    operation_id = "stopWorkspace_deprecated", params(("workspaceId" = String, Path)),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn stop(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().stop_sandbox(&caller, &id, false).await?;
    Ok(StatusCode::OK)
}

/// Replaces all labels.
#[utoipa::path(put, path = "/api/workspace/{workspaceId}/labels", tag = "workspace",
    operation_id = "replaceLabelsWorkspace_deprecated", params(("workspaceId" = String, Path)),
    request_body = SandboxLabels,
    responses((status = 200, body = SandboxLabels), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn labels(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<SandboxLabels>,
) -> Result<Json<SandboxLabels>, ApiError> {
    let changed = app.control().replace_labels(&caller, &id, body.labels);
    Ok(Json(SandboxLabels {
        labels: changed.await?.labels.clone(),
    }))
}

/// Whether previews need no credential. 201, as the contract of that age has it.
#[utoipa::path(post, path = "/api/workspace/{workspaceId}/public/{isPublic}", tag = "workspace",
    operation_id = "updatePublicStatusWorkspace_deprecated",
    params(("workspaceId" = String, Path), ("isPublic" = bool, Path)),
    responses((status = 201), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn public(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, value)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let is_public = is_public(&value)?;
    app.control().set_public(&caller, &id, is_public).await?;
    Ok(StatusCode::CREATED)
}

/// Idle minutes until the workspace is stopped; 0 is never.
#[utoipa::path(post, path = "/api/workspace/{workspaceId}/autostop/{interval}", tag = "workspace",
    operation_id = "setAutostopIntervalWorkspace_deprecated",
    params(("workspaceId" = String, Path), ("interval" = i64, Path)),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn auto_stop(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, interval)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let minutes = minutes("interval", &interval)?;
    app.control().set_auto_stop(&caller, &id, minutes).await?;
    Ok(StatusCode::OK)
}

/// Stopped minutes until the workspace is archived; 0 is the longest allowed.
#[utoipa::path(post, path = "/api/workspace/{workspaceId}/autoarchive/{interval}", tag = "workspace",
    operation_id = "setAutoArchiveIntervalWorkspace_deprecated",
    params(("workspaceId" = String, Path), ("interval" = i64, Path)),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn auto_archive(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, interval)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let minutes = minutes("interval", &interval)?;
    app.control()
        .set_auto_archive(&caller, &id, minutes)
        .await?;
    Ok(StatusCode::OK)
}

/// Puts a stopped workspace's disk into the archive and answers when it is there. A start brings it back.
#[utoipa::path(post, path = "/api/workspace/{workspaceId}/archive", tag = "workspace",
    operation_id = "archiveWorkspace_deprecated", params(("workspaceId" = String, Path)),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn archive(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().archive_sandbox(&caller, &id).await?;
    Ok(StatusCode::OK)
}

/// Answers with a workspace that is in the archive, which is its backup; refuses for one that is not.
#[utoipa::path(post, path = "/api/workspace/{workspaceId}/backup", tag = "workspace",
    operation_id = "createBackupWorkspace_deprecated", params(("workspaceId" = String, Path)),
    responses((status = 200, body = Workspace), (status = 404, body = ErrorBody),
        (status = 422, description = "It is not in the archive", body = ErrorBody)))]
pub(crate) async fn backup(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().backup_sandbox(&caller, &id)?;
    Ok(answer(&app, &sandbox))
}

/// What the build of a workspace's image said, as text. With `follow` the answer grows until the build is over.
#[utoipa::path(get, path = "/api/workspace/{workspaceId}/build-logs", tag = "workspace",
    operation_id = "getBuildLogsWorkspace_deprecated",
    params(("workspaceId" = String, Path), ("follow" = Option<bool>, Query)),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 404, description = "There is no such workspace, or it was not built", body = ErrorBody)))]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_mib_become_whole_gib() {
        for (asked, gib_meant) in [
            (1, 1),
            (511, 511),
            (512, 1),
            (1024, 1),
            (1025, 2),
            (10_240, 10),
        ] {
            assert_eq!(gib(asked), gib_meant, "{asked}");
        }
    }
}
