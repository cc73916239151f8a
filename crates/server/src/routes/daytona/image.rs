//! Snapshots where clients of 0.18 to 0.20 look for them, as images. What they mean is what it means there.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    BuildImage, CreateImage, Image, ImagePage, ImageState, ToggleImage,
};
use alcove_control::ListSnapshots;
use alcove_domain::{NewBuiltSnapshot, NewSnapshot, Snapshot, SnapshotState};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::sandbox::build_info;
use super::snapshot;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};
use crate::present;

/// Snapshots that the caller can make workspaces from.
#[utoipa::path(get, path = "/api/images", tag = "images", operation_id = "getAllImages",
    params(("page" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = ImagePage), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<ImagePage>, ApiError> {
    let list = ListSnapshots {
        limit: query.integer("limit"),
        page: query.integer("page"),
        ..ListSnapshots::default()
    };
    query.finish()?;
    let page = app.control().list_snapshots(&caller, list).await?;
    Ok(Json(ImagePage {
        items: page.items.iter().map(|item| told(&app, item)).collect(),
        total: page.total,
        page: page.page,
        total_pages: page.total_pages,
    }))
}

/// Has an image pulled that is called by its place, and makes a snapshot of that name of it.
#[utoipa::path(post, path = "/api/images", tag = "images", operation_id = "createImage",
    request_body = CreateImage,
    responses((status = 200, body = Image), (status = 400, body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateImage>,
) -> Result<Json<Image>, ApiError> {
    let request = NewSnapshot {
        image_name: Some(body.name.clone()),
        name: body.name,
        entrypoint: body.entrypoint,
        ..NewSnapshot::default()
    };
    let made = app.control().create_snapshot(&caller, request).await?;
    Ok(Json(told(&app, &made)))
}

/// Has a snapshot built from a Dockerfile.
#[utoipa::path(post, path = "/api/images/build", tag = "images", operation_id = "buildImage",
    request_body = BuildImage,
    responses((status = 200, body = Image), (status = 400, body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody)))]
pub(crate) async fn build(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<BuildImage>,
) -> Result<Json<Image>, ApiError> {
    let request = NewBuiltSnapshot {
        name: body.name,
        info: build_info(body.build_info),
        ..NewBuiltSnapshot::default()
    };
    let made = app.control().build_snapshot(&caller, request).await?;
    Ok(Json(told(&app, &made)))
}

/// A snapshot by id or name.
#[utoipa::path(get, path = "/api/images/{id}", tag = "images", operation_id = "getImage",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = Image), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Image>, ApiError> {
    let found = app.control().get_snapshot(&caller, &id).await?;
    Ok(Json(told(&app, &found)))
}

/// Removes a snapshot.
#[utoipa::path(delete, path = "/api/images/{id}", tag = "images", operation_id = "removeImage",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    app: State<App>,
    caller: Authenticated,
    id: PathOf<String>,
) -> Result<StatusCode, ApiError> {
    snapshot::delete(app, caller, id).await
}

/// Makes a snapshot inactive, or active again.
#[utoipa::path(patch, path = "/api/images/{id}/toggle", tag = "images", operation_id = "toggleImageState",
    params(("id" = String, Path, description = "Id or name")), request_body = ToggleImage,
    responses((status = 200, body = Image), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn toggle(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<ToggleImage>,
) -> Result<Json<Image>, ApiError> {
    let changed = app.control().enable_snapshot(&caller, &id, body.enabled);
    Ok(Json(told(&app, &changed.await?)))
}

/// What the build of a snapshot said, as text. With `follow` the answer grows until the build is over.
#[utoipa::path(get, path = "/api/images/{id}/build-logs", tag = "images", operation_id = "getImageBuildLogs",
    params(("id" = String, Path, description = "Id or name"), ("follow" = Option<bool>, Query)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, body = ErrorBody)))]
pub(crate) async fn build_logs(
    app: State<App>,
    caller: Authenticated,
    id: PathOf<String>,
    query: QueryOf,
) -> Result<Response, ApiError> {
    snapshot::build_logs(app, caller, id, query).await
}

fn told(app: &App, snapshot: &Snapshot) -> Image {
    let now = present::snapshot(app, snapshot);
    Image {
        id: now.id,
        organization_id: now.organization_id,
        general: now.general,
        name: now.name,
        enabled: snapshot.state != SnapshotState::Inactive,
        state: match snapshot.state {
            SnapshotState::Building | SnapshotState::Snapshotting => ImageState::Building,
            SnapshotState::Pending => ImageState::Pending,
            SnapshotState::Pulling => ImageState::PullingImage,
            SnapshotState::Active | SnapshotState::Inactive => ImageState::Active,
            SnapshotState::Error | SnapshotState::BuildFailed => ImageState::Error,
            SnapshotState::Removing => ImageState::Removing,
        },
        size: now.size,
        entrypoint: now.entrypoint,
        error_reason: now.error_reason,
        created_at: now.created_at,
        updated_at: now.updated_at,
        last_used_at: now.last_used_at,
    }
}
