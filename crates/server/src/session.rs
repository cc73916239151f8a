//! The cookie of somebody who has signed in.
//!
//! A browser sends it along whoever asks, so it alone opens only what changes nothing. Anything else must have beside it
//! what only a page of this server can know, and may not come from a page of another origin, as far as the browser tells.

use alcove_control::{Caller, Control, OrganizationChoice, SignedIn};
use alcove_domain::OrganizationId;
use alcove_edge::{Client, Edge, is_websocket};
use axum::extract::{FromRequestParts as _, RawPathParams};
use http::header::{COOKIE, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::app::App;
use crate::error::ApiError;

/// Names that start so are kept from programs in sandboxes, and not taken from them, wherever they are shown.
const NAME: &str = "alcove-session";
/// Where a browser can be told that no other host may set it, nor anybody without TLS.
const GUARDED_NAME: &str = "__Host-alcove-session";
/// What a browser brings back from the identity provider of an organization.
const SSO_NAME: &str = "alcove-session-sso";
const GUARDED_SSO_NAME: &str = "__Host-alcove-session-sso";
const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
pub(crate) const ORGANIZATION: HeaderName = HeaderName::from_static("x-daytona-organization-id");

/// Parts of a path that name an organization.
const ORGANIZATION_PARTS: [&str; 2] = ["organizationId", "orgId"];

fn name(client: Client) -> &'static str {
    if client.is_https { GUARDED_NAME } else { NAME }
}

/// What the browser keeps of a session that begins.
pub(crate) fn set_cookie(client: Client, begun: &SignedIn) -> Option<HeaderValue> {
    let lasts = begun
        .session
        .expires_at
        .duration_since(begun.session.created_at);
    cookie(client, name(client), &begun.text, lasts.as_secs())
}

/// What makes the browser forget it.
pub(crate) fn forget_cookie(client: Client) -> Option<HeaderValue> {
    cookie(client, name(client), "", 0)
}

fn sso_name(client: Client) -> &'static str {
    if client.is_https {
        GUARDED_SSO_NAME
    } else {
        SSO_NAME
    }
}

/// What a browser keeps that is sent to an identity provider.
pub(crate) fn sso_cookie(client: Client, text: &str, seconds: i64) -> Option<HeaderValue> {
    cookie(client, sso_name(client), text, seconds)
}

/// The same as it is brought back.
pub(crate) fn sso_text(client: Client, headers: &HeaderMap) -> Option<&str> {
    named(sso_name(client), headers)
}

fn cookie(client: Client, name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
    let secure = if client.is_https { "; Secure" } else { "" };
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&cookie).ok()
}

/// The text of the session that a request comes with.
pub(crate) fn text(client: Client, headers: &HeaderMap) -> Option<&str> {
    named(name(client), headers)
}

fn named<'a>(name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(found, value)| (found == name && !value.is_empty()).then_some(value))
}

/// Who comes with a session's cookie.
pub(crate) async fn authenticate(parts: &mut Parts, app: &App) -> Result<Caller, ApiError> {
    let client = app.edge().client(parts);
    let text = text(client, &parts.headers).ok_or_else(ApiError::no_credentials)?;
    let text = text.to_owned();
    if !parts.method.is_safe() {
        let token = parts.headers.get(CSRF_TOKEN);
        let token = token.and_then(|token| token.to_str().ok()).unwrap_or("");
        if !client.is_own_page || !app.control().is_csrf_token(&text, token) {
            return Err(no_csrf_token());
        }
    }
    let (path, named) = organizations(parts, app).await?;
    let choice = OrganizationChoice {
        path: path.as_deref(),
        named: named.as_deref(),
    };
    Ok(app.control().authenticate_session(&text, choice).await?)
}

/// Who comes to the toolbox with a session's cookie and nothing else that would be judged. None where there is no session.
///
/// What is read there may be a stranger's, and a WebSocket there runs programs: so a page of another origin is refused whatever it
/// asks, as far as the browser tells, and a WebSocket must say that its page is ours.
pub(crate) async fn at_toolbox(parts: &mut Parts, app: &App) -> Result<Option<Caller>, ApiError> {
    let client = app.edge().client(parts);
    let Some(text) = text(client, &parts.headers) else {
        return Ok(None);
    };
    let text = text.to_owned();
    let is_websocket = is_websocket(parts);
    if !client.is_own_page || (is_websocket && !parts.headers.contains_key(ORIGIN)) {
        return Err(ApiError::foreign_page());
    }
    let token = parts.headers.get(CSRF_TOKEN);
    let token = token.and_then(|token| token.to_str().ok()).unwrap_or("");
    if !parts.method.is_safe() && !app.control().is_csrf_token(&text, token) {
        return Err(no_csrf_token());
    }
    let (_, named) = organizations(parts, app).await?;
    // A WebSocket of a browser has no headers to name one in: it is where the sandbox is.
    let of_sandbox = Edge::<Control>::sandbox_of(parts.uri.path())
        .filter(|_| named.is_none())
        .and_then(|id| app.control().organization_of_sandbox(&id));
    let choice = OrganizationChoice {
        path: of_sandbox.as_ref().map(OrganizationId::as_str),
        named: named.as_deref(),
    };
    let caller = app.control().authenticate_session(&text, choice).await?;
    Ok(Some(caller))
}

/// Who opens the event socket with a session's cookie, in an organization of choice. A page of another origin can open a WebSocket
/// with the cookie, and read it: so the browser must say that the page is ours.
pub(crate) async fn at_socket(
    parts: &Parts,
    app: &App,
    organization: Option<&str>,
) -> Option<Caller> {
    let client = app.edge().client(parts);
    let text = text(client, &parts.headers)?;
    if !client.is_own_page || !parts.headers.contains_key(ORIGIN) {
        return None;
    }
    let choice = OrganizationChoice {
        path: None,
        named: organization,
    };
    let caller = app.control().authenticate_session(text, choice).await;
    caller.ok()
}

fn no_csrf_token() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "CSRF_TOKEN_INVALID",
        "A request with a session must have its X-CSRF-Token, and come from a page of this server",
    )
}

/// The organizations that a request is about: by its path, and by its header.
pub(crate) async fn organizations(
    parts: &mut Parts,
    app: &App,
) -> Result<(Option<String>, Option<String>), ApiError> {
    let named = match parts.headers.get(ORGANIZATION) {
        None => None,
        Some(value) => match value.to_str() {
            Ok(text) => Some(text.to_owned()).filter(|text| !text.is_empty()),
            Err(_) => {
                return Err(ApiError::invalid(&[
                    "X-Daytona-Organization-ID must be the id of an organization".to_owned(),
                ]));
            }
        },
    };
    // A path without variable parts has none to read.
    let path = RawPathParams::from_request_parts(parts, app).await.ok();
    let path = path.and_then(|path| {
        let mut named = path.iter();
        let found = named.find(|(name, _)| ORGANIZATION_PARTS.contains(name));
        found.map(|(_, value)| value.to_owned())
    });
    Ok((path, named))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn client(is_https: bool) -> Client {
        Client {
            address: None,
            is_https,
            is_own_page: true,
        }
    }

    #[test]
    fn a_cookie_is_for_this_host_alone_and_by_tls_only_where_there_is_tls() {
        let plain = cookie(client(false), NAME, "x", 5).unwrap();
        assert_eq!(
            plain,
            "alcove-session=x; Path=/; Max-Age=5; HttpOnly; SameSite=Strict"
        );
        let guarded = cookie(client(true), GUARDED_NAME, "x", 5).unwrap();
        assert_eq!(
            guarded,
            "__Host-alcove-session=x; Path=/; Max-Age=5; HttpOnly; SameSite=Strict; Secure"
        );
    }

    #[test]
    fn one_that_anybody_could_have_set_is_not_taken_where_there_is_tls() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=b; alcove-session=one"));
        assert_eq!(text(client(false), &headers), Some("one"));
        assert_eq!(text(client(true), &headers), None);
        headers.append(
            COOKIE,
            HeaderValue::from_static("__Host-alcove-session=two"),
        );
        assert_eq!(text(client(true), &headers), Some("two"));
    }
}
