//! Connections: the accept loop, authentication, panics, the end.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alcove_agent_api::{AGENT_TOKEN_HEADER, ErrorCode};
use alcove_linger::Lingering;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::agent::Agent;
use crate::http::error::{self, ApiError};
use crate::http::info;

/// A kept-alive connection lives this long without a request. Above the 75 s that clients ask for, and above
/// the pool of whoever connects to us.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// What one connection may hold in memory of a body that comes in, and of an answer that its client does not take.
const BUFFER_MAX_BYTES: usize = 128 << 10;

/// Pause after a failed accept; most likely no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What answers requests. To put all routes together takes half a millisecond, a third of the agent's start, and whoever made
/// the sandbox waits for one answer alone, the version. So that one needs no routes, and they come behind it.
struct Routes {
    agent: Arc<Agent>,
    router: OnceLock<Router>,
}

impl Routes {
    fn new(agent: Arc<Agent>) -> Self {
        Self {
            agent,
            router: OnceLock::new(),
        }
    }

    fn router(&self) -> &Router {
        self.router
            .get_or_init(|| super::router(self.agent.clone()))
    }

    async fn answer(&self, request: Request<Body>) -> Response {
        let is_for_version = request.method() == Method::GET && request.uri().path() == "/version";
        if is_for_version && self.router.get().is_none() {
            return info::version().await.into_response();
        }
        match self.router().clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Serves until the agent is about to stop and all requests are answered.
pub async fn serve(listener: UnixListener, agent: Arc<Agent>) {
    let routes = Arc::new(Routes::new(agent.clone()));
    let mut is_stopping = agent.is_stopping.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = connections.join_next(), if !connections.is_empty() => {
                // The first is that of the question for the version, and there is time until somebody sends a command.
                routes.router();
                continue;
            }
            _ = is_stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, routes.clone()));
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

async fn serve_connection(stream: tokio::net::UnixStream, routes: Arc<Routes>) {
    let mut is_stopping = routes.agent.is_stopping.subscribe();
    let service = service_fn(move |request: Request<Incoming>| {
        answer(request, routes.clone()).map(Ok::<_, std::convert::Infallible>)
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

async fn answer(request: Request<Incoming>, routes: Arc<Routes>) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let body = Body::new(Lingering::new(&parts.headers, body));
    let token = parts.headers.get(AGENT_TOKEN_HEADER);
    if !token.is_some_and(|token| routes.agent.knows_token(token.as_bytes())) {
        let error = ApiError::new(
            ErrorCode::Unauthorized,
            "the agent's token is missing or wrong",
        );
        return error.to_response(&method, &path);
    }
    let request = Request::from_parts(parts, body);
    // A bug in one request must not end process 1, and with it the sandbox.
    let answered = AssertUnwindSafe(routes.answer(request)).catch_unwind();
    let Ok(response) = answered.await else {
        return error::panicked().to_response(&method, &path);
    };
    error::finish(response, &method, &path).await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use http::StatusCode;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::git::Helpers;
    use crate::home::Home;

    fn routes() -> Routes {
        let config = serde_json::json!({ "sandboxId": "s", "token": "t", "user": "root" });
        let config = serde_json::from_value(config).unwrap();
        let user = crate::passwd::resolve("root", "root:x:0:0::/:/bin/sh\n", "").unwrap();
        let home = Home::new(&config, &user).unwrap();
        Routes::new(Arc::new(
            Agent::new(&config, home, None, Helpers::new(None)).unwrap(),
        ))
    }

    async fn get(routes: &Routes, path: &str) -> (StatusCode, http::HeaderMap, bytes::Bytes) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (parts, body) = routes.answer(request).await.into_parts();
        let body = body.collect().await.unwrap();
        (parts.status, parts.headers, body.to_bytes())
    }

    #[tokio::test]
    async fn the_version_is_told_without_the_routes_and_as_it_is_with_them() {
        let routes = routes();
        let before = get(&routes, "/version").await;
        assert!(routes.router.get().is_none());
        routes.router();
        let (status, mut headers, body) = get(&routes, "/version").await;
        // The router knows the length; behind it the server would.
        headers.remove(http::header::CONTENT_LENGTH);
        assert_eq!(before, (status, headers, body));
    }

    #[tokio::test]
    async fn any_other_request_brings_the_routes() {
        let routes = routes();
        assert_eq!(get(&routes, "/work-dir").await.0, StatusCode::OK);
        assert!(routes.router.get().is_some());
    }
}
