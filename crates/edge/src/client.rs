//! Who asks the server itself: from where, whether by TLS, and on behalf of which page.

use std::net::IpAddr;

use alcove_control::Caller;
use http::HeaderName;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::gate::Gate;
use crate::preview::{place, trust};
use crate::proxy::{Arrival, Edge, preview_token};
use crate::{headers, path};

/// What newer browsers say of the page that asks. No page can set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a request came. What a proxy in front of the server says counts if the operator trusts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// None where nobody knows.
    pub address: Option<IpAddr>,
    pub is_https: bool,
    /// Whether no page of another origin asks, as far as the browser says.
    pub is_own_page: bool,
}

/// Whom the server has let in by a way of its own before the proxy saw the request; an extension of a request for the toolbox.
#[derive(Debug, Clone)]
pub struct LetIn(pub Caller);

impl<G: Gate> Edge<G> {
    /// Whether a request for a path of the toolbox brings what it is judged by, good or not.
    pub fn brings_credential(parts: &Parts) -> bool {
        let query = parts.uri.query();
        parts.headers.contains_key(AUTHORIZATION)
            || preview_token(&parts.headers, query).is_some()
            || path::split(parts.uri.path()).is_some_and(|route| {
                let query = query.unwrap_or_default();
                path::signed_file(&parts.method, route.tail, query).is_some()
            })
    }

    /// The sandbox that a path of the toolbox is about, as it names it.
    pub fn sandbox_of(path: &str) -> Option<String> {
        path::split(path).map(|route| route.sandbox.into_owned())
    }

    pub fn client(&self, parts: &Parts) -> Client {
        let previews = &self.shared.previews;
        let arrival = parts.extensions.get::<Arrival>().copied();
        let seen = trust::seen(&previews.trusted_proxies, arrival, &parts.headers);
        Client {
            address: trust::client(&previews.trusted_proxies, arrival, &parts.headers),
            is_https: seen.is_https || previews.is_https,
            is_own_page: is_own_page(parts),
        }
    }
}

/// Whether a request asks for a WebSocket.
pub fn is_websocket(parts: &Parts) -> bool {
    headers::is_websocket_upgrade(&parts.headers)
}

/// What the browser says outright counts before what is told by comparing names: a proxy may have called the host otherwise.
fn is_own_page(parts: &Parts) -> bool {
    match parts.headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin" || site == "none",
        None => place::is_own_origin(&parts.uri, &parts.headers),
    }
}
