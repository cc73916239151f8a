//! Logs of session commands: snapshots, and the live stream over a WebSocket.
//!
//! All of them read the log from its files, piece by piece and at the client's pace.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{ErrorCode, LogForm, Stream};
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep_until, timeout};

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::client::{Client, version_protocol};
use crate::http::params::Params;
use crate::http::sessions::frames::next_frame;
use crate::session::command::Command;
use crate::session::log::{LogReader, Record};
use crate::session::registry::Session;
use crate::session::view::View;
use crate::text::JsonText;

/// Up to here a log is read on the spot: it is in the page cache, and a thread would cost more.
const READ_ON_SPOT_BYTES: u64 = 128 << 10;

/// Silence after which the agent asks a follower whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// What a follower gets to take one message, or to answer the end of the stream.
const FOLLOWER_PATIENCE: Duration = Duration::from_mins(1);

const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The answer of a synchronous command.
pub async fn exec_answer(command: &Command, exit_code: i32, form: LogForm) -> Response {
    // The id is ours and needs no escapes.
    let start = format!("{{\"cmdId\":\"{}\",\"exitCode\":{exit_code}", command.id);
    let null = ",\"stdout\":null,\"stderr\":null}";
    let (first, is_split) = match form {
        LogForm::Combined => (View::Combined, false),
        LogForm::Marked => (View::marked(), false),
        LogForm::Split => (View::marked(), true),
    };
    let mut sections = vec![Section::new(format!("{start},\"output\":\""), first)];
    if is_split {
        sections.extend(split_sections());
    }
    let end = if is_split {
        "\"}".to_owned()
    } else {
        format!("\"{null}")
    };
    json_answer(command, sections, end).await
}

fn split_sections() -> [Section; 2] {
    [
        Section::new("\",\"stdout\":\"".to_owned(), View::Only(Stream::Stdout)),
        Section::new("\",\"stderr\":\"".to_owned(), View::Only(Stream::Stderr)),
    ]
}

/// A text of the answer: what stands before it, and the form of the log that it is.
struct Section {
    before: String,
    view: View,
}

impl Section {
    fn new(before: String, view: View) -> Self {
        Self { before, view }
    }
}

/// `GET …/logs`: a snapshot, or the live stream.
pub async fn logs(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    Path((session, command)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let session = agent.sessions.get(&session)?;
    let command = session.command(&command)?;
    if !wants_upgrade(request.headers()) {
        return snapshot(&command, client.log_form()).await;
    }
    let params = Params::parse(request.uri().query())?;
    let follows = params.get("follow") == Some("true");
    let view = if client.stream_has_markers() {
        View::marked()
    } else {
        View::Combined
    };
    let protocol = version_protocol(request.headers());
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|refusal| ApiError::bad_request(refusal.body_text()))?;
    let follower = Follower {
        agent,
        session,
        command,
        view,
        follows,
    };
    Ok(upgrade
        .protocols(protocol)
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_message_size(64 << 10)
        .on_upgrade(|socket| follower.run(socket)))
}

/// The agent starts no program of the image by itself, so there is nothing to show.
pub async fn of_entrypoint() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "session not found")
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

async fn snapshot(command: &Command, form: LogForm) -> Result<Response, ApiError> {
    match form {
        LogForm::Split => {
            let mut sections = vec![Section::new("{\"output\":\"".to_owned(), View::marked())];
            sections.extend(split_sections());
            check_readable(command)?;
            Ok(json_answer(command, sections, "\"}".to_owned()).await)
        }
        LogForm::Marked => text_answer(command, View::marked()),
        LogForm::Combined => text_answer(command, View::Combined),
    }
}

/// A log whose files someone deleted is not there.
fn check_readable(command: &Command) -> Result<(), ApiError> {
    match LogReader::snapshot(command.log.clone()).next_records() {
        Err(error) => Err(ApiError::new(
            ErrorCode::NotFound,
            format_args!("log not found: {error}"),
        )),
        Ok(_) => Ok(()),
    }
}

fn text_answer(command: &Command, view: View) -> Result<Response, ApiError> {
    check_readable(command)?;
    let kind = [(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    )];
    let reader = LogReader::snapshot(command.log.clone());
    let pieces = stream::unfold(Some((reader, view)), |state| async move {
        let (reader, mut view) = state?;
        match read(reader).await {
            Ok((records, _)) if records.is_empty() => None,
            Ok((records, reader)) => {
                let out = view.show_all(&records);
                Some((Ok(Bytes::from(out)), Some((reader, view))))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok((kind, Body::from_stream(pieces)).into_response())
}

/// Texts of one log in one JSON object. A short log is answered at once, a long one is written while it is
/// read.
async fn json_answer(command: &Command, sections: Vec<Section>, end: String) -> Response {
    let mut writer = JsonAnswer {
        command_log: command.log.clone(),
        sections: sections.into(),
        current: None,
        end: Some(end),
    };
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    if LogReader::snapshot(command.log.clone()).remaining_bytes() <= READ_ON_SPOT_BYTES {
        let mut whole = Vec::new();
        while let Some(Ok(piece)) = writer.next().await {
            whole.extend_from_slice(&piece);
        }
        return (kind, whole).into_response();
    }
    let pieces = stream::unfold(writer, |mut writer| async move {
        writer.next().await.map(|piece| (piece, writer))
    });
    (kind, Body::from_stream(pieces)).into_response()
}

struct JsonAnswer {
    command_log: Arc<crate::session::log::Log>,
    sections: std::collections::VecDeque<Section>,
    current: Option<(LogReader, View, JsonText)>,
    end: Option<String>,
}

impl JsonAnswer {
    async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        let mut out = Vec::new();
        let Some((reader, mut view, mut text)) = self.current.take() else {
            if let Some(section) = self.sections.pop_front() {
                let reader = LogReader::snapshot(self.command_log.clone());
                self.current = Some((reader, section.view, JsonText::default()));
                return Some(Ok(section.before.into_bytes()));
            }
            return self.end.take().map(|end| Ok(end.into_bytes()));
        };
        // A log that breaks while it is read ends here: half an answer is better than none.
        let Ok((records, reader)) = read(reader).await else {
            text.finish(&mut out);
            return Some(Ok(out));
        };
        if records.is_empty() {
            text.finish(&mut out);
            return Some(Ok(out));
        }
        let shown = view.show_all(&records);
        text.push(&shown, &mut out);
        self.current = Some((reader, view, text));
        Some(Ok(out))
    }
}

/// The next records, on the spot or by a thread that may block.
async fn read(mut reader: LogReader) -> io::Result<(Vec<Record>, LogReader)> {
    if reader.remaining_bytes() <= READ_ON_SPOT_BYTES {
        return Ok((reader.next_records()?, reader));
    }
    let read = tokio::task::spawn_blocking(move || Ok((reader.next_records()?, reader))).await;
    read.map_err(|_| io::Error::from(io::ErrorKind::Other))?
}

/// A client that watches a command's output.
struct Follower {
    agent: Arc<Agent>,
    session: Arc<Session>,
    command: Arc<Command>,
    view: View,
    /// Waits for the command's end; otherwise for nothing.
    follows: bool,
}

/// Why a stream ends.
enum End {
    /// All has been said.
    Complete,
    Stopping,
    LogBroken,
    ClientGone,
}

impl Follower {
    async fn run(mut self, mut socket: WebSocket) {
        let code = match self.stream(&mut socket).await {
            End::Complete => close_code::NORMAL,
            End::Stopping => close_code::AWAY,
            End::LogBroken => close_code::ERROR,
            End::ClientGone => return,
        };
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        // The connection is closed only after the client's answer, or the frame may get lost.
        let _ = timeout(CLOSE_PATIENCE, async {
            socket.send(Message::Close(Some(frame))).await?;
            while let Some(Ok(_)) = socket.recv().await {}
            Ok::<_, axum::Error>(())
        })
        .await;
    }

    async fn stream(&mut self, socket: &mut WebSocket) -> End {
        let mut reader = LogReader::follow(self.command.log.clone());
        let mut grown = self.command.log.watch();
        let mut state = self.command.watch();
        let agent = self.agent.clone();
        let stopping = agent.stopping();
        tokio::pin!(stopping);
        let session = self.session.clone();
        let deleted = session.deleted();
        tokio::pin!(deleted);
        loop {
            // First the state, then the log: what was said before the end is read after the end was seen.
            let is_over = state.borrow_and_update().is_over();
            grown.borrow_and_update();
            loop {
                let Ok((records, next)) = read(reader).await else {
                    return if *self.agent.is_stopping.borrow() {
                        End::Stopping
                    } else {
                        self.broken()
                    };
                };
                reader = next;
                if records.is_empty() {
                    break;
                }
                if self.send(socket, &records).await.is_err() {
                    return End::ClientGone;
                }
            }
            if is_over || !self.follows {
                return End::Complete;
            }
            let next_ping = sleep_until(Instant::now() + PING_INTERVAL);
            tokio::select! {
                _ = grown.changed() => {}
                _ = state.changed() => {}
                () = &mut deleted => return End::Complete,
                () = &mut stopping => return End::Stopping,
                message = socket.recv() => match message {
                    // Pings are answered by the library; nothing else is expected.
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::ClientGone,
                    Some(Ok(_)) => {}
                },
                () = next_ping => {
                    if deliver(socket, Message::Ping(Bytes::new())).await.is_err() {
                        return End::ClientGone;
                    }
                }
            }
        }
    }

    /// A deleted session takes its logs with it; that is an end like any other.
    fn broken(&self) -> End {
        if self.session.is_deleted() {
            End::Complete
        } else {
            End::LogBroken
        }
    }

    async fn send(&mut self, socket: &mut WebSocket, records: &[Record]) -> Result<(), ()> {
        let mut out = Bytes::from(self.view.show_all(records));
        while !out.is_empty() {
            deliver(socket, Message::Binary(next_frame(&mut out))).await?;
        }
        Ok(())
    }
}

/// Sends one message and answers pings that came meanwhile.
async fn deliver(socket: &mut WebSocket, message: Message) -> Result<(), ()> {
    use futures_util::FutureExt;
    match timeout(FOLLOWER_PATIENCE, socket.send(message)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err(()),
    }
    // Reading is what makes the library see pings; it must not wait for long output to end.
    while let Some(message) = socket.recv().now_or_never() {
        match message {
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(()),
            Some(Ok(_)) => {}
        }
    }
    Ok(())
}
