//! Plain HTTP, for what a typed client hides: odd bodies, missing keys, a caller that hangs up.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Sends single requests, each on a connection of its own.
#[derive(Debug, Clone)]
pub struct Raw {
    port: u16,
    authorization: Option<String>,
    /// What else each request says.
    more: Vec<(&'static str, String)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// # Panics
    /// When the body is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Raw {
    pub fn new(port: u16, key: &str) -> Self {
        Self {
            port,
            authorization: Some(format!("Bearer {key}")),
            more: Vec::new(),
        }
    }

    /// The same with another value in the header of the key, or without the header.
    #[must_use]
    pub fn with_authorization(&self, authorization: Option<&str>) -> Self {
        Self {
            port: self.port,
            authorization: authorization.map(str::to_owned),
            more: self.more.clone(),
        }
    }

    /// The same with another header in each request.
    #[must_use]
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut with = self.clone();
        with.more.push((name, value.to_owned()));
        with
    }

    /// # Panics
    /// When the server cannot be reached.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port))
            .await
            .expect("the server takes connections")
    }

    /// The request's line and headers as they go over the wire, for a body of this many bytes.
    pub fn head(&self, method: &str, path: &str, content_type: &str, length: usize) -> String {
        let authorization = self.authorization.as_deref().unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        )
    }

    /// One request and its whole answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn ask(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
        let answer = self.ask_if_alive(method, path, body).await;
        answer.expect("an answer")
    }

    /// The same of a server that may end meanwhile: there is no answer then.
    pub async fn ask_if_alive(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        self.send_as(method, path, "application/json", body).await
    }

    /// The same with a body of another type.
    ///
    /// # Panics
    /// When the request is none.
    pub async fn send_as(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "127.0.0.1")
            .header("Content-Type", content_type);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        for (name, value) in &self.more {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let answer = sender.send_request(request).await.ok()?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        connection.abort();
        Some(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }
}
