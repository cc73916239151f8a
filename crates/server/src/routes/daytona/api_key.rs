//! API keys.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::era::Era;
use alcove_api_types::daytona::{ApiKey, ApiKeyResponse, CreateApiKey};
use alcove_domain::Permissions;
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf};

/// The key that the caller came with, without its secret part.
#[utoipa::path(get, path = "/api/api-keys/current", tag = "api-keys",
    operation_id = "getCurrentApiKey",
    responses((status = 200, body = ApiKey), (status = 401, body = ErrorBody)))]
pub(crate) async fn current(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
) -> Result<Json<ApiKey>, ApiError> {
    let key = app.control().current_api_key(&caller).await?;
    Ok(Json(shown(era, key)))
}

/// The caller's keys; the owner of an organization sees all of it. What was used last comes first.
#[utoipa::path(get, path = "/api/api-keys", tag = "api-keys", operation_id = "listApiKeys",
    responses((status = 200, body = Vec<ApiKey>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
) -> Result<Json<Vec<ApiKey>>, ApiError> {
    let keys = app.control().list_api_keys(&caller).await?;
    Ok(Json(keys.into_iter().map(|key| shown(era, key)).collect()))
}

/// Makes a key of the caller's user. It can do no more than the caller's own, or than the user where it is for another
/// organization; its text is shown this once.
#[utoipa::path(post, path = "/api/api-keys", tag = "api-keys", operation_id = "createApiKey",
    request_body = CreateApiKey,
    responses((status = 201, body = ApiKeyResponse), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    BodyOf(body): BodyOf<CreateApiKey>,
) -> Result<(StatusCode, Json<ApiKeyResponse>), ApiError> {
    let expires_at = body.expires_at.map(|at| at.0);
    let organization = body.organization_id.as_deref();
    let (name, permissions) = (body.name, body.permissions);
    let created = app
        .control()
        .create_api_key(&caller, name, &permissions, expires_at, organization)
        .await?;
    let answer = ApiKeyResponse {
        name: created.key.name,
        value: created.text,
        created_at: created.key.created_at.into(),
        permissions: words(era, &created.key.permissions),
        expires_at: created.key.expires_at.map(Into::into),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// One of the caller's own keys.
#[utoipa::path(get, path = "/api/api-keys/{name}", tag = "api-keys", operation_id = "getApiKey",
    params(("name" = String, Path)),
    responses((status = 200, body = ApiKey), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(name): PathOf<String>,
) -> Result<Json<ApiKey>, ApiError> {
    let key = app.control().get_api_key(&caller, &name).await?;
    Ok(Json(shown(era, key)))
}

/// Ends one of the caller's own keys. Streams that came with it end too.
#[utoipa::path(delete, path = "/api/api-keys/{name}", tag = "api-keys", operation_id = "deleteApiKey",
    params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(name): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_api_key(&caller, None, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a key of another user, as the owner of the organization.
#[utoipa::path(delete, path = "/api/api-keys/{userId}/{name}", tag = "api-keys",
    operation_id = "deleteApiKeyForUser",
    params(("userId" = String, Path), ("name" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete_of_user(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((user, name)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .delete_api_key(&caller, Some(&user), &name)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(era: Era, key: alcove_domain::ApiKey) -> ApiKey {
    ApiKey {
        value: key.masked(),
        name: key.name,
        created_at: key.created_at.into(),
        permissions: words(era, &key.permissions),
        last_used_at: key.last_used_at.map(Into::into),
        expires_at: key.expires_at.map(Into::into),
        user_id: key.user_id.to_string(),
        organization_id: Some(key.organization_id.to_string()),
    }
}

pub(crate) fn words(era: Era, permissions: &Permissions) -> Vec<String> {
    permissions
        .iter()
        .map(alcove_domain::Permission::as_str)
        .filter(|word| era.reads_permission(word))
        .map(str::to_owned)
        .collect()
}
