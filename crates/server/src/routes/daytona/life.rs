//! What is made of a sandbox beyond starting and stopping it.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::era::Era;
use alcove_api_types::daytona::{CreateSandboxSnapshot, ForkSandbox, ResizeSandbox, Sandbox};
use alcove_domain::ResizeRequest;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf, QueryOf};
use crate::present;

/// Holds a started sandbox where it is, with its memory. A start lets it go on.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/pause", tag = "sandbox",
    operation_id = "pauseSandbox", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, description = "This host cannot do it", body = ErrorBody)))]
pub(crate) async fn pause(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().pause_sandbox(&caller, &id).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Puts a stopped sandbox's disk into the archive. A start brings it back.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/archive", tag = "sandbox",
    operation_id = "archiveSandbox", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, description = "This host cannot do it", body = ErrorBody)))]
pub(crate) async fn archive(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().archive_sandbox(&caller, &id).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Answers with a sandbox that is in the archive, which is its backup; refuses for one that is not.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/backup", tag = "sandbox",
    operation_id = "createBackup", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 404, body = ErrorBody),
        (status = 422, description = "It is not in the archive", body = ErrorBody)))]
pub(crate) async fn backup(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().backup_sandbox(&caller, &id)?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Tries again what ended in an error. `skipStart` leaves the sandbox stopped.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/recover", tag = "sandbox",
    operation_id = "recoverSandbox",
    params(("sandboxIdOrName" = String, Path), ("skipStart" = Option<bool>, Query)),
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn recover(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let skip_start = query.boolean("skipStart").unwrap_or(false);
    query.finish()?;
    let control = app.control();
    let sandbox = control.recover_sandbox(&caller, &id, skip_start).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Gives a sandbox other sizes. A started one grows in processor and memory; a disk grows while stopped.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/resize", tag = "sandbox",
    operation_id = "resizeSandbox", params(("sandboxIdOrName" = String, Path)),
    request_body = ResizeSandbox,
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn resize(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<ResizeSandbox>,
) -> Result<Response, ApiError> {
    let request = ResizeRequest {
        cpu: body.cpu,
        memory: body.memory,
        disk: body.disk,
    };
    let sandbox = app.control().resize_sandbox(&caller, &id, request).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Makes a snapshot of the sandbox's files, from which new sandboxes can be made.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/snapshot", tag = "sandbox",
    operation_id = "createSandboxSnapshot", params(("sandboxIdOrName" = String, Path)),
    request_body = CreateSandboxSnapshot,
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn snapshot(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<CreateSandboxSnapshot>,
) -> Result<Response, ApiError> {
    let with_memory = body.include_memory.unwrap_or(false);
    let control = app.control();
    let sandbox = control
        .snapshot_sandbox(&caller, &id, body.name, with_memory)
        .await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Makes a new sandbox with a copy of this one's files, and answers with the new one.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/fork", tag = "sandbox",
    operation_id = "forkSandbox", params(("sandboxIdOrName" = String, Path)),
    request_body = ForkSandbox,
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn fork(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<ForkSandbox>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().fork_sandbox(&caller, &id, body.name).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// The forks of a sandbox, oldest first, at most 100.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/forks", tag = "sandbox",
    operation_id = "getSandboxForks",
    params(("sandboxIdOrName" = String, Path), ("includeDestroyed" = Option<bool>, Query)),
    responses((status = 200, body = Vec<Sandbox>), (status = 404, body = ErrorBody)))]
pub(crate) async fn forks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let with_destroyed = query.boolean("includeDestroyed").unwrap_or(false);
    query.finish()?;
    let forks = app
        .control()
        .list_forks(&caller, &id, with_destroyed)
        .await?;
    Ok(line(&app, era, &forks))
}

/// The sandbox that this one is a fork of.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/parent", tag = "sandbox",
    operation_id = "getSandboxParent", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 404, body = ErrorBody)))]
pub(crate) async fn parent(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let sandbox = app.control().find_parent(&caller, &id)?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// The line that a fork stems from, the oldest first, at most 50.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/ancestors", tag = "sandbox",
    operation_id = "getSandboxAncestors", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Vec<Sandbox>), (status = 404, body = ErrorBody)))]
pub(crate) async fn ancestors(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let ancestors = app.control().list_ancestors(&caller, &id).await?;
    Ok(line(&app, era, &ancestors))
}

fn line(app: &App, era: Era, sandboxes: &[alcove_domain::Sandbox]) -> Response {
    let all: Vec<Sandbox> = sandboxes
        .iter()
        .map(|found| present::sandbox(app, found))
        .collect();
    present::sandboxes_answer(era, &all)
}
