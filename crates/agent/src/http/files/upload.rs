//! Uploads: from the wire to the file in pieces, the sender held to the pace of the disk.

use std::collections::HashMap;
use std::sync::Arc;

use alcove_agent_api::{ErrorCode, UploadOutcome, UploadedFile, WrittenFile};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::task::JoinHandle;

use super::blocking;
use crate::agent::Agent;
use crate::file::error::FileError;
use crate::file::write::Writing;
use crate::http::ApiError;
use crate::http::multipart::{Multipart, MultipartError, is_multipart};
use crate::http::params::Params;

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 256 << 10;

/// Longest path, as the kernel has it.
const MAX_PATH_BYTES: usize = 4096;

/// Most parts of one body.
const MAX_PARTS: usize = 100_000;

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        Self::new(ErrorCode::InvalidRequestBody, error)
    }
}

/// A file that is being written, with what has not reached it yet: what waits, and at most one piece that is being
/// written meanwhile.
struct Sink {
    state: Progress,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

enum Progress {
    Resting(Box<Writing>),
    Busy(JoinHandle<Result<Writing, FileError>>),
}

impl Progress {
    /// When what was given to it is written.
    async fn rest(self) -> Result<Writing, ApiError> {
        match self {
            Self::Resting(writing) => Ok(*writing),
            Self::Busy(written) => {
                let written = written.await;
                Ok(written.map_err(|_| crate::http::error::panicked())??)
            }
        }
    }
}

impl Sink {
    async fn open(agent: &Agent, path: &str, announced: Option<u64>) -> Result<Self, ApiError> {
        let path = agent.home.resolve(path);
        let writing = blocking(move || {
            let writing = Writing::open(&path)?;
            if let Some(bytes) = announced.filter(|bytes| *bytes > 0) {
                writing.reserve(bytes)?;
            }
            Ok::<_, ApiError>(writing)
        });
        Ok(Self {
            state: Progress::Resting(Box::new(writing.await?)),
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    async fn push(mut self, piece: Bytes) -> Result<Self, ApiError> {
        self.waiting_bytes += piece.len();
        self.waiting.push(piece);
        if self.waiting_bytes < WRITE_BYTES {
            return Ok(self);
        }
        let Self { state, waiting, .. } = self;
        let mut writing = state.rest().await?;
        let written = tokio::task::spawn_blocking(move || {
            writing.write_pieces(waiting.iter().map(AsRef::as_ref))?;
            Ok(writing)
        });
        Ok(Self {
            state: Progress::Busy(written),
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    async fn commit(self) -> Result<u64, ApiError> {
        let Self { state, waiting, .. } = self;
        let mut writing = state.rest().await?;
        let written = blocking(move || {
            writing.write_pieces(waiting.iter().map(AsRef::as_ref))?;
            drop(waiting);
            writing.commit()
        });
        let written = written.await?;
        if let Some(replaced) = written.replaced {
            tokio::task::spawn_blocking(move || drop(replaced));
        }
        Ok(written.bytes)
    }
}

/// One file, as the field `file` of a multipart body or as the body itself. Answers nothing but success: the Go client
/// cannot read a description here.
pub async fn upload(
    agent: State<Arc<Agent>>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<NoAnswer>, ApiError> {
    let told = upload_and_tell(agent, params, headers, body).await;
    told.map(|_| Json(NoAnswer {}))
}

#[derive(Serialize)]
pub struct NoAnswer {}

/// The newer way, which says what was written.
pub async fn upload_and_tell(
    State(agent): State<Arc<Agent>>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UploadedFile>, ApiError> {
    let mut source = if is_multipart(&headers) {
        Source::Multipart(Box::new(Multipart::new(&headers, body)?))
    } else {
        Source::Raw(body)
    };
    let result = upload_from(&agent, &params, &headers, &mut source).await;
    if result.is_err() {
        source.drain().await;
    }
    result.map(Json)
}

enum Source {
    Multipart(Box<Multipart>),
    Raw(Body),
}

impl Source {
    async fn next_piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        match self {
            Self::Multipart(multipart) => Ok(multipart.next_piece().await?),
            Self::Raw(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => {
                        return Err(MultipartError::Body(error.to_string()).into());
                    }
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            },
        }
    }

    async fn drain(&mut self) {
        match self {
            Self::Multipart(multipart) => multipart.drain().await,
            Self::Raw(body) => while let Some(Ok(_)) = body.frame().await {},
        }
    }
}

async fn upload_from(
    agent: &Agent,
    params: &Params,
    headers: &HeaderMap,
    source: &mut Source,
) -> Result<UploadedFile, ApiError> {
    let path = params.required("path")?;
    let mut announced = None;
    match source {
        Source::Multipart(multipart) => {
            let mut is_empty = true;
            loop {
                match multipart.next_part().await? {
                    Some(name) if name == "file" => break,
                    Some(_) => is_empty = false,
                    // The Go client leaves a file without bytes out, and then there is nothing in its form.
                    None if is_empty => break,
                    None => return Err(ApiError::bad_request("the body has no field named file")),
                }
            }
        }
        Source::Raw(_) => {
            let length = headers
                .get(CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok());
            announced = length.and_then(|length| length.parse().ok());
        }
    }
    let mut sink = Sink::open(agent, path, announced).await?;
    while let Some(piece) = source.next_piece().await? {
        sink = sink.push(piece).await?;
    }
    sink.commit().await?;
    if let Source::Multipart(multipart) = source {
        multipart.drain().await;
    }
    let name = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path);
    Ok(UploadedFile {
        name: name.to_owned(),
        path: path.to_owned(),
        r#type: "file".to_owned(),
    })
}

/// What the clients read of a failed bulk upload: one joins `errors`, another shows `message`.
#[derive(Serialize)]
struct FailedUpload {
    #[serde(flatten)]
    outcome: UploadOutcome,
    #[serde(flatten)]
    error: alcove_agent_api::ErrorBody,
}

/// Many files: `files[N].path` names the destination, `files[N].file` is the content.
pub async fn upload_many(
    State(agent): State<Arc<Agent>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let mut outcome = UploadOutcome::default();
    if is_multipart(&headers) {
        match Multipart::new(&headers, body) {
            Ok(mut multipart) => {
                let mut files = Bulk {
                    agent: &agent,
                    paths: HashMap::new(),
                    outcome: &mut outcome,
                };
                if let Err(error) = files.receive(&mut multipart).await {
                    outcome.errors.push(error.message);
                }
                multipart.drain().await;
            }
            Err(error) => outcome.errors.push(error.to_string()),
        }
    } else {
        while let Some(Ok(_)) = body.frame().await {}
        outcome
            .errors
            .push(MultipartError::NotMultipart.to_string());
    }
    if outcome.errors.is_empty() {
        return Json(outcome).into_response();
    }
    let mut error = ApiError::bad_request("").body(&method, uri.path());
    error.message = outcome.errors.join(", ");
    (
        StatusCode::BAD_REQUEST,
        Json(FailedUpload { outcome, error }),
    )
        .into_response()
}

struct Bulk<'a> {
    agent: &'a Agent,
    /// Destinations whose content has not come yet.
    paths: HashMap<String, String>,
    outcome: &'a mut UploadOutcome,
}

impl Bulk<'_> {
    /// Takes part after part. Only a broken body ends it early; a file that fails is noted.
    async fn receive(&mut self, multipart: &mut Multipart) -> Result<(), ApiError> {
        let mut count = 0;
        while let Some(field) = multipart.next_part().await? {
            count += 1;
            if count > MAX_PARTS {
                return Err(ApiError::bad_request(format_args!(
                    "more than {MAX_PARTS} parts"
                )));
            }
            match numbered(&field) {
                Some((index, Kind::Path)) => self.take_path(index, multipart).await?,
                Some((index, Kind::File)) => self.take_file(index, multipart).await?,
                None => {}
            }
        }
        Ok(())
    }

    async fn take_path(&mut self, index: &str, multipart: &mut Multipart) -> Result<(), ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = multipart.next_piece().await? {
            if bytes.len() + piece.len() <= MAX_PATH_BYTES {
                bytes.extend_from_slice(&piece);
            } else {
                self.outcome.errors.push(format!(
                    "files[{index}].path: longer than {MAX_PATH_BYTES} bytes"
                ));
                return Ok(());
            }
        }
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok("") => self
                .outcome
                .errors
                .push(format!("files[{index}].path: empty")),
            Ok(path) => {
                self.paths.insert(index.to_owned(), path.to_owned());
            }
            Err(_) => self
                .outcome
                .errors
                .push(format!("files[{index}].path: not UTF-8")),
        }
        Ok(())
    }

    /// The outer error is the body's, which ends the upload; the file's own is noted.
    async fn take_file(&mut self, index: &str, multipart: &mut Multipart) -> Result<(), ApiError> {
        let Some(path) = self.paths.remove(index) else {
            self.outcome
                .errors
                .push(format!("files[{index}].file: no path came before it"));
            return Ok(());
        };
        let mut sink = Sink::open(self.agent, &path, None).await;
        while let Some(piece) = multipart.next_piece().await? {
            sink = match sink {
                Ok(sink) => sink.push(piece).await,
                // The rest of the part is read and dropped.
                Err(error) => Err(error),
            };
        }
        let written = match sink {
            Ok(sink) => sink.commit().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(bytes) => self.outcome.files.push(WrittenFile { path, bytes }),
            Err(error) => self.outcome.errors.push(error.message),
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Path,
    File,
}

/// Reads `files[N].path` and `files[N].file`; N may be anything.
fn numbered(field: &str) -> Option<(&str, Kind)> {
    let rest = field.strip_prefix("files[")?;
    let (index, kind) = rest.rsplit_once("].")?;
    match kind {
        "path" => Some((index, Kind::Path)),
        "file" => Some((index, Kind::File)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_by_their_names() {
        assert_eq!(numbered("files[0].path"), Some(("0", Kind::Path)));
        assert_eq!(numbered("files[a]b].file"), Some(("a]b", Kind::File)));
        assert_eq!(numbered("files[0].name"), None);
        assert_eq!(numbered("file"), None);
    }
}
