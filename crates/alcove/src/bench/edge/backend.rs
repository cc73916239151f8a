//! What serves on a port of a sandbox: a listener in its network, and this process behind it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use super::super::toolbox::subject::Subject;
use super::network::Network;

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a page holds.
const PAGE: [u8; 1024] = [b'x'; 1024];
static PIECE: [u8; 64 << 10] = [b'y'; 64 << 10];

/// Ends with its drop.
pub struct Backend {
    pub port: u16,
    /// As the host reaches it.
    pub address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Backend {
    pub fn start(subject: &Subject) -> anyhow::Result<Self> {
        let process = subject.agent.pid;
        let routes = std::fs::read_to_string(format!("/proc/{process}/net/fib_trie"))
            .context("cannot read the sandbox's routes")?;
        let ip = own_address(&routes).context("the sandbox has no address")?;
        let network = Network::of(u32::try_from(process)?)?;
        let listener = network.within(|| {
            let listener = TcpListener::bind("0.0.0.0:0").context("cannot listen in there")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        let port = listener.local_addr()?.port();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                connections.spawn(async move {
                    // Whoever asked hears of a failure.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer))
                        .with_upgrades()
                        .await;
                });
            }
        });
        Ok(Self {
            port,
            address: SocketAddr::from((ip, port)),
            _serving: serving,
        })
    }
}

/// The address that a network's own routes name beside those of loopback.
fn own_address(routes: &str) -> Option<Ipv4Addr> {
    let mut last = None;
    for line in routes.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" && last.is_some_and(|last| !last.is_loopback()) {
            return last;
        }
    }
    None
}

/// `GET /` is a page, `GET /N` so many bytes, a POST is read to its end, and a WebSocket is held open.
async fn answer(request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    if request.headers().contains_key(UPGRADE) {
        tokio::spawn(async move {
            if let Ok(upgraded) = hyper::upgrade::on(request).await {
                let mut upgraded = TokioIo::new(upgraded);
                // Until the other side has left.
                let _ = upgraded.read(&mut [0; 16]).await;
            }
        });
        let mut response = Response::new(full(&[]));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        return Ok(response);
    }
    if request.method() == Method::POST {
        let mut body = request.into_body();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame?.data_ref().map_or(0, Bytes::len);
        }
        return Ok(Response::new(full(received.to_string().as_bytes())));
    }
    let asked = request.uri().path().trim_start_matches('/');
    if asked.is_empty() {
        return Ok(Response::new(full(&PAGE)));
    }
    Ok(Response::new(content(asked.parse()?)))
}

fn full(bytes: &[u8]) -> Body {
    let bytes = Full::new(Bytes::copy_from_slice(bytes));
    bytes.map_err(|never| match never {}).boxed_unsync()
}

/// So many bytes, in pieces that cost nothing to make.
pub fn content(bytes: u64) -> Body {
    let pieces = stream::unfold(bytes, |left| async move {
        let next = usize::try_from(left)
            .unwrap_or(PIECE.len())
            .min(PIECE.len());
        let piece = Bytes::from_static(&PIECE[..next]);
        (next > 0).then(|| (Ok(Frame::data(piece)), left - next as u64))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// # Errors
/// Another number of bytes has arrived than were sent.
pub fn ensure_whole(received: u64, bytes: u64) -> anyhow::Result<()> {
    ensure!(received == bytes, "{received} of {bytes} bytes came");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandboxs_own_address_is_found_among_its_routes() {
        let routes = "Local:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.1.0.0\n        \
                      /16 link UNICAST\n     |-- 10.1.0.3\n        /32 host LOCAL\n";
        assert_eq!(own_address(routes), Some(Ipv4Addr::new(10, 1, 0, 3)));
        assert_eq!(own_address(""), None);
    }
}
