//! Volumes.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{CreateVolume, SandboxVolume, Volume};
use alcove_domain::MountRequest;
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf, QueryOf};
use crate::present;

/// Volumes of the organization, newest first.
#[utoipa::path(get, path = "/api/volumes", tag = "volumes", operation_id = "listVolumes",
    params(("includeDeleted" = Option<bool>, Query,
        description = "Deleted ones too, for a day after they are gone")),
    responses((status = 200, body = Vec<Volume>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    QueryOf(mut query): QueryOf,
) -> Result<Json<Vec<Volume>>, ApiError> {
    let with_deleted = query.boolean("includeDeleted").unwrap_or(false);
    query.finish()?;
    let volumes = app.control().list_volumes(&caller, with_deleted).await?;
    Ok(Json(
        volumes
            .iter()
            .map(|volume| present::volume_for(era, volume))
            .collect(),
    ))
}

/// Makes a volume and answers when sandboxes can mount it, or after a while as it then is.
#[utoipa::path(post, path = "/api/volumes", tag = "volumes", operation_id = "createVolume",
    request_body = CreateVolume,
    responses((status = 200, body = Volume),
        (status = 400, description = "The name is taken, or there are as many as there may be", body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    BodyOf(body): BodyOf<CreateVolume>,
) -> Result<Json<Volume>, ApiError> {
    let volume = app.control().create_volume(&caller, body.name).await?;
    Ok(Json(present::volume_for(era, &volume)))
}

/// A volume by its id, deleted or not.
#[utoipa::path(get, path = "/api/volumes/{volumeId}", tag = "volumes", operation_id = "getVolume",
    params(("volumeId" = String, Path)),
    responses((status = 200, body = Volume), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Json<Volume>, ApiError> {
    let volume = app.control().get_volume(&caller, &id).await?;
    Ok(Json(present::volume_for(era, &volume)))
}

/// The volume that holds the name.
#[utoipa::path(get, path = "/api/volumes/by-name/{name}", tag = "volumes", operation_id = "getVolumeByName",
    params(("name" = String, Path)),
    responses((status = 200, body = Volume), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn by_name(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(name): PathOf<String>,
) -> Result<Json<Volume>, ApiError> {
    let volume = app.control().get_volume_by_name(&caller, &name).await?;
    Ok(Json(present::volume_for(era, &volume)))
}

/// Deletes a volume with all that is in it. Its name is free at once.
#[utoipa::path(delete, path = "/api/volumes/{volumeId}", tag = "volumes", operation_id = "deleteVolume",
    params(("volumeId" = String, Path)),
    responses((status = 200), (status = 400, description = "It is neither ready nor in error", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "A sandbox has it", body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_volume(&caller, &id).await?;
    Ok(StatusCode::OK)
}

/// What a create asks for.
pub(super) fn mounts(asked: Vec<SandboxVolume>) -> Vec<MountRequest> {
    asked
        .into_iter()
        .map(|mount| MountRequest {
            volume: mount.volume_id,
            mount_path: mount.mount_path,
            subpath: mount.subpath,
            // These clients have no word for it.
            is_read_only: false,
        })
        .collect()
}
