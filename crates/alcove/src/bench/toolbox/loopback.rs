//! The same bytes without a sandbox: a client, one plain hyper proxy and an origin on loopback.
//!
//! The origin keeps nothing: what it is sent it throws away, what it sends was ready before.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::transfer::content;

/// Ends with its drop.
pub struct Loopback {
    proxy: SocketAddr,
    _tasks: JoinSet<()>,
}

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

impl Loopback {
    pub async fn start(bytes: u64) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        let origin = serve(&mut tasks, move |request| origin(request, bytes)).await?;
        let proxy = serve(&mut tasks, move |request| forward(request, origin)).await?;
        Ok(Self {
            proxy,
            _tasks: tasks,
        })
    }

    pub async fn upload(&self, bytes: u64) -> anyhow::Result<()> {
        let body = StreamBody::new(futures_util::StreamExt::map(content(bytes), |piece| {
            piece.map(Frame::data)
        }));
        let request = Request::post("/").body(body)?;
        send(self.proxy, request).await?.collect().await?;
        Ok(())
    }

    pub async fn download(&self, bytes: u64) -> anyhow::Result<()> {
        let request = Request::get("/").body(Empty::<Bytes>::new())?;
        let mut body = send(self.proxy, request).await?;
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        ensure!(received == bytes, "{received} of {bytes} bytes came");
        Ok(())
    }
}

async fn serve<F, A>(
    tasks: &mut JoinSet<()>,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> anyhow::Result<SocketAddr>
where
    F: Future<Output = anyhow::Result<Response<A>>> + Send + 'static,
    A: Body<Data = Bytes> + Send + 'static,
    A::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .context("cannot listen on loopback")?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let answer = answer.clone();
            let service = service_fn(answer);
            connections.spawn(async move {
                // Whoever asked hears of a failure.
                let _ = server::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

async fn send<B>(to: SocketAddr, request: Request<B>) -> anyhow::Result<Incoming>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    // Ends with its sender and its answer.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.into_body())
}

async fn forward(request: Request<Incoming>, origin: SocketAddr) -> anyhow::Result<Answer> {
    let body = send(origin, request).await?;
    Ok(Response::new(body.boxed_unsync()))
}

async fn origin(
    request: Request<Incoming>,
    bytes: u64,
) -> anyhow::Result<Response<UnsyncBoxBody<Bytes, std::io::Error>>> {
    if request.method() == Method::GET {
        let frames = futures_util::StreamExt::map(content(bytes), |piece| piece.map(Frame::data));
        return Ok(Response::new(StreamBody::new(frames).boxed_unsync()));
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let nothing = Empty::new().map_err(|never: Infallible| match never {});
    Ok(Response::new(nothing.boxed_unsync()))
}
