//! The page that stands before a preview, where the operator wants one: what follows is somebody's program and not the
//! platform's.

use axum::body::Body;
use http::header::{LOCATION, ORIGIN, SET_COOKIE, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use super::headers::{SKIP_WARNING, own_cookie};
use super::page;
use super::place::{self, Place};

/// Where the page's button leads, below the preview. The program behind has no such path while the setting is on.
const ACCEPT: &str = "/accept-daytona-preview-warning";
const ACCEPTED: &str = "alcove-preview-accepted";
/// A day.
const LASTS_SECONDS: u32 = 86_400;

/// The answer to a request that does not go on: the page, or what comes of its button. None for what goes on.
pub(super) fn answer(place: &Place, parts: &Parts, is_https: bool) -> Option<Response<Body>> {
    if place.path == ACCEPT && parts.method == Method::POST {
        return Some(accept(place, parts, is_https));
    }
    let is_skipped = parts
        .headers
        .get(SKIP_WARNING)
        .is_some_and(|value| value == "true");
    let is_shown = parts.method == Method::GET
        && page::is_wanted(&parts.headers)
        && !parts.headers.contains_key(UPGRADE)
        && !is_skipped
        && own_cookie(&parts.headers, ACCEPTED).is_none();
    is_shown.then(|| {
        let prefix = place.prefix.as_deref().unwrap_or_default();
        let query = parts.uri.query();
        let query = query.map(crate::path::clean_query).unwrap_or_default();
        let mark = if query.is_empty() { "" } else { "?" };
        let back = format!("{}{mark}{query}", place.path);
        let back = percent_encoding::utf8_percent_encode(&back, percent_encoding::NON_ALPHANUMERIC);
        page::warning(&format!("{prefix}{ACCEPT}?redirect={back}"))
    })
}

fn accept(place: &Place, parts: &Parts, is_https: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    // Another page must not press the button for a person.
    if parts.headers.contains_key(ORIGIN) && !place::is_own_origin(&parts.uri, &parts.headers) {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    let prefix = place.prefix.as_deref().unwrap_or_default();
    let back = parts.uri.query().and_then(redirect);
    // A path of this preview and nothing else: two slashes begin another host's address, and browsers read `\\` as one.
    let back = back.filter(|back| {
        let mut characters = back.chars();
        characters.next() == Some('/') && !matches!(characters.next(), Some('/' | '\\'))
    });
    let back = back.unwrap_or_else(|| "/".to_owned());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!(
        "{ACCEPTED}=1; Path={prefix}/; Max-Age={LASTS_SECONDS}; HttpOnly; SameSite=Lax{secure}"
    );
    let location = HeaderValue::from_str(&format!("{prefix}{back}"));
    let location = location.unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn redirect(query: &str) -> Option<String> {
    let pair = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("redirect="))?;
    let decoded = percent_encoding::percent_decode_str(pair)
        .decode_utf8()
        .ok()?;
    Some(decoded.into_owned())
}
