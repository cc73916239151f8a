//! Public keys for SSH.

use alcove_api_types::daytona::{CreateSshKey, SshKey};
use alcove_api_types::{ErrorBody, Timestamp};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};

/// The caller's public keys in the caller's organization.
#[utoipa::path(get, path = "/api/ssh-keys", tag = "ssh-keys", operation_id = "listSshKeys",
    responses((status = 200, body = Vec<SshKey>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<SshKey>>, ApiError> {
    let keys = app.control().list_ssh_keys(&caller).await?;
    Ok(Json(keys.iter().map(present).collect()))
}

/// Lets a public key open SSH sessions in the sandboxes of the caller's organization: `ssh SANDBOX@host`.
#[utoipa::path(post, path = "/api/ssh-keys", tag = "ssh-keys", operation_id = "createSshKey",
    request_body = CreateSshKey,
    responses((status = 201, body = SshKey), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "The caller has it already", body = ErrorBody),
        (status = 422, description = "SSH is off", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateSshKey>,
) -> Result<(StatusCode, Json<SshKey>), ApiError> {
    let key = app
        .control()
        .create_ssh_key(&caller, &body.public_key, body.name.as_deref())
        .await?;
    Ok((StatusCode::CREATED, Json(present(&key))))
}

/// Removes a public key of the caller's, and ends the sessions that it opened.
#[utoipa::path(delete, path = "/api/ssh-keys/{id}", tag = "ssh-keys", operation_id = "deleteSshKey",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_ssh_key(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn present(key: &alcove_domain::SshKey) -> SshKey {
    SshKey {
        id: key.id.to_string(),
        name: key.name.clone(),
        public_key: key.public.to_line(),
        fingerprint: key.fingerprint.to_string(),
        created_at: Timestamp(key.created_at),
    }
}
