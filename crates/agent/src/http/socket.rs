//! What all WebSockets share: how they are opened, kept alive and closed.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
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
        .max_message_size(max_message_bytes))
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
