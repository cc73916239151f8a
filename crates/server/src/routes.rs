//! All routes, and who may call them.

pub(crate) mod actions;
pub(crate) mod auth;
pub(crate) mod daytona;
pub(crate) mod device;
pub(crate) mod mcp;
pub(crate) mod page;
pub(crate) mod sso;
pub(crate) mod vercel;

use axum::Router;
use http::Method;

use crate::app::App;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Public,
    /// Everyone; what is in the body says who asks, and is refused like a bad key where it is none.
    Body,
    /// Everyone; the code in the body says who asks, and is refused in the words of OAuth where it is none.
    Grant,
    /// Holders of an API key, and whoever has signed in.
    Key,
    /// Programs, by the credential of their role.
    Service,
    /// A runner, by its key.
    Runner,
    /// A proxy that is no part of the server, by its key.
    Proxy,
}

/// One route. Handlers enforce the access themselves, by asking for the caller; a test calls every route
/// of this list without a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// In lower case.
    pub method: &'static str,
    pub path: &'static str,
    pub access: Access,
}

/// Declares routes once, for the router and for the list that tests go through.
macro_rules! routes {
    ($($method:ident $path:literal, $access:ident => $handler:path;)*) => {
        pub(super) const ROUTES: &[crate::routes::Route] = &[$(crate::routes::Route {
            method: stringify!($method),
            path: $path,
            access: crate::routes::Access::$access,
        }),*];

        pub(super) fn router() -> axum::Router<crate::app::App> {
            axum::Router::new()$(.route($path, axum::routing::$method($handler)))*
        }
    };
}
pub(crate) use routes;

/// Every route of the server's own API but the toolbox proxy and the event socket, which are no routes of the
/// router.
pub fn all_routes() -> impl Iterator<Item = &'static Route> {
    daytona::ROUTES
        .iter()
        .chain(actions::ROUTES)
        .chain(mcp::ROUTES)
        .chain(auth::ROUTES)
        .chain(device::ROUTES)
        .chain(sso::ROUTES)
}

/// Whether everyone may ask this.
pub(crate) fn is_public(method: &Method, path: &str) -> bool {
    all_routes().any(|route| {
        matches!(route.access, Access::Public | Access::Body | Access::Grant)
            && route.path == path
            && route.method.eq_ignore_ascii_case(method.as_str())
    })
}

/// Every route of Vercel Sandbox's API, each of which is also there below `/api`.
pub const VERCEL_ROUTES: &[Route] = vercel::ROUTES;

/// The server's own pages, which are no part of the API.
pub const PAGE_ROUTES: &[Route] = page::ROUTES;

pub(crate) fn router() -> Router<App> {
    daytona::router()
        .merge(actions::router())
        .merge(mcp::router())
        .merge(auth::router())
        .merge(device::router())
        .merge(sso::router())
        .merge(page::router())
        .merge(vercel::router())
}
