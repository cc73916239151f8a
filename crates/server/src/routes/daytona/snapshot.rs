//! Snapshots: made of images in registries or built, read, put aside, removed; and the logs of builds.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{CreateSnapshot, Snapshot, SnapshotPage, Url};
use alcove_control::ListSnapshots;
use alcove_domain::{NewBuiltSnapshot, NewSnapshot, SnapshotSort};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::sandbox::{build_info, follows, log_answer};
use super::sandbox_list::order;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf, QueryOf};
use crate::present;

/// Snapshots that the caller can make sandboxes from.
#[utoipa::path(get, path = "/api/snapshots", tag = "snapshots", operation_id = "getAllSnapshots",
    params(("page" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("name" = Option<String>, Query, description = "Part of the name"),
        ("sourceSandboxId" = Option<String>, Query),
        ("sort" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = SnapshotPage), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let list = ListSnapshots {
        name: query.text("name"),
        source_sandbox_id: query.text("sourceSandboxId"),
        sort: query.word("sort", sort),
        order: query.word("order", order),
        limit: query.integer("limit"),
        page: query.integer("page"),
        ..ListSnapshots::default()
    };
    query.finish()?;
    let page = app.control().list_snapshots(&caller, list).await?;
    Ok(present::snapshots_answer(&app, era, &page))
}

fn sort(word: &str) -> Option<SnapshotSort> {
    match word {
        "name" => Some(SnapshotSort::Name),
        "state" => Some(SnapshotSort::State),
        "lastUsedAt" => Some(SnapshotSort::LastUsedAt),
        "createdAt" => Some(SnapshotSort::CreatedAt),
        _ => None,
    }
}

/// A snapshot by id or name.
#[utoipa::path(get, path = "/api/snapshots/{id}", tag = "snapshots", operation_id = "getSnapshot",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = Snapshot), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let snapshot = app.control().get_snapshot(&caller, &id).await?;
    Ok(present::snapshot_answer(&app, era, &snapshot))
}

/// Makes a snapshot of an image in a registry, or from a Dockerfile. Answered at once, as `pending` or `building`; the
/// image comes in the background.
#[utoipa::path(post, path = "/api/snapshots", tag = "snapshots", operation_id = "createSnapshot",
    request_body = CreateSnapshot,
    responses((status = 200, body = Snapshot), (status = 400, body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    BodyOf(body): BodyOf<CreateSnapshot>,
) -> Result<Response, ApiError> {
    let image_name = body.image_name.filter(|name| !name.is_empty());
    if let (Some(build), None) = (&body.build_info, &image_name) {
        let request = NewBuiltSnapshot {
            name: body.name,
            info: build_info(build.clone()),
            entrypoint: body.entrypoint,
            cpu: body.cpu,
            memory: body.memory,
            disk: body.disk,
            gpu: body.gpu,
            gpu_types: body.gpu_type,
            class: body.sandbox_class,
            region: body.region_id,
        };
        let snapshot = app.control().build_snapshot(&caller, request).await?;
        return Ok(present::snapshot_answer(&app, era, &snapshot));
    }
    let request = NewSnapshot {
        name: body.name,
        image_name,
        entrypoint: body.entrypoint,
        cpu: body.cpu,
        memory: body.memory,
        disk: body.disk,
        gpu: body.gpu,
        gpu_types: body.gpu_type,
        has_build_info: body.build_info.is_some(),
        region: body.region_id,
        class: body.sandbox_class,
    };
    let snapshot = app.control().create_snapshot(&caller, request).await?;
    Ok(present::snapshot_answer(&app, era, &snapshot))
}

/// Removes a snapshot; its name is free once that is done. Sandboxes that were made of it stay whole.
#[utoipa::path(delete, path = "/api/snapshots/{id}", tag = "snapshots", operation_id = "removeSnapshot",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200), (status = 403, description = "It is a general one", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_snapshot(&caller, &id).await?;
    Ok(StatusCode::OK)
}

/// Makes an inactive snapshot active again, at the earliest 10 minutes after it became inactive. Its image is fetched
/// anew where it comes from a registry: exactly the one that it was.
#[utoipa::path(post, path = "/api/snapshots/{id}/activate", tag = "snapshots",
    operation_id = "activateSnapshot", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = Snapshot), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn activate(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let snapshot = app.control().activate_snapshot(&caller, &id).await?;
    Ok(present::snapshot_answer(&app, era, &snapshot))
}

/// Makes a snapshot inactive: no sandbox can be made of it, and it does not count against the quota.
#[utoipa::path(post, path = "/api/snapshots/{id}/deactivate", tag = "snapshots",
    operation_id = "deactivateSnapshot", params(("id" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn deactivate(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().deactivate_snapshot(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the build of a snapshot said, as text. With `follow` the answer grows until the build is over.
#[utoipa::path(get, path = "/api/snapshots/{id}/build-logs", tag = "snapshots",
    operation_id = "getSnapshotBuildLogs",
    params(("id" = String, Path, description = "Id or name"), ("follow" = Option<bool>, Query)),
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
        .snapshot_build_log(&caller, &id, follows)
        .await?;
    Ok(log_answer(log))
}

/// Where the log of a snapshot's build is read. Clients append `?follow=true`.
#[utoipa::path(get, path = "/api/snapshots/{id}/build-logs-url", tag = "snapshots",
    operation_id = "getSnapshotBuildLogsUrl", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = Url), (status = 404, body = ErrorBody)))]
pub(crate) async fn build_logs_url(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Url>, ApiError> {
    let snapshot = app.control().get_built_snapshot(&caller, &id).await?;
    Ok(Json(Url {
        url: format!(
            "{}/api/snapshots/{}/build-logs",
            app.public_url(),
            snapshot.id
        ),
    }))
}
