//! The caller as others know the caller: the identity provider's person, and what dashboards report of a sign-in.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{AccountProvider, CreateLinkedAccount, PendingSsoLink};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};

/// Identity providers that the caller can be linked with: the server's, if it has one, and those of organizations that the caller
/// is linked with.
#[utoipa::path(get, path = "/api/users/account-providers", tag = "users",
    operation_id = "getAvailableAccountProviders",
    responses((status = 200, body = Vec<AccountProvider>), (status = 403, body = ErrorBody)))]
pub(crate) async fn providers(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<AccountProvider>>, ApiError> {
    let found = app.control().list_account_providers(&caller).await?;
    let shown = found.into_iter().map(|it| AccountProvider {
        name: it.id.clone(),
        provider: it.id,
        display_name: it.name,
        linked: it.is_linked,
    });
    Ok(Json(shown.collect()))
}

/// Links the caller, who has signed in, with the person of the identity provider whom `token` means. Its tokens let the caller in
/// from then on.
#[utoipa::path(post, path = "/api/users/linked-accounts", tag = "users", operation_id = "linkAccount",
    request_body = CreateLinkedAccount,
    responses((status = 204), (status = 400, description = "The token is none, or of another user", body = ErrorBody),
        (status = 403, description = "The caller came with a key, or is an administrator", body = ErrorBody),
        (status = 404, description = "There is no such provider", body = ErrorBody)))]
pub(crate) async fn link(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateLinkedAccount>,
) -> Result<StatusCode, ApiError> {
    let (provider, subject) = (&body.provider, &body.user_id);
    app.control()
        .link_account(&caller, provider, subject, body.token.as_deref())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a link away from the caller, who has signed in. Providers of organizations are named by their ids.
#[utoipa::path(delete, path = "/api/users/linked-accounts/{provider}/{providerUserId}", tag = "users",
    operation_id = "unlinkAccount", params(("provider" = String, Path), ("providerUserId" = String, Path)),
    responses((status = 204), (status = 403, description = "The caller came with a key", body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, description = "The user has no password", body = ErrorBody)))]
pub(crate) async fn unlink(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((provider, subject)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .unlink_account(&caller, &provider, &subject)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refused: this server sends no messages to phones. The second factor is an authenticator, at `/api/auth/totp`.
#[utoipa::path(post, path = "/api/users/mfa/sms/enroll", tag = "users", operation_id = "enrollInSmsMfa",
    responses((status = 401, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn enroll_in_sms(_caller: Authenticated) -> Result<StatusCode, ApiError> {
    Err(ApiError::unsupported(
        "This server sends no messages to phones; the second factor is an authenticator, at /api/auth/totp",
    ))
}

/// Puts down in the audit log that the caller accepts the privacy policies of whoever runs the server.
#[utoipa::path(post, path = "/api/users/privacy-policies/accept", tag = "users",
    operation_id = "acceptPrivacyPolicies", responses((status = 204), (status = 401, body = ErrorBody)))]
pub(crate) async fn accept_privacy_policies(_caller: Authenticated) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Puts down in the audit log that the caller has signed in at the identity provider.
#[utoipa::path(post, path = "/api/users/me/logins", tag = "users", operation_id = "recordLogin",
    responses((status = 204), (status = 401, body = ErrorBody)))]
pub(crate) async fn record_login(_caller: Authenticated) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// People of organizations' identity providers whose address is known to be the caller's. Each is another user until the caller
/// says that both are one.
#[utoipa::path(get, path = "/api/users/me/pending-sso-links", tag = "users", operation_id = "listPendingSsoLinks",
    responses((status = 200, body = Vec<PendingSsoLink>), (status = 401, body = ErrorBody),
        (status = 403, description = "The credential does not stand for all of its user", body = ErrorBody)))]
pub(crate) async fn pending(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<PendingSsoLink>>, ApiError> {
    let found = app.control().pending_sso_links(&caller).await?;
    let shown = found.into_iter().map(|it| PendingSsoLink {
        id: it.link.id.to_string(),
        idp_name: it.provider,
        organization_id: it.link.organization_id.to_string(),
        provider_email: Some(it.link.email),
        created_at: it.link.created_at.into(),
        expires_at: it.link.expires_at.into(),
    });
    Ok(Json(shown.collect()))
}

/// Says that one of them is the caller, who has signed in: the provider lets the caller into its organization from then on, with
/// the membership that was made for the person. The user that was made for it is a member no more.
#[utoipa::path(post, path = "/api/users/me/pending-sso-links/{id}/confirm", tag = "users",
    operation_id = "confirmPendingSsoLink", params(("id" = String, Path)),
    responses((status = 204), (status = 403, description = "The caller came with a key, or is an administrator", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn confirm_pending(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().confirm_pending_sso_link(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says that one of them is somebody else. Nothing changes for the person.
#[utoipa::path(delete, path = "/api/users/me/pending-sso-links/{id}", tag = "users",
    operation_id = "dismissPendingSsoLink", params(("id" = String, Path)),
    responses((status = 204), (status = 403, description = "The caller came with a key", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn dismiss_pending(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().dismiss_pending_sso_link(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
