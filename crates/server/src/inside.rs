//! The server as its own client: handlers that carry out what a client would ask for by several requests.
//!
//! A request goes the way of all others, from the dispatch on, with the caller's credentials. So it is let in, counted,
//! refused and logged as if the caller had sent it.

use alcove_actions::{Api, ApiBody, Unreachable};
use alcove_edge::Arrival;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::app::App;
use crate::error::ApiError;

/// Not a release of the original's SDKs: it is taken for the newest.
const VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-daytona-sdk-version"),
    HeaderValue::from_static("dev"),
);
const SOURCE: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-daytona-source"),
    HeaderValue::from_static("alcove-actions"),
);

/// What says who asks, and for which organization.
const CREDENTIALS: [HeaderName; 6] = [
    AUTHORIZATION,
    COOKIE,
    ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-csrf-token"),
    HeaderName::from_static("x-daytona-organization-id"),
];

/// The routes, for the handlers that ask others.
#[derive(Clone)]
struct Routes(Router);

/// The server, on behalf of the one who sent a request.
pub(crate) struct Inside {
    app: App,
    routes: Router,
    credentials: HeaderMap,
    arrival: Option<Arrival>,
}

impl Inside {
    /// Whether handlers of this path ask others.
    pub(crate) fn is_wanted(path: &str) -> bool {
        path.starts_with("/api/actions") || path == "/mcp"
    }

    /// Lets the handler of a request ask others.
    pub(crate) fn offer(request: &mut Request<Body>, routes: Router) {
        request.extensions_mut().insert(Routes(routes));
    }
}

impl FromRequestParts<App> for Inside {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Some(Routes(routes)) = parts.extensions.remove::<Routes>() else {
            return Err(ApiError::no_credentials());
        };
        let mut credentials = HeaderMap::new();
        for name in CREDENTIALS {
            for value in parts.headers.get_all(&name) {
                credentials.append(name.clone(), value.clone());
            }
        }
        Ok(Self {
            app: app.clone(),
            routes,
            credentials,
            arrival: parts.extensions.get().copied(),
        })
    }
}

#[async_trait]
impl Api for Inside {
    async fn send(&self, request: Request<ApiBody>) -> Result<Response<ApiBody>, Unreachable> {
        let mut request = request.map(Body::new);
        if let Some(arrival) = self.arrival {
            request.extensions_mut().insert(arrival);
        }
        let headers = request.headers_mut();
        headers.extend(self.credentials.clone());
        headers.insert(VERSION.0, VERSION.1);
        headers.insert(SOURCE.0, SOURCE.1);
        let response = self.app.answer(self.routes.clone(), request).await;
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}
