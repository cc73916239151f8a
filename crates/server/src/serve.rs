//! Connections: HTTP/1.1 and HTTP/2, with TLS and without, on one port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use alcove_edge::Arrival;
use alcove_linger::Lingering;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::App;
use crate::redirect::Redirect;
use crate::tls::{Begun, Tls};

/// A connection may be silent for this long before or between requests. SDKs keep theirs for 75 s and
/// send a request a second time when an old one turns out closed, so ours must live longer.
const SILENT_FOR: Duration = Duration::from_secs(90);
const H2_PING_EVERY: Duration = Duration::from_secs(30);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
const H2_STREAMS: u32 = 256;
/// After a failed accept, mostly for want of file descriptors, others must get a chance to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come in.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Tls>,
}

impl Listener {
    /// One that speaks TLS, or lets each client choose, as `tls` says.
    pub fn with_tls(tcp: TcpListener, tls: Tls) -> Self {
        Self {
            tcp,
            tls: Some(tls),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

/// Serves until `shutdown` is cancelled, then takes no more connections, lets open requests end for at
/// most `grace`, and cuts what is left.
///
/// WebSockets and event sockets are closed at the start of the shutdown: they end by no other means.
pub async fn serve(
    listener: impl Into<Listener>,
    app: App,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let service = app.into_service();
    let close = service.clone();
    let handler = service_fn(move |request: hyper::Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let body = Body::new(Lingering::new(&parts.headers, body));
        service
            .clone()
            .oneshot(hyper::Request::from_parts(parts, body))
    });
    serve_with(listener.into(), handler, shutdown, grace, async move {
        close.close().await;
    })
    .await;
}

/// The same for any service; `closing` ends what would not end by itself.
pub async fn serve_with<S, B>(
    listener: Listener,
    service: S,
    shutdown: CancellationToken,
    grace: Duration,
    closing: impl Future<Output = ()>,
) where
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Listener { tcp, tls } = listener;
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = tcp.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection =
                    arrived(stream, peer, tls.clone(), service.clone(), shutdown.clone());
                let cut = cut.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(tcp);
    connections.close();
    closing.await;
    if tokio::time::timeout(grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            open = connections.len(),
            "cutting connections that did not end"
        );
        cut.cancel();
        connections.wait().await;
    }
}

/// Whether a failed accept is the peer's doing and says nothing about the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// A new connection: with TLS or without, whichever the client begins with and the listener takes.
async fn arrived<S, B>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Answers are written whole; waiting for more to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off packet delay");
    }
    // The service is told how each of its requests came.
    let told = |is_tls| {
        service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Arrival { peer, is_tls });
            service.call(request)
        })
    };
    let Some(tls) = tls else {
        return connection(stream, told(false), shutdown).await;
    };
    let begun = tokio::select! {
        begun = tls.begin(stream) => begun,
        () = shutdown.cancelled() => return,
    };
    match begun {
        Ok(Begun::Plain(stream)) => connection(stream, told(false), shutdown).await,
        Ok(Begun::Misled(stream)) => connection(stream, Redirect::here(), shutdown).await,
        Ok(Begun::Tls(stream)) => connection(*stream, told(true), shutdown).await,
        Err(error) => tracing::debug!(%error, "a connection did not begin"),
    }
}

async fn connection<IO, S, B>(stream: IO, service: S, shutdown: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENT_FOR);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_TIMEOUT)
        .max_concurrent_streams(H2_STREAMS);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}
