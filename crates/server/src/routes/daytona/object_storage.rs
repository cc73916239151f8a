//! Object storage: where clients leave what images are built from.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::StorageAccess;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, ClientEra};

/// Credentials for an hour, good for what is below the organization's id.
#[utoipa::path(get, path = "/api/object-storage/push-access", tag = "object-storage",
    operation_id = "getPushAccess",
    responses((status = 200, body = StorageAccess), (status = 403, body = ErrorBody),
        (status = 503, description = "The server has no object storage", body = ErrorBody)))]
pub(crate) async fn push_access(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
) -> Result<Json<StorageAccess>, ApiError> {
    let access = app.control().object_storage_access(&caller)?;
    let place = app
        .object_storage()
        .ok_or_else(|| ApiError::not_served("This server has no object storage"))?;
    let url = if era.uploads_by_tls() {
        &place.url
    } else {
        &place.plain_url
    };
    Ok(Json(StorageAccess {
        access_key: access.access_key,
        secret: access.secret.0,
        session_token: access.session_token.0,
        storage_url: url.clone(),
        organization_id: access.organization.to_string(),
        bucket: place.bucket.clone(),
        region: place.region.clone(),
    }))
}
