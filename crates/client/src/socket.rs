//! WebSockets of the toolbox.

use std::{fmt, io};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{Method, Request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::transport::Transport;
use crate::{ApiError, ClientError};

/// What a read takes from the socket at most. A longer message is put together from several.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// What the other side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketMessage {
    Text(String),
    Binary(Bytes),
    /// The last one.
    Closed {
        /// `None` where the connection ended without a close frame, or with one that gave no code.
        code: Option<u16>,
        reason: String,
    },
}

/// What a WebSocket is spoken over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Stream for T {}

/// An open WebSocket. Dropping it closes the connection without a word.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
    path: String,
}

impl Socket {
    /// Opens the WebSocket at a path below the transport's base, offering the sub-protocols.
    pub(crate) async fn open(
        transport: &Transport,
        path: &str,
        protocols: &[&str],
    ) -> Result<Self, ClientError> {
        let uri = transport.uri(path)?;
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let tls = transport.tls();
        let port = if tls.is_some() { 443 } else { 80 };
        // Brackets are of URLs.
        let host = uri.host().unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        let address = (host, uri.port_u16().unwrap_or(port));
        let failed = |source: tungstenite::Error| failure(path, source);
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| failed(error.into()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| failed(error.into()))?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from(host.to_owned());
                let name = name.map_err(|error| failed(io::Error::other(error).into()))?;
                let connecting = TlsConnector::from(config).connect(name, stream);
                let stream = connecting.await.map_err(|error| failed(error.into()))?;
                Box::new(stream)
            }
        };
        let mut request = Request::new(());
        let headers = request.headers_mut();
        *headers = transport.headers().clone();
        headers.remove(ACCEPT);
        let key = generate_key();
        let protocols = protocols.join(", ");
        for (name, value) in [
            (HOST, authority),
            (http::header::CONNECTION, "Upgrade"),
            (http::header::UPGRADE, "websocket"),
            (http::header::SEC_WEBSOCKET_VERSION, "13"),
            (http::header::SEC_WEBSOCKET_KEY, key.as_str()),
            (SEC_WEBSOCKET_PROTOCOL, protocols.as_str()),
        ] {
            put(headers, name, value);
        }
        // `ws` is `http` with another name, and `wss` is `https`.
        let url = uri.to_string().replacen("http", "ws", 1);
        *request.uri_mut() = url.parse().map_err(|source| ClientError::BadUrl {
            url,
            source: Some(source),
        })?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let (stream, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config))
                .await
                .map_err(failed)?;
        Ok(Self {
            stream,
            path: path.to_owned(),
        })
    }

    /// # Errors
    /// The connection has ended.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<(), ClientError> {
        self.send(Message::text(text.into())).await
    }

    /// # Errors
    /// The connection has ended.
    pub async fn send_binary(&mut self, bytes: impl Into<Bytes>) -> Result<(), ClientError> {
        self.send(Message::Binary(bytes.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ClientError> {
        let sent = self.stream.send(message).await;
        sent.map_err(|source| failure(&self.path, source))
    }

    /// The next message. Pings are answered by themselves.
    ///
    /// # Errors
    /// The other side broke the protocol, or the connection ended in the middle of a message.
    pub async fn next(&mut self) -> Result<SocketMessage, ClientError> {
        loop {
            let message = match self.stream.next().await {
                None => None,
                Some(Ok(message)) => Some(message),
                Some(Err(source)) => return Err(failure(&self.path, source)),
            };
            return Ok(match message {
                Some(Message::Text(text)) => SocketMessage::Text(text.to_string()),
                Some(Message::Binary(bytes)) => SocketMessage::Binary(bytes),
                Some(Message::Close(Some(frame))) => SocketMessage::Closed {
                    code: Some(frame.code.into()),
                    reason: frame.reason.to_string(),
                },
                None | Some(Message::Close(None)) => SocketMessage::Closed {
                    code: None,
                    reason: String::new(),
                },
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            });
        }
    }
}

fn put(headers: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if value.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A server that refuses says why, as it does to any other request.
fn failure(path: &str, source: tungstenite::Error) -> ClientError {
    match source {
        tungstenite::Error::Http(response) => {
            let status = response.status();
            let body = Bytes::from(response.into_body().unwrap_or_default());
            let refusal = ApiError::read(Method::GET, path.to_owned(), status, &body);
            Box::new(refusal).into()
        }
        source => ClientError::Socket {
            path: path.to_owned(),
            source: source.into(),
        },
    }
}
