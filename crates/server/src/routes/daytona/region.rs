//! Where sandboxes run. This server is one region, open to all organizations.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{Region, RegionType};
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf};

/// Regions that every organization may use. Public, since command lines ask before anybody has logged in.
#[utoipa::path(get, path = "/api/shared-regions", tag = "regions", operation_id = "listSharedRegions",
    responses((status = 200, body = Vec<Region>)), security(()))]
pub(crate) async fn shared(State(app): State<App>) -> Result<Json<Vec<Region>>, ApiError> {
    Ok(Json(vec![own(&app).await?]))
}

/// Regions that the caller's organization may use.
#[utoipa::path(get, path = "/api/regions", tag = "organizations", operation_id = "listAvailableRegions",
    responses((status = 200, body = Vec<Region>), (status = 401, body = ErrorBody)))]
pub(crate) async fn available(
    State(app): State<App>,
    Authenticated(_): Authenticated,
) -> Result<Json<Vec<Region>>, ApiError> {
    Ok(Json(vec![own(&app).await?]))
}

/// The same under the name that clients from 0.108 to 0.120 have for it.
#[utoipa::path(get, path = "/api/sandbox/regions", tag = "sandbox", operation_id = "getSandboxRegions",
    responses((status = 200, body = Vec<Region>), (status = 401, body = ErrorBody)))]
pub(crate) async fn of_sandboxes(
    State(app): State<App>,
    Authenticated(_): Authenticated,
) -> Result<Json<Vec<Region>>, ApiError> {
    Ok(Json(vec![own(&app).await?]))
}

/// One region.
#[utoipa::path(get, path = "/api/regions/{id}", tag = "organizations", operation_id = "getRegionById",
    params(("id" = String, Path)),
    responses((status = 200, body = Region), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(_): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Region>, ApiError> {
    if id != app.control().settings().region.id {
        return Err(ApiError::not_found(&format!(
            "Region with ID {id} not found"
        )));
    }
    Ok(Json(own(&app).await?))
}

async fn own(app: &App) -> Result<Region, ApiError> {
    let since = app.control().set_up_at().await?;
    let region = &app.control().settings().region;
    Ok(Region {
        id: region.id.clone(),
        name: region.name.clone(),
        organization_id: None,
        region_type: RegionType::Shared,
        created_at: since.into(),
        updated_at: since.into(),
        proxy_url: None,
        ssh_gateway_url: None,
        snapshot_manager_url: None,
    })
}
