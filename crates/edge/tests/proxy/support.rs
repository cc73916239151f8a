//! A proxy on a TCP port in front of an agent on a unix socket, both real.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_control::{
    Admission, AgentConnection, AgentStream, Credential, DialError, Error, Pass, ToolboxCall,
    ToolboxTarget, Traffic, TrafficBody, TrafficVisitor, Visitor,
};
use alcove_domain::{Port, SandboxId, SandboxState};
use alcove_edge::{Arrival, Edge, Gate, Previews};
use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

pub const KEY: &str = "dtn_good";
pub const AGENT_TOKEN: &str = "agent-secret";
pub const TOKEN: &str = "preview-token";
pub const PASS: &str = "pass";

/// A control plane that knows one key and one sandbox, `box`.
#[derive(Clone)]
pub struct FakeGate {
    pub socket: PathBuf,
    pub dials: Arc<AtomicUsize>,
    pub activity: Arc<AtomicUsize>,
    pub calls: Arc<Mutex<Vec<ToolboxCall>>>,
    pub dial_error: Arc<Mutex<Option<DialError>>>,
    pub is_public: Arc<Mutex<bool>>,
    /// Requests that were put down: what asked for what, where, the status, and what was seen of the body.
    pub traffic: Arc<Mutex<Vec<PutDown>>>,
}

type PutDown = (String, Option<u16>, u16, TrafficBody);

#[async_trait]
impl Gate for FakeGate {
    async fn admit_toolbox(
        &self,
        visitor: &Visitor<'_>,
        id_or_name: &str,
    ) -> Result<ToolboxTarget, Error> {
        let is_good = match visitor.bearer {
            Some(bearer) => bearer == KEY,
            None => visitor.preview_token == Some(TOKEN),
        };
        if !is_good {
            return Err(unauthenticated());
        }
        known(id_or_name)
    }

    async fn admit_port(
        &self,
        visitor: &Visitor<'_>,
        place: &str,
        _: Port,
    ) -> Result<Admission, Error> {
        let has_our_bearer = visitor.bearer == Some(KEY);
        let by = if *self.is_public.lock().unwrap() {
            Credential::Public
        } else if has_our_bearer {
            Credential::Bearer
        } else if visitor.preview_token == Some(TOKEN) {
            Credential::PreviewToken
        } else if visitor.pass == Some(PASS) {
            Credential::Pass
        } else {
            return Err(unauthenticated());
        };
        Ok(Admission {
            target: known(place)?,
            by,
            has_our_bearer,
            pass: (by == Credential::PreviewToken).then(|| Pass {
                value: PASS.to_owned(),
                lasts: Duration::from_mins(1),
            }),
        })
    }

    async fn dial_port(
        &self,
        _: &SandboxId,
        port: Port,
    ) -> Result<Box<dyn AgentStream>, DialError> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let stream = TcpStream::connect(("127.0.0.1", port.get())).await;
        Ok(Box::new(stream.map_err(|_| DialError::NobodyListens)?))
    }

    async fn dial_agent(&self, _: &SandboxId) -> Result<AgentConnection, DialError> {
        if let Some(error) = *self.dial_error.lock().unwrap() {
            return Err(error);
        }
        self.dials.fetch_add(1, Ordering::SeqCst);
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|_| DialError::Unavailable)?;
        Ok(AgentConnection {
            stream: Box::new(stream),
            token: AGENT_TOKEN.to_owned(),
        })
    }

    fn record_activity(&self, _: &SandboxId) {
        self.activity.fetch_add(1, Ordering::SeqCst);
    }

    fn record_call(&self, call: &ToolboxCall) {
        self.calls.lock().unwrap().push(call.clone());
    }

    fn record_traffic(&self, traffic: Traffic<'_>) {
        let Traffic {
            method,
            path,
            query,
            ..
        } = traffic;
        self.traffic.lock().unwrap().push((
            format!("{method} {path} {query}"),
            traffic.port.map(Port::get),
            traffic.status,
            traffic.body,
        ));
    }
}

fn unauthenticated() -> Error {
    Error::Unauthenticated {
        message: "Invalid credentials",
        code: "UNAUTHORIZED",
    }
}

fn known(id_or_name: &str) -> Result<ToolboxTarget, Error> {
    if id_or_name != "box" {
        return Err(Error::NotFound {
            message: format!("Sandbox with ID or name {id_or_name} not found"),
        });
    }
    Ok(ToolboxTarget {
        sandbox: "box".parse().unwrap(),
        generation: 1,
        state: SandboxState::Started,
        visitor: TrafficVisitor {
            organization: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            user: None,
            actor: Arc::default(),
        },
    })
}

pub struct Bench {
    pub gate: FakeGate,
    pub edge: Edge<FakeGate>,
    pub port: u16,
    /// Taken by the test that plays the agent by hand.
    pub agent: Option<UnixListener>,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// A proxy whose agent nobody plays yet.
    pub async fn start() -> Self {
        Self::with_previews(Previews::default()).await
    }

    /// The same, with what an operator may decide of previews.
    pub async fn with_previews(previews: Previews) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let agent = UnixListener::bind(&socket).unwrap();
        let gate = FakeGate {
            socket,
            dials: Arc::default(),
            activity: Arc::default(),
            calls: Arc::default(),
            dial_error: Arc::default(),
            is_public: Arc::default(),
            traffic: Arc::default(),
        };
        let previews = Previews {
            domains: vec!["localhost".to_owned()],
            ..previews
        };
        let edge = Edge::new(gate.clone(), previews);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = edge.clone();
        tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let edge = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |mut request: hyper::Request<_>| {
                        let edge = edge.clone();
                        let is_tls = false;
                        request.extensions_mut().insert(Arrival { peer, is_tls });
                        async move {
                            Ok::<_, std::convert::Infallible>(
                                answer(&edge, request.map(Body::new)).await,
                            )
                        }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            gate,
            edge,
            port,
            agent: Some(agent),
            _folder: folder,
        }
    }

    /// A proxy whose agent is a program.
    pub async fn with_agent(router: axum::Router) -> Self {
        let mut bench = Self::start().await;
        let agent = bench.agent.take().unwrap();
        tokio::spawn(async move { axum::serve(agent, router).await.unwrap() });
        bench
    }

    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes on a connection of their own and reads until the proxy closes it.
    pub async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A GET of a toolbox path with the right key.
    pub async fn get(&self, path: &str) -> String {
        self.exchange(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
             Connection: close\r\n\r\n"
        ))
        .await
    }
}

async fn answer(edge: &Edge<FakeGate>, request: Request<Body>) -> Response<Body> {
    match edge.preview_of(&request) {
        Some(preview) => edge.preview(preview, request).await,
        None => edge.toolbox(request).await,
    }
}

/// No test waits longer than this for anything.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("in time")
}

/// Reads from a stream until `end` has come.
pub async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(end) {
        let mut buffer = [0; 4096];
        let count = within(stream.read(&mut buffer)).await.unwrap();
        assert!(count > 0, "ended after {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(seen).unwrap()
}
