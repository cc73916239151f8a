//! Signing in by the identity provider of an organization. The paths are our own, and the page at `/auth/sso` asks for them.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{ArriveBySso, DepartBySso, SignInSession, SsoDeparture};
use alcove_control::SsoArrival;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::SET_COOKIE;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Asking, BodyOf};
use crate::routes::auth::{begun, with_cookie};
use crate::routes::page;
use crate::session;

crate::routes::routes! {
    post "/api/auth/sso/depart", Body => depart;
    post "/api/auth/sso/arrive", Body => arrive;
}

/// Says where a browser is to go that signs in by the identity provider of an organization, and gives it a cookie to bring back
/// within ten minutes. The provider sends it back to `/auth/sso`.
#[utoipa::path(post, path = "/api/auth/sso/depart", tag = "auth", operation_id = "departBySso",
    request_body = DepartBySso, security(()),
    responses((status = 200, body = SsoDeparture), (status = 400, body = ErrorBody),
        (status = 401, description = "This provider lets nobody in", body = ErrorBody),
        (status = 403, description = "A page of another origin asks", body = ErrorBody),
        (status = 503, description = "The provider does not answer", body = ErrorBody)))]
pub(crate) async fn depart(
    State(app): State<App>,
    Asking { client, .. }: Asking,
    BodyOf(body): BodyOf<DepartBySso>,
) -> Result<Response, ApiError> {
    if !client.is_own_page {
        return Err(ApiError::foreign_page());
    }
    let back = page::sso_url(app.public_url());
    let departure = app.control().depart_by_sso(&body.provider, &back).await?;
    let cookie = session::sso_cookie(client, &departure.cookie, departure.lasts.as_secs());
    let answer = Json(SsoDeparture { url: departure.url });
    Ok(with_cookie(answer.into_response(), cookie))
}

/// Begins a session for who comes back from the identity provider of an organization. It is of that organization alone, and does
/// not stand for all of its user. Who comes for the first time becomes a user and a member.
#[utoipa::path(post, path = "/api/auth/sso/arrive", tag = "auth", operation_id = "arriveBySso",
    request_body = ArriveBySso, security(()),
    responses((status = 200, body = SignInSession, description = "Sets the session's cookie"),
        (status = 400, body = ErrorBody),
        (status = 401, description = "The browser was not sent to the provider of late, or the provider does not say who it is",
            body = ErrorBody),
        (status = 403, description = "The address is of no domain that is let in, or its user is no member any more",
            body = ErrorBody),
        (status = 429, description = "After too many failures", body = ErrorBody),
        (status = 503, description = "The provider does not answer", body = ErrorBody)))]
pub(crate) async fn arrive(
    State(app): State<App>,
    Asking { client, .. }: Asking,
    headers: HeaderMap,
    BodyOf(body): BodyOf<ArriveBySso>,
) -> Result<Response, ApiError> {
    // As with a password: nobody is to work in an account that is not theirs.
    if !client.is_own_page {
        return Err(ApiError::foreign_page());
    }
    let arrival = SsoArrival {
        state: body.state,
        code: body.code.unwrap_or_default(),
        cookie: session::sso_text(client, &headers)
            .unwrap_or_default()
            .to_owned(),
        redirect_uri: page::sso_url(app.public_url()),
        address: client.address,
    };
    let mut answer = begun(client, app.control().arrive_by_sso(arrival).await?);
    let forget = session::sso_cookie(client, "", 0);
    answer
        .headers_mut()
        .extend(forget.map(|cookie| (SET_COOKIE, cookie)));
    Ok(answer)
}
