//! Downloads: from the file to the wire in pieces, at the receiver's pace.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use alcove_agent_api::{DownloadRequest, ErrorBody, ErrorCode};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    EXPIRES, IF_MODIFIED_SINCE, IF_RANGE, LAST_MODIFIED, PRAGMA, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinHandle;

use super::blocking;
use crate::agent::Agent;
use crate::file::read::{OpenFile, RangeAsked, Reading, range_asked};
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::client::Client;
use crate::http::params::Params;

/// What RFC 5987 lets stand in `filename*`.
const EXTENDED_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// One file as the body, with ranges.
pub async fn download(
    State(agent): State<Arc<Agent>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = params.required("path")?;
    let path = agent.home.resolve(asked);
    let file = blocking(move || OpenFile::open(&path)).await?;
    let modified = Timestamp::from_second(file.metadata.mtime()).unwrap_or(Timestamp::UNIX_EPOCH);

    let mut response = if is_unchanged(&headers, modified) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content(file, &headers, modified)
    };
    let name = asked
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(asked);
    let fixed: [(HeaderName, &str); 7] = [
        (CONTENT_TYPE, "application/octet-stream"),
        (
            HeaderName::from_static("content-description"),
            "File Transfer",
        ),
        (
            HeaderName::from_static("content-transfer-encoding"),
            "binary",
        ),
        (EXPIRES, "0"),
        (CACHE_CONTROL, "must-revalidate"),
        (PRAGMA, "public"),
        (ACCEPT_RANGES, "bytes"),
    ];
    let out = response.headers_mut();
    for (header, value) in fixed {
        out.insert(header, HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_bytes(&attachment(name)) {
        out.insert(CONTENT_DISPOSITION, value);
    }
    if let Some(value) = http_date(modified) {
        out.insert(LAST_MODIFIED, value);
    }
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        let range = response.headers().get(CONTENT_RANGE).cloned();
        let error = ApiError::new(
            ErrorCode::RangeNotSatisfiable,
            "the range lies outside the file",
        );
        let mut refused = error.into_response();
        refused
            .headers_mut()
            .extend(range.map(|range| (CONTENT_RANGE, range)));
        return Ok(refused);
    }
    Ok(response)
}

fn content(file: OpenFile, headers: &HeaderMap, modified: Timestamp) -> Response {
    let Some(size) = file.known_size() else {
        return Body::from_stream(pieces(Reading::to_end(file))).into_response();
    };
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A range of another version of the file would be of no use.
    let is_same = text(IF_RANGE).is_none_or(|date| parse_date(date) == Some(modified));
    let (status, start, length) = match range_asked(text(RANGE).filter(|_| is_same), size) {
        RangeAsked::Whole => (StatusCode::OK, 0, size),
        RangeAsked::Part { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        RangeAsked::Unsatisfiable => {
            let range = [(CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
        }
    };
    let reading = Reading::sized(file, start, length);
    let mut response = (status, Body::from_stream(pieces(reading))).into_response();
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{size}", start + length - 1);
        let range = HeaderValue::try_from(range).ok();
        response
            .headers_mut()
            .extend(range.map(|range| (CONTENT_RANGE, range)));
    }
    response
}

/// A body that breaks off when the file does. While a piece is sent the next one is read.
fn pieces(reading: Reading) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(Ahead::read(reading)), |ahead| async move {
        let (piece, ahead) = ahead?.next().await;
        Some((piece.transpose()?, ahead))
    })
}

/// A piece that is being read.
struct Ahead(JoinHandle<(io::Result<Option<Bytes>>, Reading)>);

impl Ahead {
    fn read(mut reading: Reading) -> Self {
        Self(tokio::task::spawn_blocking(move || {
            (reading.next_piece(), reading)
        }))
    }

    /// The piece, and the one behind it unless this is the last or the file broke off.
    async fn next(self) -> (io::Result<Option<Bytes>>, Option<Self>) {
        match self.0.await {
            Ok((Ok(piece), reading)) if reading.is_over() => (Ok(piece), None),
            Ok((Ok(Some(piece)), reading)) => (Ok(Some(piece)), Some(Self::read(reading))),
            Ok((piece, _)) => (piece, None),
            Err(_) => (Err(io::ErrorKind::Other.into()), None),
        }
    }
}

fn is_unchanged(headers: &HeaderMap, modified: Timestamp) -> bool {
    let since = headers
        .get(IF_MODIFIED_SINCE)
        .and_then(|value| value.to_str().ok());
    since
        .and_then(parse_date)
        .is_some_and(|since| modified <= since)
}

fn parse_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn http_date(time: Timestamp) -> Option<HeaderValue> {
    let text = rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .ok()?;
    HeaderValue::try_from(text).ok()
}

/// The disposition of a single download: what Latin-1 has of the name, then the whole name.
fn attachment(name: &str) -> Vec<u8> {
    let mut out = b"attachment; filename=\"".to_vec();
    for letter in name.chars() {
        match (letter, u8::try_from(u32::from(letter))) {
            ('\r' | '\n' | '\0', _) => {}
            ('"' | '\\', Ok(byte)) => out.extend_from_slice(&[b'\\', byte]),
            (_, Ok(byte)) if !letter.is_control() => out.push(byte),
            _ => out.push(b'_'),
        }
    }
    let whole = utf8_percent_encode(name, EXTENDED_VALUE);
    out.extend_from_slice(format!("\"; filename*=UTF-8''{whole}").as_bytes());
    out
}

/// Many files as the parts of a multipart body, in the order asked for. A file that fails is a part of its
/// own and does not fail the others.
pub async fn download_many(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    method: Method,
    body: Body,
) -> Result<Response, ApiError> {
    let request: DownloadRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    if request.paths.is_empty() {
        return Err(ApiError::new(
            ErrorCode::InvalidRequestBody,
            "paths must not be empty",
        ));
    }
    // Random, so that no file can hold it.
    let boundary = format!("DAYTONA-FILE-BOUNDARY-{}", uuid::Uuid::new_v4().simple());
    let kind = format!("multipart/form-data; boundary={boundary}");
    let parts = Parts {
        agent,
        method,
        boundary,
        names_are_latin1: client.keeps_names_as_latin1(),
        paths: request.paths.into(),
        current: Current::Between,
    };
    let body = Body::from_stream(stream::unfold(parts, |mut parts| async move {
        parts.next().await.map(|piece| (piece, parts))
    }));
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

/// By the name's extension.
fn content_type(path: &str) -> String {
    match mime_guess::from_path(path).first_raw() {
        Some(kind) if kind.starts_with("text/") => format!("{kind}; charset=utf-8"),
        Some(kind) => kind.to_owned(),
        None => "application/octet-stream".to_owned(),
    }
}

struct Parts {
    agent: Arc<Agent>,
    method: Method,
    boundary: String,
    names_are_latin1: bool,
    paths: VecDeque<String>,
    current: Current,
}

enum Current {
    Between,
    /// None: all of it is out but the line break behind it.
    In(Option<Ahead>),
    /// The closing boundary is out, or must not come because a file broke off.
    Over,
}

impl Parts {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        match std::mem::replace(&mut self.current, Current::Over) {
            Current::Over => None,
            Current::In(ahead) => {
                if let Some(ahead) = ahead {
                    match ahead.next().await {
                        (Ok(Some(piece)), ahead) => {
                            self.current = Current::In(ahead);
                            return Some(Ok(piece));
                        }
                        (Ok(None), _) => {}
                        (Err(error), _) => return Some(Err(error)),
                    }
                }
                self.current = Current::Between;
                Some(Ok(Bytes::from_static(b"\r\n")))
            }
            Current::Between => {
                let Some(asked) = self.paths.pop_front() else {
                    return Some(Ok(format!("--{}--\r\n", self.boundary).into()));
                };
                Some(Ok(self.open(&asked).await))
            }
        }
    }

    /// The head of a file's part, or the whole part of one that cannot be opened.
    async fn open(&mut self, asked: &str) -> Bytes {
        let opened = if asked.is_empty() {
            Err(ApiError::new(
                ErrorCode::InvalidFilePath,
                "the path is empty",
            ))
        } else {
            let path = self.agent.home.resolve(asked);
            blocking(move || {
                let file = OpenFile::open(&path)?;
                let size = file.known_size();
                let mut reading = match size {
                    Some(size) => Reading::sized(file, 0, size),
                    None => Reading::to_end(file),
                };
                // The first piece comes with the head: most files are smaller than one.
                let first = reading.next_piece().map_err(|error| {
                    crate::file::error::FileError::new("cannot read", &path, &error)
                })?;
                Ok::<_, ApiError>((size, first, reading))
            })
            .await
        };
        match opened {
            Ok((size, first, reading)) => {
                let is_over = first.is_none() || reading.is_over();
                self.current = Current::In((!is_over).then(|| Ahead::read(reading)));
                let first = first.unwrap_or_default();
                let length = size.or(first.is_empty().then_some(0));
                let length = length.map(|length| format!("Content-Length: {length}\r\n"));
                let mut part = format!(
                    "--{}\r\nContent-Disposition: {}\r\n{}Content-Type: {}\r\n\r\n",
                    self.boundary,
                    self.disposition("file", asked),
                    length.unwrap_or_default(),
                    content_type(asked),
                )
                .into_bytes();
                part.extend_from_slice(&first);
                part.into()
            }
            Err(error) => {
                self.current = Current::Between;
                let error = serde_json::to_string(&self.part_error(error, asked));
                format!(
                    "--{}\r\nContent-Disposition: {}\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{}\r\n",
                    self.boundary,
                    self.disposition("error", asked),
                    error.unwrap_or_default(),
                )
                .into()
            }
        }
    }

    fn part_error(&self, mut error: ApiError, asked: &str) -> ErrorBody {
        error.code = match error.code {
            code @ (ErrorCode::InvalidFilePath
            | ErrorCode::FileNotFound
            | ErrorCode::FileAccessDenied) => code,
            _ => ErrorCode::FileReadFailed,
        };
        error.body(&self.method, asked)
    }

    /// The plain name first: one client takes the first parameter that begins with `filename`. The plain name
    /// is the path byte for byte, which browsers compare with what they asked for; the extended one is for
    /// those that cannot read raw UTF-8 there. A client that keeps the name as Latin-1 gets one letter for
    /// each byte, so that what it keeps is the path's UTF-8 after all.
    fn disposition(&self, name: &str, path: &str) -> String {
        let mut plain = String::with_capacity(path.len());
        for letter in path.chars() {
            match letter {
                '"' | '\\' => plain.extend(['\\', letter]),
                // These would end the header.
                '\r' => plain.push_str("%0D"),
                '\n' => plain.push_str("%0A"),
                _ if self.names_are_latin1 => {
                    let mut bytes = [0; 4];
                    plain.extend(letter.encode_utf8(&mut bytes).bytes().map(char::from));
                }
                _ => plain.push(letter),
            }
        }
        let whole = utf8_percent_encode(path, EXTENDED_VALUE);
        format!("form-data; name=\"{name}\"; filename=\"{plain}\"; filename*=utf-8''{whole}")
    }
}
