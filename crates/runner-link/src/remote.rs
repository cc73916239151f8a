//! The server's side: a runner that is asked over a link.

use std::future::ready;
use std::io;
use std::sync::Arc;

use alcove_control::{
    AgentConnection, AgentStream, DialError, FetchedPieces, PortListener, RunnerClient,
};
use alcove_domain::{BuildId, Port, SandboxId};
use alcove_runner_api::{
    Build, BuildLogPiece, BuildOutcome, Collected, Fetch, FetchError, HostStatus, ImageEntry,
    Needed, Order, OrderError, Pull, PullState, Report, Sample, Sighting, VolumeOrder,
    VolumeOutcome, WarmKind, WarmState, WarmWish,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::call::{ASK, Ask, DIAL, DIALLED, Dial, Dialled, FOLLOW, Follow};
use crate::frame::{self, Message};
use crate::limit::{CutOff, Knife};
use crate::listening::RemoteListener;
use crate::{CONNECTION_WINDOW, PING, PONG, STREAM_WINDOW, STREAMS_MAX};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
#[error("the runner does not speak as it should: {0}")]
pub struct LinkError(hyper::Error);

/// A runner at the other end of a link. Clones are the same one.
#[derive(Debug, Clone)]
pub struct RemoteRunner {
    sender: SendRequest<Full<Bytes>>,
    ended: CancellationToken,
    knife: Knife,
    /// The last clone that goes takes the connection with it.
    _open: Arc<DropGuard>,
}

impl RemoteRunner {
    /// Begins to speak over a connection that was upgraded to [`crate::PROTOCOL`].
    ///
    /// # Errors
    /// When the other side speaks something else.
    pub async fn over<T>(connection: T) -> Result<Self, LinkError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(usize::try_from(STREAMS_MAX).unwrap_or(usize::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true);
        let handshake = builder.handshake(TokioIo::new(connection)).await;
        let (sender, connection) = handshake.map_err(LinkError)?;
        let (ended, knife) = (CancellationToken::new(), Knife::default());
        let told = ended.clone();
        let closing = knife.close.clone();
        tokio::spawn(async move {
            tokio::select! {
                result = connection => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a link broke off");
                    }
                }
                () = closing.cancelled() => {}
            }
            told.cancel();
        });
        Ok(Self {
            sender,
            ended,
            _open: Arc::new(knife.close.clone().drop_guard()),
            knife,
        })
    }

    /// Resolves when the connection is over, on whatever side.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Why this side ended the connection; None where it did not.
    pub fn cut_off(&self) -> Option<CutOff> {
        self.knife.why().cloned()
    }

    async fn send<C: Serialize>(&self, path: &'static str, call: &C) -> Option<Incoming> {
        let body = serde_json::to_vec(call).ok()?;
        let request = Request::post(path).body(Full::from(body)).ok()?;
        let response = self.sender.clone().send_request(request).await;
        match response {
            Ok(response) if response.status() == StatusCode::OK => Some(response.into_body()),
            Ok(response) => {
                tracing::error!(status = %response.status(), "a runner does not understand a question");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a question does not reach its runner");
                None
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, OrderError> {
        let answer = async {
            let body = self.send(ASK, ask).await?;
            let limit = ask.limit();
            match Limited::new(body, limit.bytes).collect().await {
                Ok(text) => serde_json::from_slice(&text.to_bytes()).ok(),
                Err(error) => {
                    if error.is::<LengthLimitError>() {
                        self.knife.cut(CutOff::TooMuch {
                            what: limit.what,
                            limit: limit.bytes,
                        });
                    }
                    None
                }
            }
        };
        answer.await.unwrap_or(Err(OrderError::Unavailable))
    }

    /// The first message of a stream, which tells whether there is one, and the rest.
    async fn follow<T, E>(
        &self,
        follow: &Follow,
    ) -> Option<(Result<T, E>, BoxStream<'static, io::Result<Message>>)>
    where
        T: DeserializeOwned,
        E: DeserializeOwned,
    {
        let body = self.send(FOLLOW, follow).await?;
        let mut rest = frame::messages(body, follow.limit(), self.knife.clone()).boxed();
        let first = rest.next().await?.ok()?.json()?;
        Some((first, rest))
    }

    pub(crate) async fn dial(
        &self,
        dial: &Dial,
    ) -> Result<(Box<dyn AgentStream>, Option<String>), DialError> {
        let tunnel = self.tunnel(dial).await;
        match tunnel.unwrap_or((Dialled::Unavailable, None)) {
            (Dialled::Open { token }, Some(stream)) => Ok((stream, token)),
            (Dialled::NotRunning, _) => Err(DialError::NotRunning),
            (Dialled::NobodyListens, _) => Err(DialError::NobodyListens),
            (Dialled::PortTaken, _) => Err(DialError::PortTaken),
            _ => Err(DialError::Unavailable),
        }
    }

    async fn tunnel(&self, dial: &Dial) -> Option<(Dialled, Option<Box<dyn AgentStream>>)> {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("sandbox:1")
            .header(DIAL, serde_json::to_string(dial).ok()?)
            .body(Full::default())
            .ok()?;
        let response = self.sender.clone().send_request(request).await.ok()?;
        let told = response.headers().get(DIALLED)?;
        let told = serde_json::from_slice(told.as_bytes()).ok()?;
        if response.status() != StatusCode::OK {
            return Some((told, None));
        }
        let stream = hyper::upgrade::on(response).await.ok()?;
        Some((told, Some(Box::new(TokioIo::new(stream)))))
    }
}

/// The next of a stream; None where it breaks off, which ends the stream.
fn read<T: DeserializeOwned>(message: io::Result<Message>) -> Option<T> {
    message.ok()?.json()
}

#[async_trait]
impl RunnerClient for RemoteRunner {
    async fn apply(&self, order: Order) -> Result<Report, OrderError> {
        self.ask(&Ask::Apply(Box::new(order))).await
    }

    async fn apply_volume(&self, order: VolumeOrder) -> Result<VolumeOutcome, OrderError> {
        self.ask(&Ask::ApplyVolume(order)).await
    }

    async fn inventory(&self) -> Result<Vec<Report>, OrderError> {
        self.ask(&Ask::Inventory).await
    }

    async fn host_status(&self) -> Result<HostStatus, OrderError> {
        self.ask(&Ask::HostStatus).await
    }

    async fn samples(&self) -> Result<Vec<Sample>, OrderError> {
        self.ask(&Ask::Samples).await
    }

    async fn images(&self) -> Result<Vec<ImageEntry>, OrderError> {
        self.ask(&Ask::Images).await
    }

    async fn pull(&self, pull: Pull) -> Result<BoxStream<'static, PullState>, OrderError> {
        let found = self.follow(&Follow::Pull(Box::new(pull))).await;
        let (begun, states) = found.ok_or(OrderError::Unavailable)?;
        let () = begun?;
        Ok(states.scan((), |(), message| ready(read(message))).boxed())
    }

    async fn release_image(&self, name: &str) -> Result<(), OrderError> {
        self.ask(&Ask::ReleaseImage(name.to_owned())).await
    }

    async fn collect_images(&self, needed: Needed) -> Result<Collected, OrderError> {
        self.ask(&Ask::CollectImages(needed)).await
    }

    fn reports(&self) -> BoxStream<'static, Report> {
        let this = self.clone();
        let opened = async move {
            let found = this.follow::<(), OrderError>(&Follow::Reports).await;
            match found {
                Some((_, reports)) => reports.scan((), |(), message| ready(read(message))).boxed(),
                None => stream::empty().boxed(),
            }
        };
        opened.flatten_stream().boxed()
    }

    async fn build(&self, order: Build) -> Result<BuildOutcome, OrderError> {
        self.ask(&Ask::Build(Box::new(order))).await
    }

    async fn cancel_build(&self, build: &BuildId) -> Result<(), OrderError> {
        self.ask(&Ask::CancelBuild(build.clone())).await
    }

    async fn forget_build(&self, build: &BuildId) -> Result<(), OrderError> {
        self.ask(&Ask::ForgetBuild(build.clone())).await
    }

    async fn build_log(
        &self,
        build: &BuildId,
        from: u64,
        waits: bool,
    ) -> Result<BuildLogPiece, OrderError> {
        let build = build.clone();
        self.ask(&Ask::BuildLog { build, from, waits }).await
    }

    async fn keep_warm(&self, wishes: Vec<WarmWish>) -> Result<(), OrderError> {
        self.ask(&Ask::KeepWarm(wishes)).await
    }

    async fn warm_states(&self) -> Result<Vec<WarmState>, OrderError> {
        self.ask(&Ask::WarmStates).await
    }

    async fn take_warm(&self, kinds: &[WarmKind]) -> Result<Option<SandboxId>, OrderError> {
        self.ask(&Ask::TakeWarm(kinds.to_vec())).await
    }

    async fn give_warm_back(&self, sandbox: &SandboxId) -> Result<(), OrderError> {
        self.ask(&Ask::GiveWarmBack(sandbox.clone())).await
    }

    async fn fetch(&self, order: Fetch) -> Result<FetchedPieces, FetchError> {
        let found = self.follow(&Follow::Fetch(order)).await;
        let (begun, pieces) = found.ok_or(FetchError::Unavailable)?;
        let () = begun?;
        let pieces = stream::unfold(Some(pieces), |pieces| async move {
            let mut pieces = pieces?;
            match pieces.next().await {
                None => None,
                Some(Ok(Message::Bytes(piece))) => Some((Ok(piece.to_vec()), Some(pieces))),
                // An error is the last that comes.
                Some(Ok(told)) => Some((Err(told.json().unwrap_or(FetchError::Unavailable)), None)),
                Some(Err(_)) => Some((Err(FetchError::Unavailable), None)),
            }
        });
        Ok(pieces.boxed())
    }

    async fn take_sightings(&self) -> Result<Vec<Sighting>, OrderError> {
        self.ask(&Ask::TakeSightings).await
    }

    async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError> {
        let sandbox = sandbox.clone();
        let (stream, token) = self.dial(&Dial::Agent { sandbox }).await?;
        let token = token.ok_or(DialError::Unavailable)?;
        Ok(AgentConnection { stream, token })
    }

    async fn dial_port(
        &self,
        sandbox: &SandboxId,
        port: Port,
    ) -> Result<Box<dyn AgentStream>, DialError> {
        let sandbox = sandbox.clone();
        let (stream, _) = self
            .dial(&Dial::Port {
                sandbox,
                port: port.get(),
            })
            .await?;
        Ok(stream)
    }

    async fn listen_port(
        &self,
        sandbox: &SandboxId,
        port: Option<Port>,
    ) -> Result<(Box<dyn PortListener>, u16), DialError> {
        let sandbox = sandbox.clone();
        let port = port.map(Port::get);
        let found = self.follow(&Follow::Listen { sandbox, port }).await;
        let (begun, accepted) = found.ok_or(DialError::Unavailable)?;
        let port = begun.map_err(|refused: Dialled| match refused {
            Dialled::NotRunning => DialError::NotRunning,
            Dialled::PortTaken => DialError::PortTaken,
            _ => DialError::Unavailable,
        })?;
        let listener = RemoteListener::new(self.clone(), accepted);
        Ok((Box::new(listener), port))
    }
}
