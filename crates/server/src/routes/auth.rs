//! Signing in with a password, and what belongs to it. The paths are our own.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    AcceptByLink, BeginTotp, ChangePassword, ConfirmTotp, CreatePasswordLink, InvitationOffer,
    JoinedByLink, LookAtInvitation, NewTotp, PasswordLink, RecoveryCodes, RemoveTotp, SetPassword,
    SignIn, SignInSession,
};
use alcove_control::{Entrance, InvitedAccount, SignedIn};
use alcove_edge::Client;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Asking, Authenticated, BodyOf, PathOf};
use crate::routes::daytona::account::shown;
use crate::routes::page;
use crate::session;

crate::routes::routes! {
    post "/api/auth/sign-in", Body => sign_in;
    get "/api/auth/session", Key => session;
    post "/api/auth/sign-out", Key => sign_out;
    post "/api/auth/sign-out-everywhere", Key => sign_out_everywhere;
    post "/api/auth/password", Key => change_password;
    post "/api/auth/set-password", Body => set_password;
    post "/api/auth/invitation", Body => look_at_invitation;
    post "/api/auth/invitation/accept", Body => accept_invitation;
    post "/api/auth/totp", Key => begin_totp;
    post "/api/auth/totp/confirm", Key => confirm_totp;
    post "/api/auth/totp/remove", Key => remove_totp;
    post "/api/admin/users/{id}/password-link", Key => create_password_link;
}

/// Begins a session for whoever knows a user's password, and has the user's authenticator where there is one (401 with the
/// code `TOTP_REQUIRED` or `TOTP_INVALID`). An unknown user and a wrong password are one answer.
#[utoipa::path(post, path = "/api/auth/sign-in", tag = "auth", operation_id = "signIn",
    request_body = SignIn, security(()),
    responses((status = 200, body = SignInSession, description = "Sets the session's cookie"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 429, description = "After too many failures", body = ErrorBody)))]
pub(crate) async fn sign_in(
    State(app): State<App>,
    Asking { client, .. }: Asking,
    BodyOf(body): BodyOf<SignIn>,
) -> Result<Response, ApiError> {
    // A page of another origin could make somebody work in an account that is not theirs.
    if !client.is_own_page {
        return Err(ApiError::foreign_page());
    }
    let shown = Entrance {
        username: &body.username,
        password: &body.password,
        code: body.code.as_deref(),
        address: client.address,
    };
    Ok(begun(client, app.control().sign_in(shown).await?))
}

pub(super) fn begun(client: Client, begun: SignedIn) -> Response {
    let cookie = session::set_cookie(client, &begun);
    let answer = session_of(begun.user, &begun.session, begun.csrf_token, begun.has_totp);
    with_cookie(Json(answer).into_response(), cookie)
}

fn session_of(
    user: alcove_domain::User,
    session: &alcove_domain::LoginSession,
    csrf_token: String,
    totp_enabled: bool,
) -> SignInSession {
    SignInSession {
        user: shown(user),
        csrf_token,
        totp_enabled,
        created_at: session.created_at.into(),
        idle_expires_at: session.ends_at().into(),
        expires_at: session.expires_at.into(),
        organization_id: session
            .came_by
            .as_ref()
            .map(|by| by.organization_id.to_string()),
    }
}

pub(super) fn with_cookie(mut answer: Response, cookie: Option<HeaderValue>) -> Response {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    answer
}

/// The session that the caller came with.
#[utoipa::path(get, path = "/api/auth/session", tag = "auth", operation_id = "getSession",
    responses((status = 200, body = SignInSession), (status = 401, body = ErrorBody),
        (status = 403, description = "The caller came with a key", body = ErrorBody)))]
pub(crate) async fn session(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Asking { session, .. }: Asking,
) -> Result<Response, ApiError> {
    let found = app.control().current_session(&caller).await?;
    let user = app.control().current_user(&caller).await?;
    let csrf_token = app.control().csrf_token(&session.unwrap_or_default());
    let has_totp = app.control().has_totp(&caller).await?;
    let answer = Json(session_of(user, &found, csrf_token, has_totp));
    Ok(with_cookie(answer.into_response(), None))
}

/// Ends the session that the caller came with.
#[utoipa::path(post, path = "/api/auth/sign-out", tag = "auth", operation_id = "signOut",
    responses((status = 204), (status = 401, body = ErrorBody),
        (status = 403, description = "The caller came with a key", body = ErrorBody)))]
pub(crate) async fn sign_out(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Asking { client, .. }: Asking,
) -> Result<Response, ApiError> {
    app.control().sign_out(&caller).await?;
    Ok(signed_out(client))
}

fn signed_out(client: Client) -> Response {
    with_cookie(
        StatusCode::NO_CONTENT.into_response(),
        session::forget_cookie(client),
    )
}

/// Ends all sessions of the caller's user. Keys stay.
#[utoipa::path(post, path = "/api/auth/sign-out-everywhere", tag = "auth", operation_id = "signOutEverywhere",
    responses((status = 204), (status = 401, body = ErrorBody),
        (status = 403, description = "The key does not stand for all of its user", body = ErrorBody)))]
pub(crate) async fn sign_out_everywhere(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Asking { client, .. }: Asking,
) -> Result<Response, ApiError> {
    app.control().sign_out_everywhere(&caller).await?;
    Ok(signed_out(client))
}

/// Changes the password of who has signed in. All sessions of the user end, and a new one begins.
#[utoipa::path(post, path = "/api/auth/password", tag = "auth", operation_id = "changePassword",
    request_body = ChangePassword,
    responses((status = 200, body = SignInSession, description = "Sets the new session's cookie"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, description = "The current password is wrong, or the caller came with a key", body = ErrorBody),
        (status = 429, description = "After too many failures", body = ErrorBody)))]
pub(crate) async fn change_password(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Asking { client, .. }: Asking,
    BodyOf(body): BodyOf<ChangePassword>,
) -> Result<Response, ApiError> {
    let (current, new) = (&body.current_password, &body.new_password);
    let changed = app
        .control()
        .change_password(&caller, current, new, client.address)
        .await?;
    Ok(begun(client, changed))
}

/// Sets the password of the user whom a link is for, once. All sessions of the user end.
#[utoipa::path(post, path = "/api/auth/set-password", tag = "auth", operation_id = "setPassword",
    request_body = SetPassword, security(()),
    responses((status = 204), (status = 400, body = ErrorBody),
        (status = 401, description = "The link has expired or was used", body = ErrorBody)))]
pub(crate) async fn set_password(
    State(app): State<App>,
    BodyOf(body): BodyOf<SetPassword>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .use_password_link(&body.token, &body.password)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a link of an invitation offers, for whoever has it.
#[utoipa::path(post, path = "/api/auth/invitation", tag = "auth", operation_id = "lookAtInvitation",
    request_body = LookAtInvitation, security(()),
    responses((status = 200, body = InvitationOffer), (status = 400, body = ErrorBody),
        (status = 401, description = "The link has expired or was used", body = ErrorBody)))]
pub(crate) async fn look_at_invitation(
    State(app): State<App>,
    BodyOf(body): BodyOf<LookAtInvitation>,
) -> Result<Response, ApiError> {
    let offer = app.control().look_at_invitation(&body.token).await?;
    let invitation = offer.invitation;
    let answer = InvitationOffer {
        email: invitation.email,
        organization_name: offer.organization_name,
        invited_by: invitation.invited_by,
        role: invitation.access.role.as_str().to_owned(),
        expires_at: invitation.expires_at.into(),
        needs_account: offer.needs_account,
        proves_email: offer.proves_email,
    };
    Ok(with_cookie(Json(answer).into_response(), None))
}

/// Makes whoever has a link of an invitation a member, with a new account and its password where one is needed.
#[utoipa::path(post, path = "/api/auth/invitation/accept", tag = "auth", operation_id = "acceptInvitationByLink",
    request_body = AcceptByLink, security(()),
    responses((status = 200, body = JoinedByLink), (status = 400, body = ErrorBody),
        (status = 401, description = "The link has expired or was used", body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody)))]
pub(crate) async fn accept_invitation(
    State(app): State<App>,
    BodyOf(body): BodyOf<AcceptByLink>,
) -> Result<Json<JoinedByLink>, ApiError> {
    let account = InvitedAccount {
        username: body.username,
        name: body.name,
        password: body.password,
    };
    let joined = app.control().accept_by_link(&body.token, account).await?;
    Ok(Json(JoinedByLink {
        username: joined.username,
        organization_id: joined.organization.to_string(),
    }))
}

/// Begins with an authenticator, for who has signed in and shows the password again. It is not asked for until it is
/// confirmed by a code of it.
#[utoipa::path(post, path = "/api/auth/totp", tag = "auth", operation_id = "beginTotp",
    request_body = BeginTotp,
    responses((status = 200, body = NewTotp), (status = 400, body = ErrorBody),
        (status = 403, description = "The password is wrong, or the caller came with a key", body = ErrorBody),
        (status = 409, description = "There is an authenticator", body = ErrorBody),
        (status = 429, description = "After too many failures", body = ErrorBody)))]
pub(crate) async fn begin_totp(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Asking { client, .. }: Asking,
    BodyOf(body): BodyOf<BeginTotp>,
) -> Result<Response, ApiError> {
    let begun = app
        .control()
        .begin_totp(&caller, &body.password, client.address)
        .await?;
    let answer = NewTotp {
        secret: begun.secret,
        url: begun.url,
    };
    Ok(with_cookie(Json(answer).into_response(), None))
}

/// Confirms an authenticator by a code of it. From then on one is asked for at each sign-in.
#[utoipa::path(post, path = "/api/auth/totp/confirm", tag = "auth", operation_id = "confirmTotp",
    request_body = ConfirmTotp,
    responses((status = 200, body = RecoveryCodes),
        (status = 400, description = "The code is wrong", body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "There is nothing to confirm", body = ErrorBody)))]
pub(crate) async fn confirm_totp(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<ConfirmTotp>,
) -> Result<Response, ApiError> {
    let recovery_codes = app.control().confirm_totp(&caller, &body.code).await?;
    let answer = Json(RecoveryCodes { recovery_codes });
    Ok(with_cookie(answer.into_response(), None))
}

/// Removes the authenticator of who shows the password and a code again.
#[utoipa::path(post, path = "/api/auth/totp/remove", tag = "auth", operation_id = "removeTotp",
    request_body = RemoveTotp,
    responses((status = 204), (status = 400, description = "There is no authenticator", body = ErrorBody),
        (status = 403, description = "The password or the code is wrong", body = ErrorBody),
        (status = 429, description = "After too many failures", body = ErrorBody)))]
pub(crate) async fn remove_totp(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Asking { client, .. }: Asking,
    BodyOf(body): BodyOf<RemoveTotp>,
) -> Result<StatusCode, ApiError> {
    let (password, code) = (&body.password, &body.code);
    app.control()
        .remove_totp(&caller, password, code, client.address)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a link by which a user sets a password, as the administrator of the server. It ends the one before.
#[utoipa::path(post, path = "/api/admin/users/{id}/password-link", tag = "admin",
    operation_id = "adminCreatePasswordLink", params(("id" = String, Path)),
    request_body = CreatePasswordLink,
    responses((status = 201, body = PasswordLink), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn create_password_link(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<CreatePasswordLink>,
) -> Result<(StatusCode, Json<PasswordLink>), ApiError> {
    let removes_totp = body.remove_totp.unwrap_or(false);
    let link = app
        .control()
        .create_password_link(&caller, &id, removes_totp)
        .await?;
    let answer = PasswordLink {
        url: page::password_url(app.public_url(), &link.text),
        expires_at: link.expires_at.into(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}
