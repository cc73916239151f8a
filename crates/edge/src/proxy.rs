//! One request through the proxy.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alcove_control::{Control, DialError, Error, ToolboxCall, Traffic, TrafficVisitor, Visitor};
use alcove_domain::SandboxState;
use axum::body::Body;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Failure;
use crate::gate::{Gate, Server, Target};
use crate::pool::{Connection, IDLE_FOR, Lease, Pool};
use crate::preview::{PREVIEW_TOKEN, Previews};
use crate::watch::Seen;
use crate::{headers, path, tunnel};

/// A socket inside of a sandbox answers at once or not at all.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// What one connection may hold in memory while the other side is slow.
const BUFFER_MAX_BYTES: usize = 256 * 1024;
/// How often open requests are counted as activity: well below the shortest interval, one minute.
const ACTIVITY_EVERY: Duration = Duration::from_secs(15);

/// The proxy. Clones are cheap and are the same one.
pub struct Edge<G = Control> {
    pub(crate) shared: Arc<Shared<G>>,
}

pub(crate) struct Shared<G> {
    pub gate: G,
    pub previews: Previews,
    pool: Arc<Pool>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// How a request came in; an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub peer: SocketAddr,
    pub is_tls: bool,
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

/// Why a sandbox's agent did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    /// A stable word.
    pub code: &'static str,
    pub message: String,
    /// The state that stood in the way.
    pub state: Option<SandboxState>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let (status, code, message) = failure.outline();
        let state = match &failure {
            Failure::Refused(error) => error.state(),
            _ => None,
        };
        Self {
            status,
            code,
            message,
            state,
        }
    }
}

/// What came of a request that was sent on.
pub(crate) struct Answer {
    pub response: Response<Body>,
    /// Whether it is a WebSocket from here on.
    pub is_upgrade: bool,
}

impl<G: Gate> Edge<G> {
    /// Must be called within a runtime.
    pub fn new(gate: G, previews: Previews) -> Self {
        let edge = Self {
            shared: Arc::new(Shared {
                gate,
                previews,
                pool: Arc::default(),
                tasks: TaskTracker::new(),
                shutdown: CancellationToken::new(),
            }),
        };
        let keeper = edge.clone();
        edge.shared.tasks.spawn(async move { keeper.keep().await });
        edge
    }

    /// Whether a path is the toolbox's.
    pub fn serves_toolbox(path: &str) -> bool {
        path::split(path).is_some()
    }

    /// Answers a request for a path of the toolbox. Dropping the future closes the connection to the agent, which gives up
    /// a transfer; a command goes on without its caller, as the toolbox API has it.
    pub async fn toolbox(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let answered = match path::split(parts.uri.path()) {
            Some(route) => {
                let is_legacy = route.is_legacy;
                let (sandbox, tail) = (route.sandbox.into_owned(), route.tail.to_owned());
                let answer = self.to_agent(&mut parts, body, &sandbox, &tail).await;
                answer.map(|answer| if is_legacy { older(answer) } else { answer })
            }
            None => Err(Failure::NoSuchPath),
        };
        answered.unwrap_or_else(|failure| failure.into_response(&parts))
    }

    /// Asks the agent of a sandbox, by id or name, for a route of the server that is built on it. The path and the query
    /// of `parts` are the agent's; its headers are the client's credential and what the agent is to read.
    ///
    /// # Errors
    /// Why the agent was not asked or did not answer. What it answers, be it an error, is no error here.
    pub async fn ask_agent(
        &self,
        mut parts: Parts,
        body: Body,
        sandbox: &str,
    ) -> Result<Response<Body>, Refused> {
        let path = parts.uri.path().to_owned();
        let answer = self.to_agent(&mut parts, body, sandbox, &path).await;
        answer.map_err(Refused::from)
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

    /// Sends a request to the agent of a sandbox, whose path there is `tail`.
    pub(crate) async fn to_agent(
        &self,
        parts: &mut Parts,
        body: Body,
        sandbox: &str,
        tail: &str,
    ) -> Result<Response<Body>, Failure> {
        let token = preview_token(&parts.headers, parts.uri.query());
        let query = parts.uri.query().unwrap_or_default();
        let signed_file = path::signed_file(&parts.method, tail, query);
        let let_in = parts.extensions.remove::<crate::client::LetIn>();
        let visitor = Visitor {
            caller: let_in.as_ref().map(|let_in| &let_in.0),
            bearer: bearer(&parts.headers),
            organization: organization(&parts.headers),
            preview_token: token.as_deref(),
            pass: None,
            signed_file: signed_file.as_ref(),
        };
        if visitor.brings_nothing() {
            return Err(Failure::Refused(Error::Unauthenticated {
                message: "Invalid credentials",
                code: "UNAUTHORIZED",
            }));
        }
        let admitted = self.shared.gate.admit_toolbox(&visitor, sandbox).await;
        let admitted = admitted.map_err(Failure::Refused)?;
        let target = Target::new(&admitted, Server::Agent);
        if signed_file.is_some() {
            // The signature is ours; the agent gets the path.
            let uri = uri_inside(tail, path::unsigned_query(query));
            parts.uri = uri;
        }
        let traceparent = parts.headers.get("traceparent");
        let traceparent = traceparent
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let began = Instant::now();
        let answer = self
            .forward(&target, &admitted.visitor, parts, body, tail, |_| {})
            .await;
        let status = match &answer {
            Ok(answer) => answer.response.status(),
            Err(failure) => failure.outline().0,
        };
        self.shared.gate.record_call(&ToolboxCall {
            sandbox: target.sandbox,
            method: parts.method.as_str().to_owned(),
            path: tail.to_owned(),
            status: status.as_u16(),
            took: began.elapsed(),
            traceparent,
        });
        let mut answer = answer?;
        headers::prepare_response(answer.response.headers_mut(), answer.is_upgrade);
        Ok(answer.response)
    }

    /// Sends a request on, with the headers that `prepare` leaves, and puts it down. The answer has its own headers still.
    pub(crate) async fn forward(
        &self,
        target: &Target,
        visitor: &TrafficVisitor,
        parts: &mut Parts,
        body: Body,
        tail: &str,
        prepare: impl FnOnce(&mut HeaderMap),
    ) -> Result<Answer, Failure> {
        let text = |name: &str| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (user_agent, source) = (text("user-agent"), text("x-daytona-source"));
        let address = self.client(parts).address.map(|ip| ip.to_string());
        let (body, seen, port) = match target.server {
            Server::Agent => {
                let watched = Seen::watch(parts.method.as_str(), tail, &parts.headers, body);
                (watched.0, watched.1, None)
            }
            Server::Port(port) => (body, Seen::default(), Some(port)),
        };
        let answered = self.send_on(target, parts, body, tail, prepare).await;
        let (status, error) = match &answered {
            Ok(answer) => (answer.response.status(), None),
            Err(failure) => {
                let (status, _, message) = failure.outline();
                (status, Some(message))
            }
        };
        self.shared.gate.record_traffic(Traffic {
            sandbox: &target.sandbox,
            visitor,
            port,
            method: parts.method.as_str(),
            path: tail,
            query: parts.uri.query().unwrap_or_default(),
            status: status.as_u16(),
            error,
            address,
            user_agent,
            source,
            body: seen.take(),
        });
        answered
    }

    async fn send_on(
        &self,
        target: &Target,
        parts: &mut Parts,
        body: Body,
        tail: &str,
        prepare: impl FnOnce(&mut HeaderMap),
    ) -> Result<Answer, Failure> {
        let is_counted = parts
            .headers
            .get(headers::SKIP_ACTIVITY)
            .is_none_or(|value| value != "true");
        let lease = self
            .shared
            .pool
            .lease(target, is_counted)
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
        *outgoing.uri_mut() = uri_inside(tail, parts.uri.query());
        *outgoing.headers_mut() = std::mem::take(&mut parts.headers);
        prepare(outgoing.headers_mut());

        let mut response = self.send(target, outgoing).await?;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        match (client_side, switches) {
            (Some(client), true) => {
                let inside = hyper::upgrade::on(&mut response);
                let shutdown = self.shared.shutdown.clone();
                self.shared
                    .tasks
                    .spawn(tunnel::run(client, inside, lease, shutdown));
                Ok(Answer {
                    response: response.map(|_| Body::empty()),
                    is_upgrade: true,
                })
            }
            (None, true) => Err(Failure::lost(target)),
            (_, false) => {
                *response.version_mut() = Version::HTTP_11;
                let response = response.map(|body| {
                    Body::new(LeasedBody {
                        body,
                        _lease: lease,
                    })
                });
                Ok(Answer {
                    response,
                    is_upgrade: false,
                })
            }
        }
    }

    /// Sends the request over a kept connection or a fresh one, exactly once.
    ///
    /// A kept connection may turn out to be closed before a byte of the request was written; hyper then
    /// hands the request back, and only then the next connection is tried. What programs other than the agent serve may
    /// also close one at the very moment: a request that only reads and has no body is then sent once more.
    async fn send(
        &self,
        target: &Target,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut second = copy_of_reading(target, &request);
        loop {
            let kept = self.shared.pool.take(target);
            let is_fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.dial(target).await?,
            };
            if let Some(token) = &connection.token {
                headers::prepare_request(request.headers_mut(), token);
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                        self.keep_when_done(target.clone(), connection);
                    }
                    return Ok(response);
                }
                Err(mut error) => match (error.take_message(), second.take()) {
                    (Some(unsent), copy) if !is_fresh => (request, second) = (unsent, copy),
                    (Some(_), _) => return Err(Failure::Unreachable),
                    (None, Some(copy)) if !is_fresh => request = copy,
                    (None, _) => {
                        let cause = error.into_error();
                        tracing::debug!(
                            sandbox.id = %target.sandbox,
                            error = &cause as &dyn std::error::Error,
                            "no answer from the sandbox"
                        );
                        return Err(Failure::lost(target));
                    }
                },
            }
        }
    }

    /// Puts the connection back once request and answer are through. It closes itself if either is given up.
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
        let gate = &self.shared.gate;
        let dialled = timeout(DIAL_TIMEOUT, async {
            match target.server {
                Server::Agent => {
                    let agent = gate.dial_agent(&target.sandbox).await?;
                    Ok((agent.stream, Some(agent.token)))
                }
                Server::Port(port) => Ok((gate.dial_port(&target.sandbox, port).await?, None)),
            }
        });
        let (stream, token) = match dialled.await {
            Ok(Ok(dialled)) => dialled,
            Ok(Err(DialError::NotRunning)) => return Err(Failure::NotRunning),
            Ok(Err(DialError::NobodyListens)) => return Err(Failure::NobodyListens),
            Ok(Err(DialError::PortTaken | DialError::Unavailable)) | Err(_) => {
                return Err(Failure::Unreachable);
            }
        };
        let token = token.map(|token| HeaderValue::from_str(&token)).transpose();
        let mut token = token.map_err(|_| Failure::Unreachable)?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_MAX_BYTES)
            .handshake(TokioIo::new(stream))
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
                    "a connection into the sandbox ended"
                );
            }
            if let Some(pool) = pool.upgrade() {
                pool.drop_closed(&target);
            }
        });
        Ok(Connection { sender, token })
    }
}

/// A copy of a request that may be sent again: it changes nothing by what HTTP says of its method, and has no body.
fn copy_of_reading(target: &Target, request: &Request<Body>) -> Option<Request<Body>> {
    let is_ports = matches!(target.server, Server::Port(_));
    if !is_ports || !request.method().is_safe() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The organization that a client names, for a token that stands for a person.
pub(crate) fn organization(headers: &HeaderMap) -> Option<&str> {
    let named = headers.get("x-daytona-organization-id")?.to_str().ok()?;
    Some(named).filter(|named| !named.is_empty())
}

/// The caller's key.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The visitor's preview token, from the header or the query.
pub(crate) fn preview_token(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let header = headers
        .get(PREVIEW_TOKEN)
        .and_then(|value| value.to_str().ok());
    let header = header.map(str::to_owned);
    header.or_else(|| path::auth_key(query?).map(std::borrow::Cow::into_owned))
}

/// The answer as clients before 0.113 had it, whose way this is: those up to 0.16 read nothing where a command was only
/// accepted, and later ones take both.
fn older(mut answer: Response<Body>) -> Response<Body> {
    if answer.status() == StatusCode::ACCEPTED {
        *answer.status_mut() = StatusCode::OK;
    }
    answer
}

fn uri_inside(tail: &str, query: Option<&str>) -> Uri {
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
