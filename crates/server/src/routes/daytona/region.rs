//! Where sandboxes run. This server is one region, open to all organizations; organizations make others for hosts of their
//! own.

use alcove_api_types::ErrorBody;
use alcove_api_types::body::TextChange;
use alcove_api_types::daytona::{
    CreateRegion, CreateRegionResponse, RegenerateApiKeyResponse, Region, RegionType,
    SnapshotManagerCredentials, UpdateRegion,
};
use alcove_control::{IssuedCredentials, ListedRegion, NewRegion, RegionKey};
use alcove_domain::{RegionChange, RegionUrls, UrlChange};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};

/// Regions that every organization may use. Public, since command lines ask before anybody has logged in.
#[utoipa::path(get, path = "/api/shared-regions", tag = "regions", operation_id = "listSharedRegions",
    responses((status = 200, body = Vec<Region>)), security(()))]
pub(crate) async fn shared(State(app): State<App>) -> Result<Json<Vec<Region>>, ApiError> {
    let since = app.control().set_up_at().await?;
    Ok(Json(vec![shown(&app, &ListedRegion::Own(since))]))
}

/// Regions that the caller's organization may use: this server, and its own, the oldest first.
#[utoipa::path(get, path = "/api/regions", tag = "organizations", operation_id = "listAvailableRegions",
    responses((status = 200, body = Vec<Region>), (status = 401, body = ErrorBody)))]
pub(crate) async fn available(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<Region>>, ApiError> {
    let all = app.control().list_regions(&caller).await?;
    Ok(Json(all.iter().map(|region| shown(&app, region)).collect()))
}

/// The same under the name that clients from 0.108 to 0.120 have for it.
#[utoipa::path(get, path = "/api/sandbox/regions", tag = "sandbox", operation_id = "getSandboxRegions",
    responses((status = 200, body = Vec<Region>), (status = 401, body = ErrorBody)))]
pub(crate) async fn of_sandboxes(
    app: State<App>,
    caller: Authenticated,
) -> Result<Json<Vec<Region>>, ApiError> {
    available(app, caller).await
}

/// One region.
#[utoipa::path(get, path = "/api/regions/{id}", tag = "organizations", operation_id = "getRegionById",
    params(("id" = String, Path)),
    responses((status = 200, body = Region), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Region>, ApiError> {
    let found = app.control().get_region(&caller, &id).await?;
    Ok(Json(shown(&app, &found)))
}

/// Makes a region of the organization. Each part that has an address gets a credential, which is shown this once. Sandboxes
/// are made there once a runner has joined it.
#[utoipa::path(post, path = "/api/regions", tag = "organizations", operation_id = "createRegion",
    request_body = CreateRegion,
    responses((status = 201, body = CreateRegionResponse),
        (status = 400, description = "Not a name, not an address, or too many regions", body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 409, description = "The organization has one of this name", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateRegion>,
) -> Result<(StatusCode, Json<CreateRegionResponse>), ApiError> {
    let request = NewRegion {
        name: body.name,
        urls: RegionUrls {
            proxy: body.proxy_url,
            ssh_gateway: body.ssh_gateway_url,
            snapshot_manager: body.snapshot_manager_url,
        },
    };
    let (region, made) = app.control().create_region(&caller, request).await?;
    let answer = issued(region.id.to_string(), made);
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Changes addresses of a region. A part that gets its first address gets a credential with it, which is shown this once;
/// one whose address is taken away loses its own.
#[utoipa::path(patch, path = "/api/regions/{id}", tag = "organizations", operation_id = "updateRegion",
    params(("id" = String, Path)), request_body = UpdateRegion,
    responses((status = 200, body = CreateRegionResponse), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateRegion>,
) -> Result<Json<CreateRegionResponse>, ApiError> {
    let change = RegionChange {
        proxy_url: change(body.proxy_url),
        ssh_gateway_url: change(body.ssh_gateway_url),
        snapshot_manager_url: change(body.snapshot_manager_url),
    };
    let (region, made) = app.control().update_region(&caller, &id, change).await?;
    Ok(Json(issued(region.id.to_string(), made)))
}

/// Deletes a region. It must have no runners.
#[utoipa::path(delete, path = "/api/regions/{id}", tag = "organizations", operation_id = "deleteRegion",
    params(("id" = String, Path)),
    responses((status = 204), (status = 400, description = "It has runners", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_region(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new key for the region's proxy; the one before opens nothing any more.
#[utoipa::path(post, path = "/api/regions/{id}/regenerate-proxy-api-key", tag = "organizations",
    operation_id = "regenerateProxyApiKey", params(("id" = String, Path)),
    responses((status = 200, body = RegenerateApiKeyResponse),
        (status = 400, description = "It has no proxy URL", body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn regenerate_proxy(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<RegenerateApiKeyResponse>, ApiError> {
    let made = app
        .control()
        .regenerate_region_key(&caller, &id, RegionKey::Proxy);
    let api_key = made.await?.proxy_key.unwrap_or_default();
    Ok(Json(RegenerateApiKeyResponse { api_key }))
}

/// Makes a new key for the region's SSH gateway; the one before opens nothing any more.
#[utoipa::path(post, path = "/api/regions/{id}/regenerate-ssh-gateway-api-key", tag = "organizations",
    operation_id = "regenerateSshGatewayApiKey", params(("id" = String, Path)),
    responses((status = 200, body = RegenerateApiKeyResponse),
        (status = 400, description = "It has no SSH gateway URL", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn regenerate_ssh_gateway(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<RegenerateApiKeyResponse>, ApiError> {
    let made = app
        .control()
        .regenerate_region_key(&caller, &id, RegionKey::SshGateway);
    let api_key = made.await?.ssh_gateway_key.unwrap_or_default();
    Ok(Json(RegenerateApiKeyResponse { api_key }))
}

/// Makes new credentials for the region's snapshot manager.
#[utoipa::path(post, path = "/api/regions/{id}/regenerate-snapshot-manager-credentials", tag = "organizations",
    operation_id = "regenerateSnapshotManagerCredentials", params(("id" = String, Path)),
    responses((status = 200, body = SnapshotManagerCredentials),
        (status = 400, description = "It has no snapshot manager URL", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn regenerate_snapshot_manager(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<SnapshotManagerCredentials>, ApiError> {
    let made = app
        .control()
        .regenerate_region_key(&caller, &id, RegionKey::SnapshotManager);
    let (username, password) = made.await?.snapshot_manager.unwrap_or_default();
    Ok(Json(SnapshotManagerCredentials { username, password }))
}

fn change(change: TextChange) -> UrlChange {
    match change {
        TextChange::Keep => UrlChange::Keep,
        TextChange::Remove => UrlChange::Remove,
        TextChange::Set(url) => UrlChange::Set(url),
    }
}

fn issued(id: String, made: IssuedCredentials) -> CreateRegionResponse {
    let (username, password) = made.snapshot_manager.unzip();
    CreateRegionResponse {
        id,
        proxy_api_key: made.proxy_key,
        ssh_gateway_api_key: made.ssh_gateway_key,
        snapshot_manager_username: username,
        snapshot_manager_password: password,
    }
}

fn shown(app: &App, region: &ListedRegion) -> Region {
    match region {
        ListedRegion::Own(since) => {
            let region = &app.control().settings().region;
            Region {
                id: region.id.clone(),
                name: region.name.clone(),
                organization_id: None,
                region_type: RegionType::Shared,
                created_at: (*since).into(),
                updated_at: (*since).into(),
                proxy_url: None,
                ssh_gateway_url: None,
                snapshot_manager_url: None,
                otel_endpoint: None,
            }
        }
        ListedRegion::Custom(region) => Region {
            id: region.id.to_string(),
            name: region.name.clone(),
            organization_id: Some(region.organization_id.to_string()),
            region_type: RegionType::Custom,
            created_at: region.created_at.into(),
            updated_at: region.updated_at.into(),
            proxy_url: region.urls.proxy.clone(),
            ssh_gateway_url: region.urls.ssh_gateway.clone(),
            snapshot_manager_url: region.urls.snapshot_manager.clone(),
            otel_endpoint: None,
        },
    }
}
