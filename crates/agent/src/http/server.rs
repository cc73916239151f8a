//! Connections: the accept loop, authentication, panics, the end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{AGENT_TOKEN_HEADER, ErrorCode};
use alcove_linger::Lingering;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::agent::Agent;
use crate::http::error::{self, ApiError};

/// A kept-alive connection lives this long without a request. Above the 75 s that clients ask for, and above
/// the pool of whoever connects to us.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// What one connection may hold in memory of a body that comes in, and of an answer that its client does not take.
const BUFFER_MAX_BYTES: usize = 128 << 10;

/// Pause after a failed accept; most likely no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until the agent is about to stop and all requests are answered.
pub async fn serve(listener: UnixListener, agent: Arc<Agent>) {
    let router = super::router(agent.clone());
    let mut is_stopping = agent.is_stopping.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            _ = is_stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, router.clone(), agent.clone()));
            }
            Err(error) => {
                crate::log::error(format_args!("cannot accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(stream: tokio::net::UnixStream, router: Router, agent: Arc<Agent>) {
    let mut is_stopping = agent.is_stopping.subscribe();
    let service = service_fn(move |request: Request<Incoming>| {
        answer(request, router.clone(), agent.clone()).map(Ok::<_, std::convert::Infallible>)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER_MAX_BYTES)
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    // Errors of a connection are its client's; there is nobody to tell.
    tokio::select! {
        _ = &mut connection => return,
        _ = is_stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, router: Router, agent: Arc<Agent>) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let body = Body::new(Lingering::new(&parts.headers, body));
    let token = parts.headers.get(AGENT_TOKEN_HEADER);
    if !token.is_some_and(|token| agent.knows_token(token.as_bytes())) {
        let error = ApiError::new(
            ErrorCode::Unauthorized,
            "the agent's token is missing or wrong",
        );
        return error.to_response(&method, &path);
    }
    let request = Request::from_parts(parts, body);
    // A bug in one request must not end process 1, and with it the sandbox.
    let response = match AssertUnwindSafe(router.oneshot(request))
        .catch_unwind()
        .await
    {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => return error::panicked().to_response(&method, &path),
    };
    error::finish(response, &method, &path).await
}
