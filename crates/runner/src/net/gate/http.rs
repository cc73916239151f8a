//! Requests that are not encrypted: each says whom it means in its `Host`, so each is looked at.
//!
//! What goes on is what was understood here, written anew; bytes that two readers could take for different requests never
//! reach the other side. Bodies stream both ways. WebSockets go through; other protocols that a connection could be
//! switched to do not.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alcove_domain::HostName;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{BUFFER, CONNECT_PATIENCE, NAME_PATIENCE, Way};

/// How long a kept connection may stay without a request, and a request without its end.
const HEAD_PATIENCE: Duration = Duration::from_mins(1);

/// The longest head of a request.
const HEAD_MAX: usize = 64 << 10;

/// Headers that are about one connection, not about the request (RFC 9110, 7.6.1).
const OF_CONNECTION: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "http2-settings",
];

type Body = Either<Incoming, Full<Bytes>>;

/// One connection of a sandbox, and the one that belongs to it outside.
struct Exchange {
    way: Way,
    /// Where requests are sent; made with the first one.
    outside: tokio::sync::Mutex<Option<SendRequest<Incoming>>>,
    /// Drives the connection outside, and ends it when this is dropped.
    drivers: Mutex<JoinSet<()>>,
    /// All that were let through: the connection is cut when one of them is closed.
    names: Mutex<Vec<HostName>>,
    tunnel: Mutex<Option<Tunnel>>,
}

/// Both sides of a connection that has been switched to another protocol.
struct Tunnel {
    inside: OnUpgrade,
    outside: OnUpgrade,
}

pub(super) async fn pass(way: Way, stream: TcpStream) -> io::Result<()> {
    let names = Arc::clone(&way.names);
    let exchange = Arc::new(Exchange {
        way,
        outside: tokio::sync::Mutex::default(),
        drivers: Mutex::default(),
        names: Mutex::default(),
        tunnel: Mutex::default(),
    });
    let served = async {
        let service = {
            let exchange = Arc::clone(&exchange);
            service_fn(move |request| Arc::clone(&exchange).answer(request))
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD_MAX)
            .half_close(true)
            .auto_date_header(false)
            .preserve_header_case(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        connection.await.map_err(io::Error::other)?;
        let tunnel = lock(&exchange.tunnel).take();
        match tunnel {
            Some(tunnel) => tunnel.relay().await,
            None => Ok(()),
        }
    };
    tokio::select! {
        () = names.closed_to(|list| lock(&exchange.names).iter().all(|name| list.allows(name))) => Ok(()),
        served = served => served,
    }
}

impl Exchange {
    /// # Errors
    /// From the connection outside. The sandbox's own ends with it, as if there were but one.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        let name = match name_of(&head, self.way.destination.port()) {
            Ok(name) => name,
            Err(error) => return Ok(refusal(StatusCode::BAD_REQUEST, &format!("{error}\n"))),
        };
        let destination = *self.way.destination.ip();
        let is_allowed = self.way.names.is_open_for(&name, destination);
        self.way.note(&name, is_allowed);
        if !is_allowed {
            let text = format!(
                "this sandbox may not reach {name} at {}: it is not in its domainAllowList, or is elsewhere\n",
                self.way.destination.ip()
            );
            return Ok(refusal(StatusCode::FORBIDDEN, &text));
        }
        self.remember(name);
        let is_switch = prepare(&mut head);
        let inside = is_switch
            .then(|| head.extensions.remove::<OnUpgrade>())
            .flatten();

        let mut outside = self.outside.lock().await;
        let is_kept = match outside.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_kept {
            *outside = Some(self.connect().await?);
        }
        let sender = outside.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let sent = sender.send_request(Request::from_parts(head, body)).await;
        let mut response = sent.map_err(io::Error::other)?;
        drop(outside);

        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let inside = inside.ok_or(io::ErrorKind::InvalidData)?;
            let outside = hyper::upgrade::on(&mut response);
            *lock(&self.tunnel) = Some(Tunnel { inside, outside });
        } else {
            strip(response.headers_mut());
        }
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(Either::Left))
    }

    fn remember(&self, name: HostName) {
        let mut names = lock(&self.names);
        // No more of them than stand open for the address.
        if !names.contains(&name) {
            names.push(name);
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Incoming>> {
        let stream = self.way.connect().await?;
        let handshake = hyper::client::conn::http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        let mut drivers = lock(&self.drivers);
        // The one before has ended, or nothing would be made anew.
        drivers.abort_all();
        drivers.spawn(async move {
            // Whoever waits for an answer learns of an error there.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

impl Tunnel {
    async fn relay(self) -> io::Result<()> {
        let both = async { tokio::try_join!(self.inside, self.outside) };
        let (inside, outside) = timeout(NAME_PATIENCE + CONNECT_PATIENCE, both)
            .await?
            .map_err(io::Error::other)?;
        let (mut inside, mut outside) = (TokioIo::new(inside), TokioIo::new(outside));
        tokio::io::copy_bidirectional_with_sizes(&mut inside, &mut outside, BUFFER, BUFFER)
            .await
            .map(drop)
    }
}

/// Why a request does not say whom it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NameError {
    #[error(
        "a request must have exactly one Host, and an address in its first line must be of the same host"
    )]
    Ambiguous,
    #[error("the Host of a request must be the name of a host, and its port the one it is sent to")]
    NoName,
    #[error("CONNECT leads to another host than the one that is connected to")]
    Connect,
}

/// Whom a request means. `port` is where it was sent to.
fn name_of(head: &Parts, port: u16) -> Result<HostName, NameError> {
    if head.method == Method::CONNECT {
        return Err(NameError::Connect);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(NameError::Ambiguous);
    };
    let name = name_in(host.as_bytes(), port).ok_or(NameError::NoName)?;
    let in_line = head.uri.authority().map(Authority::as_str);
    if in_line.is_some_and(|authority| name_in(authority.as_bytes(), port) != Some(name.clone())) {
        return Err(NameError::Ambiguous);
    }
    Ok(name)
}

fn name_in(authority: &[u8], port: u16) -> Option<HostName> {
    let authority = str::from_utf8(authority).ok()?;
    let host = match authority.rsplit_once(':') {
        Some((host, given)) => {
            let is_number = given.bytes().all(|byte| byte.is_ascii_digit());
            // An empty one is the usual one.
            let is_same = given.is_empty() || given.parse() == Ok(port);
            (is_number && is_same).then_some(host)?
        }
        None => authority,
    };
    HostName::parse(host)
}

/// Makes a request ready to go on, and says whether it asks for WebSockets.
fn prepare(head: &mut Parts) -> bool {
    let is_switch = is_websocket(&head.headers);
    strip(&mut head.headers);
    // It has been answered here, and the body follows when it comes.
    head.headers.remove(EXPECT);
    if is_switch {
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers
            .insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    head.version = Version::HTTP_11;
    if head.uri.authority().is_some() {
        let path = head.uri.path_and_query().cloned();
        head.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
    is_switch
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let asked = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    asked.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && named_by_connection(headers).contains(&UPGRADE)
}

fn strip(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        // What says where the body ends is no matter of opinion.
        if name != "content-length" && name != "transfer-encoding" && name != HOST {
            headers.remove(name);
        }
    }
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .collect()
}

fn refusal(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::from(text.to_owned())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each is changed by one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn head(line: &str, headers: &[(&str, &str)]) -> Parts {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn name(line: &str, headers: &[(&str, &str)]) -> Result<String, NameError> {
        name_of(&head(line, headers), 80).map(|name| name.to_string())
    }

    #[test]
    fn a_request_means_its_one_host() {
        let is = |name: &str| Ok(name.to_owned());
        assert_eq!(name("GET /", &[("host", "A.Example")]), is("a.example"));
        assert_eq!(name("GET /", &[("host", "a.example.:80")]), is("a.example"));
        assert_eq!(name("GET /", &[("host", "a.example:")]), is("a.example"));
        assert_eq!(
            name("GET http://a.example/x", &[("host", "a.example:80")]),
            is("a.example")
        );
    }

    #[test]
    fn a_request_that_two_readers_could_take_for_different_hosts_is_refused() {
        let ambiguous = Err(NameError::Ambiguous);
        assert_eq!(name("GET /", &[]), ambiguous);
        assert_eq!(
            name("GET /", &[("host", "a.example"), ("host", "b.example")]),
            ambiguous
        );
        assert_eq!(
            name("GET http://b.example/", &[("host", "a.example")]),
            ambiguous
        );
        for host in [
            "",
            "a.example, b.example",
            "a.example:443",
            "a.example:+80",
            "u@a.example",
            "192.0.2.1",
            "[::1]:80",
            "a.example/",
        ] {
            assert_eq!(
                name("GET /", &[("host", host)]),
                Err(NameError::NoName),
                "{host}"
            );
        }
        assert_eq!(
            name("CONNECT b.example:80", &[("host", "a.example")]),
            Err(NameError::Connect)
        );
    }

    #[test]
    fn what_is_about_the_connection_stays_behind() {
        let mut request = head(
            "GET http://a.example/x?y",
            &[
                ("host", "a.example"),
                ("connection", "x-own, Upgrade, Host, content-length"),
                ("x-own", "1"),
                ("upgrade", "h2c"),
                ("http2-settings", "x"),
                ("te", "trailers"),
                ("content-length", "0"),
                ("accept", "*/*"),
                ("expect", "100-continue"),
            ],
        );
        assert!(!prepare(&mut request));
        assert_eq!(request.uri, "/x?y");
        let mut left: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn a_switch_to_websockets_is_passed_on() {
        let mut request = head(
            "GET /",
            &[
                ("host", "a.example"),
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "WebSocket"),
            ],
        );
        assert!(prepare(&mut request));
        assert_eq!(request.headers[UPGRADE], "websocket");
        assert_eq!(request.headers[CONNECTION], "upgrade");
    }

    proptest! {
        #[test]
        fn a_host_is_read_without_a_panic_and_means_a_name_that_stands_in_it(host in "[ -~]{0,30}", port in any::<u16>()) {
            if let Some(name) = name_in(host.as_bytes(), port) {
                prop_assert!(host.to_ascii_lowercase().starts_with(name.as_str()));
            }
        }
    }
}
