//! Programs run as they are named, and what they say as lines of JSON.

mod interactive;
mod lines;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{
    EXEC_INTERACTIVE_PATH, ErrorCode, ExecAnswer, ExecFed, ExecKill, ExecList, ExecRequest,
};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Limited};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::exec::{Exec, ExecError, InputError};
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::params::Params;

/// Clients drop an answer of which nothing comes; a blank before the object is none of it.
const BLANK_EVERY: Duration = Duration::from_secs(20);

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/exec", post(start).get(list))
        .route(EXEC_INTERACTIVE_PATH, get(interactive::connect))
        .route("/exec/{execId}", get(find))
        .route("/exec/{execId}/logs", get(logs))
        .route("/exec/{execId}/kill", post(kill))
        .route("/exec/{execId}/stdin", post(feed))
}

/// Longest piece of a program's input.
const INPUT_MAX_BYTES: usize = 1 << 20;

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<ExecError> for ApiError {
    fn from(error: ExecError) -> Self {
        Self::new(error.code(), error)
    }
}

async fn start(State(agent): State<Arc<Agent>>, body: Body) -> Result<Response, ApiError> {
    let request: ExecRequest = read_json(body, ErrorCode::BadRequest).await?;
    if request.command.is_empty() {
        return Err(ApiError::bad_request("command must not be empty"));
    }
    if request.timeout == Some(0) {
        return Err(ApiError::bad_request("timeout must be at least 1"));
    }
    let (wait, logs) = (request.wait, request.logs);
    let exec = agent.execs.start(&agent, request)?;
    if wait {
        let form = lines::Form {
            has_command: true,
            has_output: logs,
        };
        return Ok(lines::answer(agent, exec, form));
    }
    Ok(Json(answer(&exec)).into_response())
}

async fn list(State(agent): State<Arc<Agent>>) -> Json<ExecList> {
    let commands = agent.execs.list();
    Json(ExecList {
        commands: commands.iter().map(|exec| exec.describe()).collect(),
    })
}

async fn find(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let exec = get_exec(&agent, &id)?;
    if params.get("wait") != Some("true") {
        return Ok(Json(answer(&exec)).into_response());
    }
    let pieces = stream::unfold(Some(exec), |exec| async move {
        let exec = exec?;
        if timeout(BLANK_EVERY, exec.command.over()).await.is_err() {
            return Some((Ok::<_, Infallible>(Bytes::from_static(b"\n")), Some(exec)));
        }
        let whole = serde_json::to_vec(&answer(&exec)).unwrap_or_default();
        Some((Ok(Bytes::from(whole)), None))
    });
    let kind = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response())
}

async fn logs(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let exec = get_exec(&agent, &id)?;
    let form = lines::Form {
        has_command: false,
        has_output: true,
    };
    Ok(lines::answer(agent, exec, form))
}

async fn kill(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<ExecAnswer>, ApiError> {
    let kill: ExecKill = read_json(body, ErrorCode::BadRequest).await?;
    let exec = get_exec(&agent, &id)?;
    let signal = Signal::from_named_raw(kill.signal)
        .ok_or_else(|| ApiError::bad_request(format_args!("no signal {}", kill.signal)))?;
    // It looks through all processes.
    let signalled = Arc::clone(&exec);
    tokio::task::spawn_blocking(move || signalled.signal(signal))
        .await
        .map_err(|_| super::error::panicked())?;
    Ok(Json(answer(&exec)))
}

async fn feed(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    params: Params,
    body: Body,
) -> Result<Json<ExecFed>, ApiError> {
    let exec = get_exec(&agent, &id)?;
    let offset = params.get("offset").map(str::parse).transpose();
    let offset = offset.map_err(|_| ApiError::bad_request("offset must be a number of bytes"))?;
    let closes = params.get("close") == Some("true");
    let data = Limited::new(body, INPUT_MAX_BYTES).collect().await;
    let data = data.map_err(|error| {
        ApiError::bad_request(format_args!(
            "cannot read a piece of at most {INPUT_MAX_BYTES} bytes: {error}"
        ))
    })?;
    let fed = exec.feed(&data.to_bytes(), offset, closes).await?;
    Ok(Json(ExecFed {
        command: exec.describe(),
        bytes_written: fed.written,
        is_stuck: fed.is_stuck,
    }))
}

fn get_exec(agent: &Agent, id: &str) -> Result<Arc<Exec>, ApiError> {
    let found = agent.execs.get(id);
    found.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "command not found"))
}

fn answer(exec: &Exec) -> ExecAnswer {
    ExecAnswer {
        command: exec.describe(),
    }
}
