//! What is the same for every request.
//!
//! Order from the outside in: request id, CORS, toolbox paths to the proxy with their bytes untouched,
//! tidy paths for everything else, the event socket, the router; on the way out the error body and the
//! headers that every answer has.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alcove_control::Control;
use alcove_edge::{Edge, RequestId};
use alcove_storage::registry::Registry;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CONTENT_DISPOSITION, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Uri};
use socketioxide::SocketIo;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::{ApiError, Subject, finish};
use crate::{events, routes};

/// The newest release of the original whose operations are the measure. Its command line warns when the
/// server names a newer one than itself.
const API_VERSION: HeaderValue = HeaderValue::from_static("0.190.0");
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-daytona-api-version");
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The largest body of an API call. Files go through the toolbox, which has no limit of ours.
const BODY_MAX_BYTES: usize = 1 << 20;

/// What the operator decides about the HTTP face.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How clients reach this server, such as `http://127.0.0.1:3000`; no slash at the end.
    pub public_url: String,
    /// Where clients leave build contexts. None where there is no such place.
    pub object_storage: Option<ObjectStorage>,
    /// The registry that is served under `/v2/`.
    pub registry: Option<Registry>,
}

/// Where clients find the object storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStorage {
    /// Such as `https://127.0.0.1:3001`.
    pub url: String,
    /// The same for clients that may not trust the certificate and do without, where they are let in without.
    pub plain_url: String,
    pub bucket: String,
    pub region: String,
}

/// The whole server as a service. Clones are cheap and are the same one.
#[derive(Clone)]
pub struct App {
    parts: Arc<Parts>,
}

struct Parts {
    control: Control,
    edge: Edge,
    public_url: String,
    toolbox_url: String,
    object_storage: Option<ObjectStorage>,
    registry: Option<Registry>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("public_url", &self.parts.public_url)
            .finish_non_exhaustive()
    }
}

/// [`App`] with its routes: what connections are served with.
#[derive(Clone)]
pub struct AppService {
    app: App,
    inner: BoxCloneSyncService<Request<Body>, Response, Infallible>,
    events: SocketIo,
}

impl fmt::Debug for AppService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.app.fmt(f)
    }
}

impl App {
    pub fn new(control: Control, edge: Edge, options: &Options) -> Self {
        let public_url = options.public_url.trim_end_matches('/').to_owned();
        Self {
            parts: Arc::new(Parts {
                control,
                edge,
                toolbox_url: format!("{public_url}/toolbox"),
                public_url,
                object_storage: options.object_storage.clone(),
                registry: options.registry.clone(),
            }),
        }
    }

    /// Builds the routes. Must be called within a runtime.
    pub fn into_service(self) -> AppService {
        let (event_layer, events) = events::layer(self.clone());
        let router = routes::router()
            .fallback(no_such_route)
            .method_not_allowed_fallback(async || ApiError::wrong_method())
            .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
            .with_state(self.clone());
        // The socket's layer goes around the router, since it takes its path before routes are matched.
        let inner = event_layer.layer_on(router);
        let app = self.clone();
        let dispatch = tower::service_fn(move |request: Request<Body>| {
            let app = app.clone();
            let inner = inner.clone();
            async move { app.dispatch(inner, request).await }
        });
        let inner = cors().layer(dispatch);
        AppService {
            app: self,
            inner: BoxCloneSyncService::new(inner),
            events,
        }
    }

    pub(crate) fn control(&self) -> &Control {
        &self.parts.control
    }

    pub(crate) fn public_url(&self) -> &str {
        &self.parts.public_url
    }

    pub(crate) fn toolbox_url(&self) -> &str {
        &self.parts.toolbox_url
    }

    pub(crate) fn object_storage(&self) -> Option<&ObjectStorage> {
        self.parts.object_storage.as_ref()
    }

    /// Host and port of the registry, as the names of images have it. None where there is no registry.
    pub(crate) fn registry_host(&self) -> Option<&str> {
        self.parts.registry.as_ref()?;
        let url = &self.parts.public_url;
        Some(url.split_once("://").map_or(url.as_str(), |(_, host)| host))
    }

    async fn dispatch(
        &self,
        inner: Router,
        mut request: Request<Body>,
    ) -> Result<Response, Infallible> {
        if Edge::<Control>::serves(request.uri().path()) {
            return Ok(self.parts.edge.handle(request).await);
        }
        if let Some(registry) = &self.parts.registry
            && Registry::serves(request.uri().path())
        {
            return Ok(registry.handle(request).await);
        }
        if let Some(tidy) = tidy(request.uri()) {
            *request.uri_mut() = tidy;
        }
        inner.oneshot(request).await
    }
}

impl AppService {
    pub(crate) async fn close(&self) {
        self.events.close().await;
        self.app.parts.edge.shutdown().await;
    }
}

impl Service<Request<Body>> for AppService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // All services below are always ready; each call has its own clone.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move {
            let id: Arc<str> = uuid::Uuid::now_v7().simple().to_string().into();
            let method = request.method().clone();
            let uri = request.uri().clone();
            request.extensions_mut().insert(RequestId(Arc::clone(&id)));
            // A panic is one request's misfortune. What handlers share is behind locks that outlive it.
            let response = match AssertUnwindSafe(inner.oneshot(request))
                .catch_unwind()
                .await
            {
                Ok(answered) => answered?,
                Err(payload) => panicked(&*payload),
            };
            let subject = Subject {
                method: &method,
                path: uri.path(),
                request_id: &id,
            };
            let mut response = finish(response, &subject);
            let headers = response.headers_mut();
            headers.insert(API_VERSION_HEADER, API_VERSION);
            if let Ok(id) = HeaderValue::from_str(&id) {
                headers.insert(REQUEST_ID_HEADER, id);
            }
            tracing::debug!(
                request.id = &*id,
                http.method = %method,
                http.path = uri.path(),
                status = response.status().as_u16(),
                "answered"
            );
            Ok(response)
        })
    }
}

async fn no_such_route(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::no_such_route(&method, uri.path())
}

fn panicked(payload: &(dyn Any + Send)) -> Response {
    let text = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned());
    tracing::error!(
        panic = text.as_deref().unwrap_or("no text"),
        "handler panicked"
    );
    ApiError::panicked().into_response()
}

/// Any origin, no cookies: a page must bring its key itself, so it can do no more than its user could.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::PATCH,
            Method::POST,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .expose_headers([
            API_VERSION_HEADER,
            REQUEST_ID_HEADER,
            CONTENT_DISPOSITION,
            RETRY_AFTER,
        ])
}

/// The URI with repeated slashes joined and the last one dropped; None if there are none. Clients join a
/// base that ends in a slash with a path that starts with one.
fn tidy(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let is_socket = path.ends_with("/socket.io/");
    if !path.contains("//") && (!path.ends_with('/') || path == "/" || is_socket) {
        return None;
    }
    let mut tidied = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        tidied.push('/');
        tidied.push_str(segment);
    }
    if tidied.is_empty() || is_socket {
        tidied.push('/');
    }
    if let Some(query) = uri.query() {
        tidied.push('?');
        tidied.push_str(query);
    }
    tidied.parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn slashes_are_joined_and_queries_kept() {
        for (before, after) in [
            ("//api//sandbox/", Some("/api/sandbox")),
            ("/api/sandbox/?a=//", Some("/api/sandbox?a=//")),
            ("/api/sandbox", None),
            ("/", None),
            ("//", Some("/")),
            ("/api/socket.io/?EIO=4", None),
            ("/api//socket.io/?EIO=4", Some("/api/socket.io/?EIO=4")),
            ("/api/snapshots/a%2Fb", None),
        ] {
            let uri = before.parse::<Uri>().unwrap();
            assert_eq!(
                tidy(&uri).map(|uri| uri.to_string()).as_deref(),
                after,
                "{before}"
            );
        }
    }
}
