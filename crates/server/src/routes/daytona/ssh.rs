//! Tokens for SSH.

use alcove_api_types::daytona::{Sandbox, SshAccess, SshAccessValidation};
use alcove_api_types::{ErrorBody, Timestamp};
use axum::Json;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, CallerOrService, ClientEra, PathOf, QueryOf};
use crate::present;

/// Gives the sandbox a token that opens SSH sessions: 60 minutes where the caller does not say, at most 30 days.
///
/// Earlier tokens of the sandbox open no more sessions; open ones go on until their own token's time.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/ssh-access", tag = "sandbox",
    operation_id = "createSshAccess",
    params(("sandboxIdOrName" = String, Path), ("expiresInMinutes" = Option<f64>, Query)),
    responses((status = 200, body = SshAccess), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 422, description = "SSH is off", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SshAccess>, ApiError> {
    let minutes = query.number("expiresInMinutes");
    query.finish()?;
    let granted = app
        .control()
        .create_ssh_access(&caller, &id, minutes)
        .await?;
    let access = granted.access;
    Ok(Json(SshAccess {
        id: access.id.into(),
        sandbox_id: access.sandbox_id.into(),
        ssh_command: app.ssh_command(&granted.token),
        token: granted.token,
        expires_at: Timestamp(access.expires_at),
        created_at: Timestamp(access.created_at),
        updated_at: Timestamp(access.updated_at),
    }))
}

/// Ends a token of the sandbox, or all where none is named, with the sessions that came with it.
#[utoipa::path(delete, path = "/api/sandbox/{sandboxIdOrName}/ssh-access", tag = "sandbox",
    operation_id = "revokeSshAccess",
    params(("sandboxIdOrName" = String, Path), ("token" = Option<String>, Query)),
    responses((status = 200, body = Sandbox), (status = 404, body = ErrorBody)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let token = query.text("token");
    let sandbox = app
        .control()
        .revoke_ssh_access(&caller, &id, token.as_deref())
        .await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

/// Whether a token opens sessions now, in a sandbox of the caller's organization. A service credential of the role
/// `ssh-gateway` is told of all organizations.
#[utoipa::path(get, path = "/api/sandbox/ssh-access/validate", tag = "sandbox",
    operation_id = "validateSshAccess", params(("token" = String, Query)),
    responses((status = 200, body = SshAccessValidation), (status = 400, body = ErrorBody)))]
pub(crate) async fn validate(
    State(app): State<App>,
    who: CallerOrService,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SshAccessValidation>, ApiError> {
    let Some(token) = query.text("token") else {
        return Err(ApiError::invalid(&["token should not be empty".to_owned()]));
    };
    let control = app.control();
    let sandbox = match who {
        CallerOrService::Caller(caller) => control.validate_ssh_access(&caller, &token).await?,
        CallerOrService::Service(role) => {
            let found = control.validate_ssh_access_as_gateway(role, &token);
            found.await?
        }
    };
    Ok(Json(SshAccessValidation {
        valid: sandbox.is_some(),
        sandbox_id: sandbox.map(String::from).unwrap_or_default(),
    }))
}
