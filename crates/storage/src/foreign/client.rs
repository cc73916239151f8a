//! Requests to the store, by the HTTP client and the TLS that the rest of the program has.

use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector as Connect, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use tower_http::timeout::TimeoutBody;

/// A store that is there takes a connection within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Until an answer begins. What is sent before, 16 MiB at most, counts.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);
/// Silence after which an answer counts as broken off.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Connections that wait for the next request.
const IDLE_CONNECTIONS: usize = 8;
/// Stores close them after a while; a request on one that is closed fails.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// Makes clients of hyper. Of the options, none is looked at: they are those above.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hyper;

impl Connect for Hyper {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed = |source: std::io::Error| object_store::Error::Generic {
            store: "S3",
            source: Box::new(source),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(failed)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(https);
        Ok(HttpClient::new(Sender { client }))
    }
}

#[derive(Debug)]
struct Sender {
    client: Client<HttpsConnector<HttpConnector>, HttpRequestBody>,
}

#[async_trait]
impl HttpService for Sender {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(uri) = without_plus(request.uri()) {
            *request.uri_mut() = uri;
        }
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.client.request(request))
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Timeout, error))?
            .map_err(|error| {
                let kind = if error.is_connect() {
                    HttpErrorKind::Connect
                } else {
                    HttpErrorKind::Request
                };
                HttpError::new(kind, error)
            })?;
        let (head, body) = answer.into_parts();
        let body = TimeoutBody::new(SILENCE_LIMIT, body)
            .map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// The same address with the spaces of its query as they are signed. Not every store takes a plus for one.
fn without_plus(uri: &Uri) -> Option<Uri> {
    let (path, query) = (uri.path(), uri.query()?);
    if !query.contains('+') {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    let changed = format!("{path}?{}", query.replace('+', "%20"));
    parts.path_and_query = Some(changed.parse().ok()?);
    Uri::from_parts(parts).ok()
}
