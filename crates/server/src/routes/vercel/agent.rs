//! The way to the agent of a session's sandbox: the toolbox proxy's, within the process.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use alcove_agent_api::{Dir, ErrorBody};
use alcove_api_types::vercel::Source;
use alcove_control::{Caller, Session, SourcePieces};
use alcove_domain::SandboxState;
use alcove_edge::Refused;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use futures_util::TryStreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::error::ApiError;
use crate::session::ORGANIZATION;

/// Longest text of an agent's error.
const ERROR_MAX_BYTES: usize = 64 << 10;

/// What is asked of an agent.
pub(super) struct Call {
    method: Method,
    /// Path and query.
    uri: String,
    body: Body,
    kind: &'static str,
}

impl Call {
    pub(super) fn get(uri: String) -> Self {
        Self {
            method: Method::GET,
            uri,
            body: Body::empty(),
            kind: "application/json",
        }
    }

    pub(super) fn post<T: Serialize>(uri: String, body: &T) -> Self {
        Self {
            method: Method::POST,
            uri,
            // Plain data always serialises.
            body: Body::from(serde_json::to_vec(body).unwrap_or_default()),
            kind: "application/json",
        }
    }

    /// With a body that is passed on as it comes.
    pub(super) fn upload(uri: String, body: Body) -> Self {
        Self {
            method: Method::POST,
            uri,
            body,
            kind: "application/octet-stream",
        }
    }

    /// Asks the agent with the client's own credential. An answer of the agent that is an error is one here.
    pub(super) async fn send(
        self,
        app: &App,
        headers: &HeaderMap,
        session: &str,
    ) -> Result<Response, ApiError> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.uri)
            .header(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        // Who asks, and in which organization.
        for name in [AUTHORIZATION, ORGANIZATION] {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let request = request.body(self.body).map_err(|_| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the path is too long",
            )
        })?;
        let (parts, body) = request.into_parts();
        let answer = app.edge().ask_agent(parts, body, session).await;
        let answer = answer.map_err(refused)?;
        if answer.status().is_client_error() || answer.status().is_server_error() {
            return Err(of_agent(answer).await);
        }
        Ok(answer)
    }
}

/// Clients start a new session where one has ended, and ask again where one is about to.
pub(super) fn refused(refused: Refused) -> ApiError {
    let gone = |message: &str| ApiError::new(StatusCode::GONE, "sandbox_stopped", message);
    let busy = |code| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, &*refused.message);
    match refused.state {
        Some(SandboxState::Stopping) => busy("sandbox_stopping"),
        Some(SandboxState::Snapshotting) => busy("sandbox_snapshotting"),
        Some(_) => gone(&refused.message),
        None if refused.code == "SANDBOX_NOT_STARTED" => gone(&refused.message),
        None => ApiError::new(refused.status, refused.code, refused.message),
    }
}

async fn of_agent(answer: Response) -> ApiError {
    let status = answer.status();
    let body = to_bytes(answer.into_body(), ERROR_MAX_BYTES).await;
    let error = body
        .ok()
        .and_then(|body| serde_json::from_slice::<ErrorBody>(&body).ok());
    let Some(error) = error else {
        return ApiError::new(status, "sandbox_error", "The sandbox gave no reason");
    };
    let code = serde_json::to_value(error.code).ok();
    let code = code
        .as_ref()
        .and_then(|code| code.as_str())
        .unwrap_or("sandbox_error");
    // Too many at a time is no fault of the server: clients wait and try again.
    let status = match status {
        StatusCode::SERVICE_UNAVAILABLE => StatusCode::TOO_MANY_REQUESTS,
        // Nor is a full disk, or a remote of git that does not answer, and clients would make the sandbox twice more.
        StatusCode::INSUFFICIENT_STORAGE
        | StatusCode::BAD_GATEWAY
        | StatusCode::GATEWAY_TIMEOUT => StatusCode::BAD_REQUEST,
        other => other,
    };
    ApiError::new(status, code.to_owned(), error.message)
}

/// A part of a query or path, as the agent reads it.
pub(super) fn escaped(text: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// Where a session is that cannot be asked.
pub(super) const NO_DIR: &str = "/";

/// Longest answer about a folder.
const DIR_MAX_BYTES: usize = 16 << 10;

/// Where commands of a session start. One that does not run has no such place.
pub(super) async fn work_dir(app: &App, headers: &HeaderMap, session: &Session) -> String {
    let no_dir = || NO_DIR.to_owned();
    if session.sandbox.state() != SandboxState::Started {
        return no_dir();
    }
    let id = session.sandbox.id.as_str();
    // It may stop at this moment; then it has none either.
    let Ok(answer) = Call::get("/work-dir".to_owned())
        .send(app, headers, id)
        .await
    else {
        return no_dir();
    };
    let body = to_bytes(answer.into_body(), DIR_MAX_BYTES).await;
    let dir = body
        .ok()
        .and_then(|body| serde_json::from_slice::<Dir>(&body).ok());
    dir.map_or_else(no_dir, |dir| dir.dir)
}

/// Puts a repository into a sandbox, below a folder of its name.
pub(super) async fn clone(
    app: &App,
    headers: &HeaderMap,
    sandbox: &str,
    source: Source,
) -> Result<(), ApiError> {
    let Some(url) = source.url.filter(|url| !url.is_empty()) else {
        return Err(ApiError::invalid(&[
            "source.url must be a string".to_owned()
        ]));
    };
    let name = url.trim_end_matches('/').rsplit(['/', ':']).next();
    let name = name.unwrap_or_default().trim_end_matches(".git");
    // Read by the agent as its own clients write it.
    let is_commit =
        |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (commit, branch) = match source.revision {
        Some(revision) if is_commit(&revision) => (Some(revision), None),
        other => (None, other),
    };
    let request = json!({
        "url": url, "path": name, "branch": branch, "commit_id": commit,
        "username": source.username, "password": source.password, "depth": source.depth,
    });
    Call::post("/git/clone".to_owned(), &request)
        .send(app, headers, sandbox)
        .await?;
    Ok(())
}

/// Unpacks an archive, as it is fetched, into the folder where commands start.
pub(super) async fn unpack(
    app: &App,
    headers: &HeaderMap,
    sandbox: &str,
    pieces: SourcePieces,
) -> Result<(), ApiError> {
    let broken = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&broken);
    let body = Body::from_stream(pieces.map_err(move |error| {
        let text = io::Error::other(error.to_string());
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        text
    }));
    let unpacked = Call::upload("/files/unpack?path=%2E&links=true".to_owned(), body)
        .send(app, headers, sandbox)
        .await;
    // Why nothing more came says more than what the agent made of it.
    let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
    match broken {
        Some(error) => Err(super::refused(error)),
        None => unpacked.map(drop),
    }
}

/// The sandbox of a session that runs.
pub(super) fn sandbox_of(app: &App, caller: &Caller, session: &str) -> Result<String, ApiError> {
    let found = app.control().session_sandbox(caller, session);
    Ok(found.map_err(super::refused)?.to_string())
}
