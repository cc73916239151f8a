//! Sessions: routes and calls. Logs have their own module.

mod follow;
mod frames;
pub mod logs;

use std::sync::Arc;

use alcove_agent_api::{
    CreateSessionRequest, ENTRYPOINT_SESSION, ErrorCode, InputRequest, SessionExecRequest,
    SessionExecResponse,
};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::client::Client;
use crate::session::command::{InputError, Mode};
use crate::session::registry::SessionError;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/process/session", get(list).post(create))
        .route("/process/session/{session}", get(describe).delete(delete))
        .route("/process/session/{session}/exec", post(exec))
        .route("/process/session/{session}/command/{command}", get(command))
        .route(
            "/process/session/{session}/command/{command}/logs",
            get(logs::logs),
        )
        .route(
            "/process/session/{session}/command/{command}/input",
            post(input),
        )
        .route("/process/session/entrypoint/logs", get(logs::of_entrypoint))
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let code = match error {
            SessionError::Exists => ErrorCode::Conflict,
            SessionError::NotFound | SessionError::CommandNotFound => ErrorCode::NotFound,
            SessionError::Ended => ErrorCode::SessionEnded,
            SessionError::TooMany => ErrorCode::ServiceUnavailable,
            SessionError::Start(_) => ErrorCode::InternalServerError,
        };
        Self::new(code, error)
    }
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        let code = match error {
            InputError::Completed => ErrorCode::CommandAlreadyCompleted,
            InputError::NotAsync => ErrorCode::Conflict,
            InputError::NotReading => ErrorCode::ServiceUnavailable,
        };
        Self::new(code, error)
    }
}

fn refuse_entrypoint(id: &str) -> Result<(), ApiError> {
    if id == ENTRYPOINT_SESSION {
        let message = format_args!("session id {ENTRYPOINT_SESSION} is reserved");
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

async fn create(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let request: CreateSessionRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    if request.session_id.is_empty() {
        return Err(ApiError::new(
            ErrorCode::InvalidRequestBody,
            "sessionId is required",
        ));
    }
    refuse_entrypoint(&request.session_id)?;
    agent
        .sessions
        .create(&agent, &request.session_id, client.session_starts_at_home())?;
    Ok(StatusCode::CREATED)
}

async fn list(State(agent): State<Arc<Agent>>) -> Json<Vec<alcove_agent_api::Session>> {
    Json(
        agent
            .sessions
            .list()
            .iter()
            .map(|session| session.describe())
            .collect(),
    )
}

async fn describe(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Result<Json<alcove_agent_api::Session>, ApiError> {
    Ok(Json(agent.sessions.get(&id)?.describe()))
}

async fn delete(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    refuse_entrypoint(&id)?;
    // In a task of its own: a caller that leaves must not leave half of the session.
    let deletion = tokio::spawn(async move { agent.sessions.delete(&id).await });
    deletion.await.map_err(|_| super::error::panicked())??;
    Ok(StatusCode::NO_CONTENT)
}

async fn exec(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    refuse_entrypoint(&id)?;
    let request: SessionExecRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    if request.command.trim().is_empty() {
        return Err(ApiError::bad_request("command must not be empty"));
    }
    let is_async = request.is_async();
    let has_echo = !request.suppress_input_echo.unwrap_or(false);
    let mode = if is_async {
        Mode::Async { has_echo }
    } else {
        Mode::Sync
    };
    let session = agent.sessions.get(&id)?;
    let command = session.exec(request.command, mode)?;
    if is_async {
        let answer = SessionExecResponse {
            cmd_id: command.id.clone(),
            ..Default::default()
        };
        return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
    }
    let exit_code = session.wait(&command).await?;
    Ok(logs::exec_answer(&command, exit_code, client.log_form()).await)
}

async fn command(
    State(agent): State<Arc<Agent>>,
    Path((session, command)): Path<(String, String)>,
) -> Result<Json<alcove_agent_api::Command>, ApiError> {
    Ok(Json(
        agent.sessions.get(&session)?.command(&command)?.describe(),
    ))
}

async fn input(
    State(agent): State<Arc<Agent>>,
    Path((session, command)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    refuse_entrypoint(&session)?;
    let request: InputRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    if request.data.is_empty() {
        return Err(ApiError::new(
            ErrorCode::InvalidRequestBody,
            "data is required",
        ));
    }
    let command = agent.sessions.get(&session)?.command(&command)?;
    command.send_input(&request.data).await?;
    Ok(StatusCode::NO_CONTENT)
}
