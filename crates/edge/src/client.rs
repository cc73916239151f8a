//! Who asks the server itself: from where, whether by TLS, and on behalf of which page.

use std::net::IpAddr;

use http::HeaderName;
use http::request::Parts;

use crate::gate::Gate;
use crate::preview::{place, trust};
use crate::proxy::{Arrival, Edge};

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

impl<G: Gate> Edge<G> {
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

/// What the browser says outright counts before what is told by comparing names: a proxy may have called the host otherwise.
fn is_own_page(parts: &Parts) -> bool {
    match parts.headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin" || site == "none",
        None => place::is_own_origin(&parts.uri, &parts.headers),
    }
}
