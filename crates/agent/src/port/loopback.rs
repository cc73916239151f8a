//! Requests to what listens inside the sandbox, on its loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::header::{
    CONNECTION, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The kernel itself answers within the sandbox; longer waits only on a listener whose queue is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection is kept for the next request.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Most connections kept for one port.
const MAX_IDLE: usize = 32;

/// Headers of one hop. `trailer` is not among them: trailers are written only where it is present.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that are between the platform and the agent.
const INTERNAL_PREFIX: &str = "x-alcove-";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    #[error("nothing listens on port {port}")]
    NobodyListens { port: u16 },
    #[error("the server on port {port} ended the connection without an answer")]
    NoAnswer { port: u16 },
}

/// A client of all ports, with kept connections.
#[derive(Debug, Clone)]
pub struct Loopback(Client<Connector, Body>);

impl Default for Loopback {
    fn default() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(MAX_IDLE)
            // It repeats a request only if a kept connection turned out to be closed before a byte was written.
            .retry_canceled_requests(true)
            .build(Connector);
        Self(client)
    }
}

impl Loopback {
    /// Sends a request, once, to a path of a port. The caller's headers go along except those of its own hop.
    /// Where the caller asks for another protocol, so does the request.
    ///
    /// # Errors
    /// Nobody listens, or whoever does gives no answer.
    pub async fn send(
        &self,
        port: u16,
        path: PathAndQuery,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, LoopbackError> {
        let host = format!("localhost:{port}");
        // Both are known to be valid: digits, and a path that was parsed.
        let uri = Uri::builder().scheme("http").authority(host.as_str());
        *request.uri_mut() = uri.path_and_query(path).build().unwrap_or_default();
        *request.version_mut() = http::Version::HTTP_11;
        let headers = request.headers_mut();
        strip_hop(headers, true);
        headers.remove(EXPECT);
        if let Ok(host) = HeaderValue::try_from(host) {
            headers.insert(HOST, host);
        }
        self.0.request(request).await.map_err(|error| {
            if error.is_connect() {
                LoopbackError::NobodyListens { port }
            } else {
                LoopbackError::NoAnswer { port }
            }
        })
    }
}

/// Removes what was meant for this hop alone. A change of protocol is passed on; that trailers are understood is as
/// well, in requests.
pub fn strip_hop(headers: &mut HeaderMap, is_request: bool) {
    let upgrade = asked_protocol(headers).cloned();
    let takes_trailers = is_request && has_token(headers, &TE, "trailers");
    let mut unwanted: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    unwanted.extend(HOP_BY_HOP);
    let internal = |name: &&HeaderName| name.as_str().starts_with(INTERNAL_PREFIX);
    unwanted.extend(headers.keys().filter(internal).cloned());
    for name in &unwanted {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// The protocol that the sender wants to change to.
pub fn asked_protocol(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers
        .get(UPGRADE)
        .filter(|_| has_token(headers, &CONNECTION, "upgrade"))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[derive(Debug, Clone)]
struct Connector;

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let port = uri.port_u16().ok_or(io::ErrorKind::InvalidInput)?;
            let connect = async {
                match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                    Ok(stream) => Ok(stream),
                    Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
                }
            };
            let stream = timeout(CONNECT_TIMEOUT, connect).await??;
            // A proxy must not hold small pieces back.
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip_hop(&mut headers, true);
        headers
    }

    #[test]
    fn the_agents_secret_and_headers_of_the_hop_stay_behind() {
        let headers = stripped(&[
            ("x-alcove-agent-token", "secret"),
            ("connection", "keep-alive, X-Of-Hop"),
            ("x-of-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
        ]);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert!(headers.contains_key("cookie") && headers.contains_key("x-forwarded-for"));
    }

    #[test]
    fn a_change_of_protocol_and_trailers_are_passed_on() {
        let headers = stripped(&[
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "websocket"),
            ("te", "gzip, Trailers"),
        ]);
        assert_eq!(headers[UPGRADE], "websocket");
        assert_eq!(headers[CONNECTION], "Upgrade");
        assert_eq!(headers[TE], "trailers");
        assert!(stripped(&[("upgrade", "h2c")]).is_empty());
    }
}
