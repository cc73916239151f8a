//! Sending a request and reading its answer.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ApiError, ClientError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than what servers wait, so that no request goes out on a connection that is being closed.
const IDLE_FOR: Duration = Duration::from_mins(1);
/// A create that is held for the sandbox to start, and then some.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_mins(2);

/// What can go wrong while a body is made.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// What a request carries.
pub(crate) enum Payload {
    Nothing,
    Bytes {
        content_type: String,
        bytes: Bytes,
    },
    /// Sent as it comes.
    Stream {
        content_type: String,
        body: RequestBody,
    },
}

fn whole(bytes: Bytes) -> RequestBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// One server and the headers that go to it.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: HttpClient<HttpsConnector<HttpConnector>, RequestBody>,
    tls: Arc<ClientConfig>,
    base: Arc<str>,
    headers: HeaderMap,
    timeout: Option<Duration>,
}

/// Checks that `url` is an address of http or https and drops slashes at its end.
fn checked(url: &str) -> Result<&str, ClientError> {
    let parsed: Uri = url.parse().map_err(|source| ClientError::BadUrl {
        url: url.to_owned(),
        source: Some(source),
    })?;
    match parsed.scheme_str() {
        Some("http" | "https") if parsed.authority().is_some() && parsed.query().is_none() => {
            Ok(url.trim_end_matches('/'))
        }
        _ => Err(ClientError::BadUrl {
            url: url.to_owned(),
            source: None,
        }),
    }
}

/// Trusts what the host trusts, which nobody is asked about for an address without TLS.
fn tls(url: &str) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |source| ClientError::Tls { source };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(io::Error::other(error)))?;
    let builder = if is_https(url) {
        builder.with_native_roots().map_err(failed)?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

/// A scheme has no case.
fn is_https(url: &str) -> bool {
    let scheme = url.split(':').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("https")
}

impl Transport {
    pub(crate) fn new(url: &str, key: &str) -> Result<Self, ClientError> {
        let base = checked(url)?;
        let mut headers = HeaderMap::new();
        if !key.is_empty() {
            let mut value =
                HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ClientError::BadKey)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("alcove/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert("x-daytona-source", HeaderValue::from_static("alcove"));
        // Not a release of the original's SDKs: the server takes it for the newest.
        headers.insert("x-daytona-sdk-version", HeaderValue::from_static("dev"));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let tls = tls(base)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            http,
            tls: Arc::new(tls),
            base: base.into(),
            headers,
            timeout: Some(DEFAULT_TIMEOUT),
        })
    }

    /// The same connections, another base. One of the other scheme has connections of its own.
    pub(crate) fn with_base(&self, url: &str) -> Result<Self, ClientError> {
        let base = checked(url)?;
        let same = if is_https(base) == is_https(&self.base) {
            self.clone()
        } else {
            Self {
                headers: self.headers.clone(),
                timeout: self.timeout,
                ..Self::new(base, "")?
            }
        };
        Ok(Self {
            base: base.into(),
            ..same
        })
    }

    /// How TLS is spoken with the server; None where it is not.
    pub(crate) fn tls(&self) -> Option<Arc<ClientConfig>> {
        is_https(&self.base).then(|| Arc::clone(&self.tls))
    }

    pub(crate) fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// The answer's body; the error of a refusal holds what the server said.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<Bytes, ClientError> {
        let exchange = self.exchange(&method, path, payload);
        match self.timeout {
            None => exchange.await,
            Some(limit) => match tokio::time::timeout(limit, exchange).await {
                Ok(answer) => answer,
                Err(_) => Err(ClientError::Timeout {
                    method,
                    path: path.to_owned(),
                    limit,
                }),
            },
        }
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        payload: Payload,
    ) -> Result<Bytes, ClientError> {
        let body = self.open(method, path, payload).await?;
        collect(method, path, body).await
    }

    /// The answer's body, to be read as it comes. The limit does not apply to it.
    pub(crate) async fn open(
        &self,
        method: &Method,
        path: &str,
        payload: Payload,
    ) -> Result<Incoming, ClientError> {
        let mut request = Request::new(RequestBody::default());
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri(path)?;
        *request.headers_mut() = self.headers.clone();
        let (content_type, body) = match payload {
            Payload::Nothing => (None, whole(Bytes::new())),
            Payload::Bytes {
                content_type,
                bytes,
            } => (Some(content_type), whole(bytes)),
            Payload::Stream { content_type, body } => (Some(content_type), body),
        };
        if let Some(Ok(value)) = content_type.map(HeaderValue::try_from) {
            request.headers_mut().insert(CONTENT_TYPE, value);
        }
        *request.body_mut() = body;
        let response = self
            .http
            .request(request)
            .await
            .map_err(|source| ClientError::Send {
                method: method.clone(),
                path: path.to_owned(),
                source,
            })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = collect(method, path, response.into_body()).await?;
        let refusal = ApiError::read(method.clone(), path.to_owned(), status, &body);
        Err(Box::new(refusal).into())
    }

    /// Sends a request for a path of the server, beside the base's own `/api`.
    pub(crate) async fn pass<B>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let (mut parts, body) = request.into_parts();
        let root = self.base.strip_suffix("/api").unwrap_or(&self.base);
        let path = parts.uri.to_string();
        let url = format!("{root}{path}");
        parts.uri = url.parse().map_err(|source| ClientError::BadUrl {
            url,
            source: Some(source),
        })?;
        for (name, value) in &self.headers {
            parts.headers.insert(name, value.clone());
        }
        let method = parts.method.clone();
        let body = body.map_err(Into::into).boxed_unsync();
        self.http
            .request(Request::from_parts(parts, body))
            .await
            .map_err(|source| ClientError::Send {
                method,
                path,
                source,
            })
    }

    pub(crate) fn uri(&self, path: &str) -> Result<Uri, ClientError> {
        let url = format!("{}{path}", self.base);
        url.parse().map_err(|source| ClientError::BadUrl {
            url,
            source: Some(source),
        })
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A request without a body whose answer is JSON.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, ClientError> {
        let body = self.send(method.clone(), path, Payload::Nothing).await?;
        decode(method, path, &body)
    }

    /// A request with a JSON body whose answer is JSON.
    pub(crate) async fn call_with<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let payload = json(&method, path, body)?;
        let body = self.send(method.clone(), path, payload).await?;
        decode(method, path, &body)
    }
}

async fn collect(method: &Method, path: &str, body: Incoming) -> Result<Bytes, ClientError> {
    let body = body
        .collect()
        .await
        .map_err(|source| ClientError::receive(method, path, source))?;
    Ok(body.to_bytes())
}

pub(crate) fn json(
    method: &Method,
    path: &str,
    body: &impl Serialize,
) -> Result<Payload, ClientError> {
    let bytes = serde_json::to_vec(body).map_err(|source| ClientError::Encode {
        method: method.clone(),
        path: path.to_owned(),
        source,
    })?;
    Ok(Payload::Bytes {
        content_type: "application/json".to_owned(),
        bytes: bytes.into(),
    })
}

fn decode<T: DeserializeOwned>(method: Method, path: &str, body: &Bytes) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|source| ClientError::Decode {
        method,
        path: path.to_owned(),
        source,
    })
}

/// Makes a text safe as one path segment or query value.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn addresses_of_http_and_https_are_taken_and_others_refused() {
        for (url, has_tls) in [
            ("https://example.org/api/", true),
            ("HTTPS://example.org", true),
            ("http://127.0.0.1:3000/api", false),
        ] {
            let transport = Transport::new(url, "k").unwrap();
            assert_eq!(transport.tls().is_some(), has_tls, "{url}");
            assert!(!transport.base.ends_with('/'));
            let other = transport.with_base("https://other.example").unwrap();
            assert!(other.tls().is_some());
            assert_eq!(other.headers, transport.headers);
        }
        for url in ["example.org", "ftp://x", "http://", "http://x/?a=b", ""] {
            let error = Transport::new(url, "k").err();
            assert!(
                matches!(error, Some(ClientError::BadUrl { .. })),
                "{url} {error:?}"
            );
        }
    }

    #[test]
    fn names_and_paths_are_escaped() {
        assert_eq!(escaped("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }
}
