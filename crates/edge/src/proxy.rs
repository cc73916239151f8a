//! One request through the proxy.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use alcove_control::{Control, DialError};
use axum::body::Body;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Failure;
use crate::gate::{Gate, Refusal, Target};
use crate::pool::{Connection, IDLE_FOR, Lease, Pool};
use crate::{headers, path, tunnel};

/// A unix socket answers at once or not at all.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// What one connection may hold in memory while the other side is slow.
const BUFFER_MAX_BYTES: usize = 256 * 1024;
/// How often open requests are counted as activity: well below the shortest interval, one minute.
const ACTIVITY_EVERY: Duration = Duration::from_secs(15);

/// The proxy. Clones are cheap and are the same one.
pub struct Edge<G = Control> {
    shared: Arc<Shared<G>>,
}

struct Shared<G> {
    gate: G,
    pool: Arc<Pool>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl<G> Clone for Edge<G> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<G> fmt::Debug for Edge<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

impl<G: Gate> Edge<G> {
    /// Must be called within a runtime.
    pub fn new(gate: G) -> Self {
        let edge = Self {
            shared: Arc::new(Shared {
                gate,
                pool: Arc::default(),
                tasks: TaskTracker::new(),
                shutdown: CancellationToken::new(),
            }),
        };
        let keeper = edge.clone();
        edge.shared.tasks.spawn(async move { keeper.keep().await });
        edge
    }

    /// Whether a path is the proxy's to answer.
    pub fn serves(path: &str) -> bool {
        path::split(path).is_some()
    }

    /// Answers one request. Dropping the future closes the connection to the agent, which gives up a transfer;
    /// a command goes on without its caller, as the toolbox API has it.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        match self.forward(&mut parts, body).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(&parts),
        }
    }

    /// Closes idle connections, cuts open WebSockets and ends the proxy's own tasks.
    ///
    /// Plain requests are not cut: whoever serves them decides how long they may take.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.pool.clear();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Drops old connections and keeps sandboxes with open requests from looking idle.
    async fn keep(&self) {
        loop {
            tokio::select! {
                () = self.shared.shutdown.cancelled() => return,
                () = tokio::time::sleep(ACTIVITY_EVERY.min(IDLE_FOR)) => {}
            }
            for sandbox in self.shared.pool.sweep() {
                self.shared.gate.record_activity(&sandbox);
            }
        }
    }

    async fn forward(&self, parts: &mut Parts, body: Body) -> Result<Response<Body>, Failure> {
        let route = path::split(parts.uri.path()).ok_or(Failure::NoSuchPath)?;
        let bearer = bearer(&parts.headers).ok_or(Failure::Refused(Refusal::Unauthenticated))?;
        let target = self
            .shared
            .gate
            .admit(bearer, &route.sandbox)
            .await
            .map_err(Failure::Refused)?;

        let is_counted = parts
            .headers
            .get(headers::SKIP_ACTIVITY)
            .is_none_or(|value| value != "true");
        let lease = self
            .shared
            .pool
            .lease(&target, is_counted)
            .ok_or(Failure::TooManyOpen)?;
        if is_counted {
            self.shared.gate.record_activity(&target.sandbox);
        }

        let is_upgrade = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && headers::is_websocket_upgrade(&parts.headers);
        let client_side = parts
            .extensions
            .remove::<OnUpgrade>()
            .filter(|_| is_upgrade);
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = parts.method.clone();
        *outgoing.uri_mut() = agent_uri(route.tail, parts.uri.query());
        *outgoing.headers_mut() = std::mem::take(&mut parts.headers);

        let mut response = self.send(&target, outgoing).await?;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        match (client_side, switches) {
            (Some(client), true) => {
                let agent = hyper::upgrade::on(&mut response);
                let shutdown = self.shared.shutdown.clone();
                self.shared
                    .tasks
                    .spawn(tunnel::run(client, agent, lease, shutdown));
                headers::prepare_response(response.headers_mut(), true);
                Ok(response.map(|_| Body::empty()))
            }
            (None, true) => Err(Failure::Lost),
            (_, false) => {
                headers::prepare_response(response.headers_mut(), false);
                *response.version_mut() = Version::HTTP_11;
                Ok(response.map(|body| {
                    Body::new(LeasedBody {
                        body,
                        _lease: lease,
                    })
                }))
            }
        }
    }

    /// Sends the request over a kept connection or a fresh one, exactly once.
    ///
    /// A kept connection may turn out to be closed before a byte of the request was written; hyper then
    /// hands the request back, and only then the next connection is tried.
    async fn send(
        &self,
        target: &Target,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            let kept = self.shared.pool.take(target);
            let is_fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.dial(target).await?,
            };
            headers::prepare_request(request.headers_mut(), &connection.token);
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                        self.keep_when_done(target.clone(), connection);
                    }
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_fresh => request = unsent,
                    Some(_) => return Err(Failure::Unreachable),
                    None => {
                        let cause = error.into_error();
                        tracing::debug!(
                            sandbox.id = %target.sandbox,
                            error = &cause as &dyn std::error::Error,
                            "agent did not answer"
                        );
                        return Err(Failure::Lost);
                    }
                },
            }
        }
    }

    /// Puts the connection back once request and answer are through. It closes itself if either is
    /// given up.
    fn keep_when_done(&self, target: Target, mut connection: Connection) {
        let pool = Arc::clone(&self.shared.pool);
        let shutdown = self.shared.shutdown.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                ready = connection.sender.ready() => if ready.is_ok() && !shutdown.is_cancelled() {
                    pool.put(&target, connection);
                },
                // The answer may still be on its way; dropping the handle does not cut it.
                () = shutdown.cancelled() => {}
            }
        });
    }

    async fn dial(&self, target: &Target) -> Result<Connection, Failure> {
        let dialled = timeout(DIAL_TIMEOUT, self.shared.gate.dial(&target.sandbox)).await;
        let agent = match dialled {
            Ok(Ok(agent)) => agent,
            Ok(Err(DialError::NotRunning)) => return Err(Failure::NotRunning),
            Ok(Err(DialError::Unavailable)) | Err(_) => return Err(Failure::Unreachable),
        };
        let mut token = HeaderValue::from_str(&agent.token).map_err(|_| Failure::Unreachable)?;
        token.set_sensitive(true);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_MAX_BYTES)
            .handshake(TokioIo::new(agent.stream))
            .await
            .map_err(|_| Failure::Unreachable)?;
        let pool = Arc::downgrade(&self.shared.pool);
        let target = target.clone();
        // Not in the task tracker: it ends when both its handle and its answer are gone, and an answer
        // is its client's.
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(
                    sandbox.id = %target.sandbox,
                    error = &error as &dyn std::error::Error,
                    "connection to the agent ended"
                );
            }
            if let Some(pool) = pool.upgrade() {
                pool.drop_closed(&target);
            }
        });
        Ok(Connection { sender, token })
    }
}

/// The caller's credential. Preview tokens (header `X-Daytona-Preview-Token`, query
/// `DAYTONA_SANDBOX_AUTH_KEY`) and signed file URLs are further forms that belong here; until they are
/// issued, a request that brings only one of those has no usable credential.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn agent_uri(tail: &str, query: Option<&str>) -> Uri {
    let query = query
        .map(path::clean_query)
        .filter(|query| !query.is_empty());
    let text = match query {
        Some(query) => format!("{tail}?{query}"),
        None => tail.to_owned(),
    };
    // Both parts were cut from a URI that had been parsed.
    PathAndQuery::from_maybe_shared(Bytes::from(text))
        .map(Uri::from)
        .unwrap_or_default()
}

/// An answer's body that keeps its request counted as open.
struct LeasedBody {
    body: Incoming,
    _lease: Lease,
}

impl hyper::body::Body for LeasedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
