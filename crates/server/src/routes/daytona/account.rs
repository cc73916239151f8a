//! Users: the caller, and all of them as the administrator of the server handles them.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{CreateUser, CreatedUser, User};
use alcove_domain::UserRequest;
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};

/// The caller.
#[utoipa::path(get, path = "/api/users/me", tag = "users", operation_id = "getAuthenticatedUser",
    responses((status = 200, body = User), (status = 401, body = ErrorBody)))]
pub(crate) async fn user(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<User>, ApiError> {
    Ok(Json(shown(app.control().current_user(&caller).await?)))
}

/// All users, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/users", tag = "admin", operation_id = "adminListUsers",
    responses((status = 200, body = Vec<User>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<User>>, ApiError> {
    let users = app.control().list_users(&caller).await?;
    Ok(Json(users.into_iter().map(shown).collect()))
}

/// Makes a user with a personal organization, as the administrator of the server.
#[utoipa::path(post, path = "/api/admin/users", tag = "admin", operation_id = "adminCreateUser",
    request_body = CreateUser,
    responses((status = 201, body = CreatedUser), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 409, description = "The id or the address is taken", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateUser>,
) -> Result<(StatusCode, Json<CreatedUser>), ApiError> {
    if body.has_quota {
        return Err(ApiError::unsupported(
            "personalOrganizationQuota is not supported by this server; set a quota by /api/admin/organizations",
        ));
    }
    let region = body.personal_organization_default_region_id.as_deref();
    let request = UserRequest {
        id: body.id,
        name: body.name,
        email: body.email,
        is_email_verified: body.email_verified.unwrap_or(false),
        role: body.role,
    };
    let with_key = body.with_api_key.unwrap_or(false);
    let (user, key) = app
        .control()
        .create_user(&caller, request, region, with_key)
        .await?;
    let answer = CreatedUser {
        user: shown(user),
        api_key: key.map(|key| key.text),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A user, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/users/{id}", tag = "admin", operation_id = "adminGetUser",
    params(("id" = String, Path)),
    responses((status = 200, body = User), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(shown(app.control().get_user(&caller, &id).await?)))
}

/// Refused: users of this server have no key pairs.
#[utoipa::path(post, path = "/api/admin/users/{id}/regenerate-key-pair", tag = "admin",
    operation_id = "adminRegenerateKeyPair", params(("id" = String, Path)),
    responses((status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, body = ErrorBody)))]
pub(crate) async fn regenerate_key_pair(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().get_user(&caller, &id).await?;
    Err(ApiError::unsupported(
        "Users of this server have no key pairs",
    ))
}

/// The same under the name that clients before 0.164 have for it.
#[utoipa::path(get, path = "/api/users", tag = "users", operation_id = "listUsers",
    responses((status = 200, body = Vec<User>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list_older(
    app: State<App>,
    caller: Authenticated,
) -> Result<Json<Vec<User>>, ApiError> {
    list(app, caller).await
}

/// The same under the name that clients before 0.164 have for it.
#[utoipa::path(post, path = "/api/users", tag = "users", operation_id = "createUser",
    request_body = CreateUser,
    responses((status = 201, body = CreatedUser), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create_older(
    app: State<App>,
    caller: Authenticated,
    body: BodyOf<CreateUser>,
) -> Result<(StatusCode, Json<CreatedUser>), ApiError> {
    create(app, caller, body).await
}

/// The same under the name that clients before 0.164 have for it.
#[utoipa::path(get, path = "/api/users/{id}", tag = "users", operation_id = "getUser",
    params(("id" = String, Path)),
    responses((status = 200, body = User), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn get_older(
    app: State<App>,
    caller: Authenticated,
    id: PathOf<String>,
) -> Result<Json<User>, ApiError> {
    get(app, caller, id).await
}

/// The same under the name that clients before 0.164 have for it.
#[utoipa::path(post, path = "/api/users/{id}/regenerate-key-pair", tag = "users",
    operation_id = "regenerateKeyPair", params(("id" = String, Path)),
    responses((status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, body = ErrorBody)))]
pub(crate) async fn regenerate_key_pair_older(
    app: State<App>,
    caller: Authenticated,
    id: PathOf<String>,
) -> Result<StatusCode, ApiError> {
    regenerate_key_pair(app, caller, id).await
}

pub(crate) fn shown(user: alcove_domain::User) -> User {
    User {
        id: user.id.to_string(),
        name: user.name,
        email: user.email,
        email_verified: user.is_email_verified,
        public_keys: Vec::new(),
        created_at: user.created_at.into(),
    }
}
