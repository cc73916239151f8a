//! Logs of session commands: which form a client gets, and snapshots.
//!
//! All forms read the log from its files, piece by piece and at the client's pace.

use std::io;
use std::sync::Arc;

use alcove_agent_api::{
    ClientGeneration, ENTRYPOINT_COMMAND, ENTRYPOINT_SESSION, ErrorCode, LogForm, Stream,
};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::client::Client;
use crate::http::params::Params;
use crate::http::sessions::follow::{self, Followed};
use crate::http::socket::wants_upgrade;
use crate::session::command::Command;
use crate::session::log::{LogReader, Record};
use crate::session::view::View;
use crate::text::JsonText;

/// Up to here a log is read on the spot: it is in the page cache, and a thread would cost more.
const READ_ON_SPOT_BYTES: u64 = 128 << 10;

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
    let form = match session.as_str() {
        ENTRYPOINT_SESSION => entrypoint_form(&client),
        _ => client.log_form(),
    };
    let session = agent.sessions.get(&session)?;
    let command = session.command(&command)?;
    answer(
        Followed::new(agent, session, command),
        &client,
        form,
        request,
    )
    .await
}

/// `GET /process/session/entrypoint/logs`.
pub async fn of_entrypoint(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    request: Request,
) -> Result<Response, ApiError> {
    let session = agent.sessions.get(ENTRYPOINT_SESSION)?;
    let command = session.command(ENTRYPOINT_COMMAND)?;
    let form = entrypoint_form(&client);
    answer(
        Followed::new(agent, session, command),
        &client,
        form,
        request,
    )
    .await
}

/// Never without markers.
fn entrypoint_form(client: &ClientGeneration) -> LogForm {
    match client.log_form() {
        LogForm::Combined => LogForm::Marked,
        form => form,
    }
}

async fn answer(
    followed: Followed,
    client: &ClientGeneration,
    form: LogForm,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::parse(request.uri().query())?;
    let follows = params.get("follow") == Some("true");
    if wants_upgrade(request.headers()) {
        let is_marked = form != LogForm::Combined || client.stream_has_markers();
        return follow::by_socket(followed, view(is_marked), follows, request).await;
    }
    // All others get a snapshot, whatever `follow` says.
    let asks_for_bytes = wants_bytes(request.headers());
    if follows && (client.follows_by_http() || asks_for_bytes) {
        let view = view(form != LogForm::Combined);
        return Ok(follow::by_chunks(followed, view, asks_for_bytes));
    }
    snapshot(&followed.command, form).await
}

fn view(is_marked: bool) -> View {
    if is_marked {
        View::marked()
    } else {
        View::Combined
    }
}

/// Whether the client asks for the log as a stream of bytes, by name.
fn wants_bytes(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .map(|kind| kind.split(';').next().unwrap_or_default().trim())
        .any(|kind| kind.eq_ignore_ascii_case("application/octet-stream"))
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
pub async fn read(mut reader: LogReader) -> io::Result<(Vec<Record>, LogReader)> {
    if reader.remaining_bytes() <= READ_ON_SPOT_BYTES {
        return Ok((reader.next_records()?, reader));
    }
    let read = tokio::task::spawn_blocking(move || Ok((reader.next_records()?, reader))).await;
    read.map_err(|_| io::Error::from(io::ErrorKind::Other))?
}
