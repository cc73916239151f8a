//! What all WebSockets share: how they are opened, kept alive and closed.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::request::Parts;
use tokio::time::timeout;

use crate::http::ApiError;

/// Silence after which the agent asks the other side whether it is still there.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);

/// What a client gets to take one message.
pub const MESSAGE_PATIENCE: Duration = Duration::from_mins(1);

/// What a client gets to answer the close.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Longest reason that fits into a close frame.
const MAX_REASON_BYTES: usize = 123;

/// Room for one read of what a client says. Clients say little.
const READ_BYTES: usize = 4 << 10;

pub fn wants_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// The values of all headers by which a client offers sub-protocols.
pub fn offered_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
}

/// The upgrade of a request, with the sub-protocol that is to be chosen. Nothing is held back for later writing.
///
/// # Errors
/// The request is no proper one.
pub async fn upgrade(
    parts: &mut Parts,
    protocol: Option<String>,
    max_message_bytes: usize,
) -> Result<WebSocketUpgrade, ApiError> {
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|refusal| ApiError::bad_request(refusal.body_text()))?;
    Ok(upgrade
        .protocols(protocol)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(max_message_bytes)
        .max_frame_size(max_message_bytes))
}

/// Why there is nobody to tell anything any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The client said so itself, or the connection broke.
    Gone,
    /// It takes nothing.
    Stalled,
}

/// Sends one message and answers pings that came meanwhile.
///
/// # Errors
/// The client is lost.
pub async fn deliver(socket: &mut WebSocket, message: Message) -> Result<(), Lost> {
    match timeout(MESSAGE_PATIENCE, socket.send(message)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(Lost::Gone),
        Err(_) => return Err(Lost::Stalled),
    }
    // Reading is what makes the library see pings; it must not wait for long output to end.
    while let Some(message) = socket.recv().now_or_never() {
        expect_life(message.as_ref())?;
    }
    Ok(())
}

/// Looks at what came from a client of which nothing is expected but that it is there.
///
/// # Errors
/// It is not.
pub fn expect_life(message: Option<&Result<Message, axum::Error>>) -> Result<(), Lost> {
    match message {
        // Pings are answered by the library.
        Some(Ok(message)) if !matches!(message, Message::Close(_)) => Ok(()),
        _ => Err(Lost::Gone),
    }
}

/// The frame that ends a socket. Of the reason there is as much as fits.
pub fn close_frame(code: u16, reason: impl Into<String>) -> CloseFrame {
    let mut reason = reason.into();
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

/// Ends a socket. The connection goes only after the client's answer, or the frame may get lost. Without a frame it is
/// the client's close that is answered.
pub async fn close<S>(mut socket: S, frame: Option<CloseFrame>, patience: Duration)
where
    S: Sink<Message> + Stream<Item = Result<Message, axum::Error>> + Unpin,
{
    let _ = timeout(patience, async {
        if let Some(frame) = frame {
            socket.send(Message::Close(Some(frame))).await?;
        }
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<_, S::Error>(())
    })
    .await;
}
