//! One way to a page: through the proxy, straight, through nginx, or to the API.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::backend::{Body, content, ensure_whole};
use crate::bench::table::bytes_in_mib;

#[derive(Debug, Clone)]
pub struct Way {
    pub address: SocketAddr,
    pub host: String,
    /// Where the page is.
    pub path: String,
    /// None where nobody asks for one.
    pub bearer: Option<String>,
}

impl Way {
    pub fn direct(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            path: "/".to_owned(),
            bearer: None,
        }
    }

    pub fn proxied(server: SocketAddr, port: u16, sandbox: &str, key: &str) -> Self {
        Self {
            address: server,
            host: format!("{port}-{sandbox}.localhost:{}", server.port()),
            path: "/".to_owned(),
            bearer: Some(format!("Bearer {key}")),
        }
    }

    pub fn api(server: SocketAddr, path: String, key: &str) -> Self {
        Self {
            address: server,
            host: server.to_string(),
            path,
            bearer: Some(format!("Bearer {key}")),
        }
    }

    pub async fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub async fn open(&self) -> anyhow::Result<SendRequest<Body>> {
        let (sender, connection) = handshake(TokioIo::new(self.connect().await?)).await?;
        // Ends with its sender and its answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn ask(
        &self,
        connection: &mut SendRequest<Body>,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<hyper::body::Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host);
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        connection.ready().await?;
        let answer = connection.send_request(request.body(body)?).await?;
        ensure!(
            answer.status() == 200,
            "{} answers {}",
            self.host,
            answer.status()
        );
        Ok(answer.into_body())
    }

    /// How long a page takes.
    pub async fn page(&self, connection: &mut SendRequest<Body>) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let answer = self.ask(connection, Method::GET, &self.path, content(0));
        let answer = answer.await?;
        answer.collect().await?;
        Ok(begin.elapsed())
    }

    /// Pages a second.
    pub async fn rate(&self, clients: usize, time: Duration) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let way = self.clone();
            running.spawn(async move {
                let mut connection = way.open().await?;
                let mut pages = 0_u32;
                while begin.elapsed() < time {
                    way.page(&mut connection).await?;
                    pages += 1;
                }
                anyhow::Ok(pages)
            });
        }
        let mut pages = 0;
        while let Some(counted) = running.join_next().await {
            pages += counted??;
        }
        Ok(f64::from(pages) / begin.elapsed().as_secs_f64())
    }

    /// MiB a second.
    pub async fn download(&self, bytes: u64) -> anyhow::Result<f64> {
        let mut connection = self.open().await?;
        let begin = Instant::now();
        let path = format!("/{bytes}");
        let mut body = self
            .ask(&mut connection, Method::GET, &path, content(0))
            .await?;
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        ensure_whole(received, bytes)?;
        Ok(bytes_in_mib(bytes) / begin.elapsed().as_secs_f64())
    }

    /// MiB a second.
    pub async fn upload(&self, bytes: u64) -> anyhow::Result<f64> {
        let mut connection = self.open().await?;
        let begin = Instant::now();
        let answer = self
            .ask(&mut connection, Method::POST, "/", content(bytes))
            .await?;
        let received = answer.collect().await?.to_bytes();
        ensure_whole(std::str::from_utf8(&received)?.parse()?, bytes)?;
        Ok(bytes_in_mib(bytes) / begin.elapsed().as_secs_f64())
    }
}
