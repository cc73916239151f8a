//! The live log of a session command: over a WebSocket, or as a body that grows.
//!
//! A follower reads the log's files at its own pace, so one that stalls holds up nobody for long.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::extract::ws::{Message, WebSocket, close_code};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::agent::{Agent, OpenSocket};
use crate::http::ApiError;
use crate::http::client::version_protocol;
use crate::http::sessions::frames::next_frame;
use crate::http::sessions::logs::read;
use crate::http::socket::{
    CLOSE_PATIENCE, Lost, PING_INTERVAL, close, close_frame, deliver, expect_life, upgrade,
};
use crate::session::command::{Command, CommandState};
use crate::session::log::{LogReader, Record};
use crate::session::registry::Session;
use crate::session::view::View;

/// Longest message of a client; none is expected.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// The command whose log is read, with all that may end it.
pub struct Followed {
    agent: Arc<Agent>,
    session: Arc<Session>,
    pub command: Arc<Command>,
}

impl Followed {
    pub fn new(agent: Arc<Agent>, session: Arc<Session>, command: Arc<Command>) -> Self {
        Self {
            agent,
            session,
            command,
        }
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All has been said.
    Complete,
    Stopping,
    LogBroken,
    ClientLost(Lost),
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::ClientLost(lost)
    }
}

/// A place in a log that grows.
struct Follower {
    followed: Followed,
    reader: Option<LogReader>,
    grown: watch::Receiver<u64>,
    state: watch::Receiver<CommandState>,
    /// Waits for the command's end; otherwise for nothing.
    follows: bool,
    /// The end was seen before the log was read to its end.
    is_over: bool,
}

impl Follower {
    fn new(followed: Followed, follows: bool) -> Self {
        let command = &followed.command;
        Self {
            reader: Some(LogReader::follow(command.log.clone())),
            grown: command.log.watch(),
            state: command.watch(),
            followed,
            follows,
            is_over: false,
        }
    }

    /// The records that are there now; none at the end of the log.
    async fn read(&mut self) -> Result<Vec<Record>, End> {
        let Some(reader) = self.reader.take() else {
            return Err(End::LogBroken);
        };
        match read(reader).await {
            Ok((records, reader)) => {
                self.reader = Some(reader);
                Ok(records)
            }
            Err(_) if *self.followed.agent.is_stopping.borrow() => Err(End::Stopping),
            // A deleted session takes its logs with it; that is an end like any other.
            Err(_) if self.followed.session.is_deleted() => Err(End::Complete),
            Err(_) => Err(End::LogBroken),
        }
    }

    /// Notes what is known before the log is read: what was said before the end is read after the end was seen.
    fn look(&mut self) {
        self.is_over = self.state.borrow_and_update().is_over();
        self.grown.borrow_and_update();
    }

    /// Waits for more, after the log was read to its end. Safe to drop and call again.
    async fn changed(&mut self) -> Result<(), End> {
        if self.is_over || !self.follows {
            return Err(End::Complete);
        }
        let Followed { agent, session, .. } = &self.followed;
        tokio::select! {
            _ = self.grown.changed() => Ok(()),
            _ = self.state.changed() => Ok(()),
            () = session.deleted() => Err(End::Complete),
            () = agent.stopping() => Err(End::Stopping),
        }
    }

    /// The next records, as soon as there are any.
    async fn next(&mut self) -> Result<Vec<Record>, End> {
        loop {
            let records = self.read().await?;
            if !records.is_empty() {
                return Ok(records);
            }
            self.changed().await?;
            self.look();
        }
    }
}

/// Answers with a body that grows as the log does. One that breaks off, because the sandbox stops or the log is gone,
/// lacks its proper end.
pub fn by_chunks(followed: Followed, view: View, asks_for_bytes: bool) -> Response {
    let mut start = Follower::new(followed, true);
    start.look();
    let kind = match view {
        View::Combined if !asks_for_bytes => "text/plain; charset=utf-8",
        // Markers are no text.
        _ => "application/octet-stream",
    };
    let pieces = stream::unfold(Some((start, view)), async |place| {
        let (mut log, mut view) = place?;
        match log.next().await {
            Ok(records) => {
                let piece = Bytes::from(view.show_all(&records));
                Some((Ok(piece), Some((log, view))))
            }
            Err(End::Complete) => None,
            Err(_) => Some((Err(io::Error::from(io::ErrorKind::BrokenPipe)), None)),
        }
    });
    let kind = HeaderValue::from_static(kind);
    ([(CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

/// Answers with a WebSocket.
pub async fn by_socket(
    followed: Followed,
    view: View,
    follows: bool,
    request: Request,
) -> Result<Response, ApiError> {
    let protocol = version_protocol(request.headers());
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade(&mut parts, protocol, MAX_MESSAGE_BYTES).await?;
    let is_open = followed.agent.note_socket();
    let start = Follower::new(followed, follows);
    Ok(upgrade.on_upgrade(move |socket| run(start, view, socket, is_open)))
}

async fn run(mut follower: Follower, mut view: View, mut socket: WebSocket, _is_open: OpenSocket) {
    let Err(end) = send_all(&mut follower, &mut view, &mut socket).await;
    let code = match end {
        End::Complete => Some(close_code::NORMAL),
        End::Stopping => Some(close_code::AWAY),
        End::LogBroken => Some(close_code::ERROR),
        End::ClientLost(Lost::Stalled) => Some(close_code::POLICY),
        End::ClientLost(Lost::Gone) => None,
    };
    drop(follower);
    let frame = code.map(|code| close_frame(code, ""));
    close(socket, frame, CLOSE_PATIENCE).await;
}

/// Sends until there is a reason to end.
async fn send_all(
    follower: &mut Follower,
    view: &mut View,
    socket: &mut WebSocket,
) -> Result<Infallible, End> {
    loop {
        follower.look();
        loop {
            let records = follower.read().await?;
            if records.is_empty() {
                break;
            }
            let mut out = Bytes::from(view.show_all(&records));
            while !out.is_empty() {
                deliver(socket, Message::Binary(next_frame(&mut out))).await?;
            }
        }
        tokio::select! {
            changed = follower.changed() => changed?,
            message = socket.recv() => expect_life(message.as_ref())?,
            () = sleep(PING_INTERVAL) => deliver(socket, Message::Ping(Bytes::new())).await?,
        }
    }
}
