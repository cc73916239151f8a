//! What is the same for every request.
//!
//! Order from the outside in: previews to the proxy, request id, CORS, toolbox paths to the proxy with their bytes untouched,
//! tidy paths for everything else, the event socket, the router; on the way out the error body and the
//! headers that every answer has.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alcove_actions::Room;
use alcove_control::Control;
use alcove_edge::{Edge, LetIn, RequestId};
use alcove_storage::registry::Registry;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CONTENT_DISPOSITION, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Uri};
use ipnet::IpNet;
use socketioxide::SocketIo;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tracing::{Instrument as _, Span, field::Empty};

use crate::error::{ApiError, Subject, finish, told_path};
use crate::inside::Inside;
use crate::metrics::Requests;
use crate::throttle::Tally;
use crate::{events, previews, routes, session};

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
    /// Where previews of ports are shown, as `HOST` or `HOST:PORT`, below which each has a name. None leaves it to the
    /// public URL.
    pub preview_host: Option<String>,
    /// Addresses of proxies in front of the server, whose word on a client (`X-Forwarded-For`, `-Proto`) counts for previews.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether browsers are shown a page of ours before the first one of a program in a sandbox.
    pub warns_of_previews: bool,
    /// How clients open SSH sessions, such as `ssh -p 2222 {{TOKEN}}@host`.
    pub ssh_command: String,
    /// What clients are told of the SSH gateway beside that.
    pub ssh_gateway: Option<SshGateway>,
    /// Where clients leave build contexts. None where there is no such place.
    pub object_storage: Option<ObjectStorage>,
    /// The registry that is served under `/v2/`.
    pub registry: Option<Registry>,
    /// Origins of pages that may use the tools, such as `https://example.com`, beside the server's own.
    pub mcp_origins: Vec<String>,
}

/// By what clients know the SSH gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshGateway {
    /// None where the operator's command says where it is.
    pub address: Option<(String, u16)>,
    /// A line of OpenSSH's.
    pub host_key: String,
    pub fingerprint: String,
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
    preview_host: String,
    warns_of_previews: bool,
    ssh_command: String,
    ssh_gateway: Option<SshGateway>,
    object_storage: Option<ObjectStorage>,
    registry: Option<Registry>,
    room: Room,
    mcp_origins: Vec<String>,
    requests: Requests,
    closing: CancellationToken,
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
    /// Where a WebSocket of the API is.
    pub(crate) fn socket_url(&self, path: &str) -> String {
        // `http` becomes `ws`, and `https` becomes `wss`.
        let rest = self.parts.public_url.strip_prefix("http");
        format!("ws{}{path}", rest.unwrap_or_default())
    }

    /// Must be called within a runtime.
    pub fn new(control: Control, options: &Options) -> Self {
        let edge = Edge::new(control.clone(), previews::of(options));
        let public_url = options.public_url.trim_end_matches('/').to_owned();
        let mcp_origins = mcp_origins(&public_url, &options.mcp_origins);
        Self {
            parts: Arc::new(Parts {
                control,
                edge,
                toolbox_url: format!("{public_url}/toolbox"),
                preview_host: previews::host(options),
                warns_of_previews: options.warns_of_previews,
                public_url,
                ssh_command: options.ssh_command.clone(),
                ssh_gateway: options.ssh_gateway.clone(),
                object_storage: options.object_storage.clone(),
                registry: options.registry.clone(),
                room: Room::default(),
                mcp_origins,
                requests: Requests::default(),
                closing: CancellationToken::new(),
            }),
        }
    }

    /// Builds the routes. Must be called within a runtime.
    pub fn into_service(self) -> AppService {
        let (event_layer, events) = events::layer(self.clone());
        let router = routes::router()
            .fallback(no_such_route)
            .method_not_allowed_fallback(async || ApiError::wrong_method())
            .route_layer(from_fn_with_state(self.clone(), crate::audit::record))
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

    /// Resolves when the server closes: what would not end by itself ends then.
    pub(crate) async fn closing(&self) {
        self.parts.closing.cancelled().await;
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.parts.requests
    }

    pub(crate) fn edge(&self) -> &Edge {
        &self.parts.edge
    }

    pub(crate) fn public_url(&self) -> &str {
        &self.parts.public_url
    }

    pub(crate) fn toolbox_url(&self) -> &str {
        &self.parts.toolbox_url
    }

    /// The URL of a port, as `place` names the sandbox.
    pub(crate) fn preview_url(&self, port: impl fmt::Display, place: impl fmt::Display) -> String {
        let scheme = previews::scheme(&self.parts.public_url);
        format!("{scheme}://{port}-{place}.{}", self.parts.preview_host)
    }

    /// The host below which ports have names.
    pub(crate) fn preview_host(&self) -> &str {
        &self.parts.preview_host
    }

    /// Whether browsers are shown a page of ours before the first one of a program in a sandbox.
    pub(crate) fn warns_of_previews(&self) -> bool {
        self.parts.warns_of_previews
    }

    /// The command that opens a session, with a place for the token, and by what the gateway is known.
    pub(crate) fn ssh_gateway(&self) -> Option<(&str, &SshGateway)> {
        let gateway = self.parts.ssh_gateway.as_ref()?;
        Some((&self.parts.ssh_command, gateway))
    }

    /// The command line that opens a session with this token.
    pub(crate) fn ssh_command(&self, token: &str) -> String {
        self.parts.ssh_command.replace("{{TOKEN}}", token)
    }

    pub(crate) fn object_storage(&self) -> Option<&ObjectStorage> {
        self.parts.object_storage.as_ref()
    }

    /// Pages that may use the tools.
    pub(crate) fn mcp_origins(&self) -> &[String] {
        &self.parts.mcp_origins
    }

    /// Memory for files inside of JSON.
    pub(crate) fn room(&self) -> &Room {
        &self.parts.room
    }

    /// Host and port of the registry, as the names of images have it. None where there is no registry.
    pub(crate) fn registry_host(&self) -> Option<&str> {
        self.parts.registry.as_ref()?;
        let url = &self.parts.public_url;
        Some(url.split_once("://").map_or(url.as_str(), |(_, host)| host))
    }

    /// Answers a request that the server makes itself, as if it had come from outside.
    pub(crate) async fn answer(&self, inner: Router, request: Request<Body>) -> Response {
        let service =
            tower::service_fn(|request: Request<Body>| self.dispatch(inner.clone(), request));
        answered(service, request, None).await
    }

    /// A key, a token or a signature is the proxy's to judge. Who has signed in here, and brings nothing else, is let in here.
    async fn toolbox(&self, request: Request<Body>) -> Response {
        let (mut parts, body) = request.into_parts();
        if !Edge::<Control>::brings_credential(&parts) {
            match session::at_toolbox(&mut parts, self).await {
                Ok(Some(caller)) => {
                    parts.extensions.insert(LetIn(caller));
                }
                Ok(None) => {}
                Err(refused) => return refused.into_response(),
            }
        }
        let request = Request::from_parts(parts, body);
        self.parts.edge.toolbox(request).await
    }

    async fn dispatch(
        &self,
        inner: Router,
        mut request: Request<Body>,
    ) -> Result<Response, Infallible> {
        if Edge::<Control>::serves_toolbox(request.uri().path()) {
            return Ok(self.toolbox(request).await);
        }
        let is_vercel = routes::vercel::inner_path(request.uri().path()).is_some();
        if !is_vercel
            && let Some(registry) = &self.parts.registry
            && Registry::serves(request.uri().path())
        {
            return Ok(registry.handle(request).await);
        }
        if let Some(tidy) = tidy(request.uri()) {
            *request.uri_mut() = tidy;
        }
        if is_vercel {
            routes::vercel::choose_team(&mut request);
            if let Some(inner) = without_prefix(request.uri()) {
                *request.uri_mut() = inner;
            }
        }
        if Inside::is_wanted(request.uri().path()) {
            Inside::offer(&mut request, inner.clone());
        }
        inner.oneshot(request).await
    }
}

impl AppService {
    pub(crate) async fn close(&self) {
        self.app.parts.closing.cancel();
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        let edge = &self.app.parts.edge;
        // What a program in a sandbox says is its own: none of what our answers have is put to it.
        if let Some(preview) = edge.preview_of(&request) {
            let edge = edge.clone();
            return Box::pin(async move { Ok(edge.preview(preview, request).await) });
        }
        let app = self.app.clone();
        let span = span_of(&request);
        let answered = async move { Ok(answered(inner, request, Some(&app)).await) };
        Box::pin(answered.instrument(span))
    }
}

/// What is told of a request where the operator has traces sent elsewhere. Nobody makes it otherwise.
fn span_of(request: &Request<Body>) -> Span {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    tracing::info_span!(
        target: "alcove_trace",
        "request",
        http.request.method = request.method().as_str(),
        url.path = &*told_path(request.uri().path()),
        http.route = Empty,
        http.response.status_code = Empty,
        request.id = Empty,
        error = Empty,
        traceparent = header("traceparent"),
    )
}

/// Gives the request its id, and the answer what every answer has.
async fn answered<S>(service: S, mut request: Request<Body>, outside: Option<&App>) -> Response
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    let id: Arc<str> = uuid::Uuid::now_v7().simple().to_string().into();
    let method = request.method().clone();
    let uri = request.uri().clone();
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let began = outside.map(|app| app.requests().begin());
    let limited = outside.filter(|app| app.control().limits_requests());
    let (mut parts, body) = request.into_parts();
    let tally = limited.map(|app| (app, Tally::new(app, &parts)));
    let admitted = tally.as_ref().map(|(app, tally)| {
        parts.extensions.insert(tally.clone());
        tally.admit(app.control(), &parts)
    });
    let response = if let Some(Err(refused)) = admitted {
        refused.into_response()
    } else {
        // A panic is one request's misfortune. What handlers share is behind locks that outlive it.
        let request = Request::from_parts(parts, body);
        let answered = AssertUnwindSafe(service.oneshot(request)).catch_unwind();
        match answered.await {
            Ok(answered) => answered.unwrap_or_else(|never| match never {}),
            Err(payload) => panicked(&*payload),
        }
    };
    let path = told_path(uri.path());
    let subject = Subject {
        method: &method,
        path: &path,
        request_id: &id,
    };
    let mut response = finish(response, &subject);
    if let Some((app, tally)) = &tally {
        tally.finish(app.control(), &mut response);
    }
    if let Some((app, began)) = outside.zip(began) {
        app.requests().end(response.status(), began.elapsed());
    }
    let (span, status) = (Span::current(), response.status());
    span.record("request.id", &*id);
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error", format!("the answer was {}", status.as_u16()));
    }
    let headers = response.headers_mut();
    headers.insert(API_VERSION_HEADER, API_VERSION);
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID_HEADER, id);
    }
    tracing::debug!(
        request.id = &*id,
        http.method = %method,
        http.path = &*path,
        status = response.status().as_u16(),
        "answered"
    );
    response
}

async fn no_such_route(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::no_such_route(&method, uri.path())
}

/// The server's own origin and the operator's, each with its port: without one, any port would do.
fn mcp_origins(public_url: &str, more: &[String]) -> Vec<String> {
    let all = std::iter::once(public_url).chain(more.iter().map(String::as_str));
    let with_port = all.filter_map(|origin| {
        let uri = origin.parse::<Uri>().ok()?;
        let (scheme, host) = (uri.scheme_str()?, uri.host()?);
        let port = uri.port_u16().unwrap_or(match scheme {
            "https" => 443,
            _ => 80,
        });
        Some(format!("{scheme}://{host}:{port}"))
    });
    with_port.collect()
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

/// The URI of a route of Vercel Sandbox's without the `/api` that most clients have before it.
fn without_prefix(uri: &Uri) -> Option<Uri> {
    let path = routes::vercel::inner_path(uri.path())?;
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
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
    // The rest stays: over HTTP/2 the host is there and nowhere else.
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(tidied.parse().ok()?);
    Uri::from_parts(parts).ok()
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
            ("https://a:1//mcp/?b", Some("https://a:1/mcp?b")),
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
