//! Credentials of programs that serve the platform.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    CreateServiceCredential, CreatedServiceCredential, ServiceCredential,
};
use alcove_control::ServiceCredentialView;
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};

/// The credentials that are good, by role and the newest first, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/service-credentials", tag = "admin", operation_id = "adminListServiceCredentials",
    responses((status = 200, body = Vec<ServiceCredential>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<ServiceCredential>>, ApiError> {
    let found = app.control().list_service_credentials(&caller).await?;
    Ok(Json(found.into_iter().map(shown).collect()))
}

/// Makes a credential of a role, as the administrator of the server. Its text is shown this once. The newest one before is good
/// for a while longer, so that programs can change over; all others of the role end at once.
#[utoipa::path(post, path = "/api/admin/service-credentials", tag = "admin", operation_id = "adminCreateServiceCredential",
    request_body = CreateServiceCredential,
    responses((status = 201, body = CreatedServiceCredential), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateServiceCredential>,
) -> Result<(StatusCode, Json<CreatedServiceCredential>), ApiError> {
    let made = app
        .control()
        .create_service_credential(&caller, &body.role, body.previous_ends_in_seconds)
        .await?;
    let answer = CreatedServiceCredential {
        id: made.credential.id.to_string(),
        role: made.credential.role.to_string(),
        value: made.text,
        created_at: made.credential.created_at.into(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Ends a credential at once, as the administrator of the server.
#[utoipa::path(delete, path = "/api/admin/service-credentials/{credentialId}", tag = "admin",
    operation_id = "adminDeleteServiceCredential", params(("credentialId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .delete_service_credential(&caller, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(view: ServiceCredentialView) -> ServiceCredential {
    let credential = view.credential;
    ServiceCredential {
        id: credential.id.to_string(),
        role: credential.role.to_string(),
        value: format!(
            "{}{}{}",
            credential.role.prefix(),
            "*".repeat(20),
            credential.suffix
        ),
        created_at: credential.created_at.into(),
        ends_at: credential.ends_at.map(Into::into),
        last_used_at: view.last_used_at.map(Into::into),
    }
}
