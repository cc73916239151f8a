//! Warm pools.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{CreateWarmPool, UpdateWarmPool, WarmPool};
use alcove_control::NewWarmPool;
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};
use crate::present;

/// Warm pools of the organization, the oldest first.
#[utoipa::path(get, path = "/api/warm-pools", tag = "warm-pools", operation_id = "listWarmPools",
    responses((status = 200, body = Vec<WarmPool>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<WarmPool>>, ApiError> {
    let pools = app.control().list_warm_pools(&caller).await?;
    Ok(Json(pools.iter().map(present::warm_pool).collect()))
}

/// Asks for sandboxes of a snapshot to be made ahead of need. They count for nobody until a create takes one, which is
/// that create in every other way.
#[utoipa::path(post, path = "/api/warm-pools", tag = "warm-pools", operation_id = "createWarmPool",
    request_body = CreateWarmPool,
    responses((status = 201, body = WarmPool),
        (status = 400, description = "No such active snapshot, more than the host holds, or too many pools",
            body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, description = "No such region", body = ErrorBody),
        (status = 409, description = "There is one of this snapshot", body = ErrorBody),
        (status = 422, description = "The operator has turned warm pools off", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateWarmPool>,
) -> Result<(StatusCode, Json<WarmPool>), ApiError> {
    let request = NewWarmPool {
        snapshot: body.snapshot,
        size: body.pool,
        target: body.target,
    };
    let pool = app.control().create_warm_pool(&caller, request).await?;
    Ok((StatusCode::CREATED, Json(present::warm_pool(&pool))))
}

/// Changes how many sandboxes are to wait.
#[utoipa::path(patch, path = "/api/warm-pools/{id}", tag = "warm-pools", operation_id = "updateWarmPool",
    params(("id" = String, Path)), request_body = UpdateWarmPool,
    responses((status = 200, body = WarmPool), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, description = "The operator has turned warm pools off", body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateWarmPool>,
) -> Result<Json<WarmPool>, ApiError> {
    let pool = app.control().update_warm_pool(&caller, &id, body.pool);
    Ok(Json(present::warm_pool(&pool.await?)))
}

/// Deletes a warm pool. Sandboxes that were taken from it stay.
#[utoipa::path(delete, path = "/api/warm-pools/{id}", tag = "warm-pools", operation_id = "deleteWarmPool",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_warm_pool(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
