//! Drives by their names.

use alcove_api_types::vercel::{Drive, DriveAnswer, DrivePage, ForkDrive, MakeDrive, Pagination};
use alcove_control::{DriveSort, ListDrives};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use super::sandbox::{order, project};
use super::{present, refused};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};

fn told(app: &App, drive: &alcove_control::Drive) -> Drive {
    present::drive(drive, &app.control().settings().region.id)
}

/// The drive of this name, which is made if it is not there; the status tells clients whether it was.
pub(crate) async fn make(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(name): PathOf<String>,
    BodyOf(body): BodyOf<MakeDrive>,
) -> Result<(StatusCode, Json<DriveAnswer>), ApiError> {
    let project = body.project.unwrap_or_default();
    let (region, bytes) = (body.region.as_deref(), body.max_size_bytes);
    let made = app
        .control()
        .get_or_create_drive(&caller, project, &name, region, bytes)
        .await;
    let (drive, is_new) = made.map_err(refused)?;
    let drive = told(&app, &drive);
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(DriveAnswer { drive })))
}

/// A new drive with what this one holds now.
pub(crate) async fn fork(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(name): PathOf<String>,
    QueryOf(mut query): QueryOf,
    BodyOf(body): BodyOf<ForkDrive>,
) -> Result<(StatusCode, Json<DriveAnswer>), ApiError> {
    let project = project(&mut query);
    query.finish()?;
    let control = app.control();
    let forked = control
        .fork_drive(&caller, project.as_deref(), &name, &body.name)
        .await;
    let drive = told(&app, &forked.map_err(refused)?);
    Ok((StatusCode::CREATED, Json(DriveAnswer { drive })))
}

pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(name): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<DriveAnswer>, ApiError> {
    let project = project(&mut query);
    query.finish()?;
    let control = app.control();
    let found = control.get_drive(&caller, project.as_deref(), &name).await;
    let drive = told(&app, &found.map_err(refused)?);
    Ok(Json(DriveAnswer { drive }))
}

pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<DrivePage>, ApiError> {
    let list = ListDrives {
        project: project(&mut query),
        name_prefix: query.text("namePrefix"),
        sort: query.word("sortBy", |word| match word {
            "createdAt" => Some(DriveSort::CreatedAt),
            "updatedAt" => Some(DriveSort::UpdatedAt),
            "name" => Some(DriveSort::Name),
            _ => None,
        }),
        order: query.word("sortOrder", order),
        limit: query.integer("limit"),
        cursor: query.text("cursor"),
    };
    query.finish()?;
    let found = app.control().list_drives(&caller, list).await;
    let (drives, next) = found.map_err(refused)?;
    Ok(Json(DrivePage {
        pagination: Pagination {
            count: drives.len(),
            next,
        },
        drives: drives.iter().map(|drive| told(&app, drive)).collect(),
    }))
}

pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(name): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<DriveAnswer>, ApiError> {
    let project = project(&mut query);
    query.finish()?;
    let control = app.control();
    let gone = control
        .delete_drive(&caller, project.as_deref(), &name)
        .await;
    let drive = told(&app, &gone.map_err(refused)?);
    Ok(Json(DriveAnswer { drive }))
}
