//! Who may come in: by basic credentials, or by a bearer token that these are exchanged for.

use std::fmt;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Response, StatusCode};

use super::answer::{Failure, answer};

/// Longest header that is looked at.
const AUTHORIZATION_MAX_BYTES: usize = 4096;

/// Tells who comes with a secret.
pub trait Door: Send + Sync + fmt::Debug + 'static {
    /// None for a secret that is not, or no longer, good.
    fn visitor(&self, secret: &str) -> Option<Visitor>;
}

/// Who came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The first part of the names of all repositories that are open to them.
    pub owner: String,
    /// How much longer the secret is good.
    pub seconds_left: u64,
}

/// # Errors
/// [`Failure::unauthorized`] without good credentials.
pub(crate) fn visitor(door: &dyn Door, headers: &HeaderMap) -> Result<Visitor, Failure> {
    secret(headers)
        .and_then(|secret| door.visitor(&secret))
        .ok_or_else(Failure::unauthorized)
}

/// The password of basic credentials, whatever the user's name, or the bearer token.
fn secret(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    if text.len() > AUTHORIZATION_MAX_BYTES {
        return None;
    }
    let (scheme, value) = text.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some(password.to_owned())
}

/// The secret is a token already: it says itself whom it is for and until when.
pub(crate) fn token(
    method: &Method,
    headers: &HeaderMap,
    visitor: &Visitor,
) -> Result<Response<Body>, Failure> {
    if *method != Method::GET {
        return Err(Failure::unsupported());
    }
    let secret = secret(headers).ok_or_else(Failure::unauthorized)?;
    let body = serde_json::json!({
        "token": secret, "access_token": secret, "expires_in": visitor.seconds_left
    });
    let headers = [(CONTENT_TYPE, "application/json".to_owned())];
    Ok(answer(
        StatusCode::OK,
        &headers,
        Body::from(body.to_string()),
    ))
}
