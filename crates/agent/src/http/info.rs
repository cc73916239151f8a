//! Facts about the agent. None of these may wait for anything: the runner asks for the version until it
//! gets an answer.

use std::path::Path;
use std::sync::Arc;

use alcove_agent_api::{
    Dir, ErrorCode, InitRequest, Message, SystemMetrics, UpdateEnvRequest, Version,
};
use axum::Json;
use axum::body::Body;
use axum::extract::State;

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::body::read_json;

pub async fn version() -> Json<Version> {
    Json(Version {
        version: format!("v{}", env!("CARGO_PKG_VERSION")),
    })
}

pub async fn home_dir(State(agent): State<Arc<Agent>>) -> Json<Dir> {
    Json(dir(&agent.home.dir))
}

pub async fn work_dir(State(agent): State<Arc<Agent>>) -> Json<Dir> {
    Json(dir(&agent.home.work_dir))
}

fn dir(path: &Path) -> Dir {
    Dir {
        dir: path.to_string_lossy().into_owned(),
    }
}

pub async fn init(State(agent): State<Arc<Agent>>, body: Body) -> Result<Json<Message>, ApiError> {
    let request: InitRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    agent.set_telemetry_token(request.token);
    Ok(Json(Message {
        message: "initialized".to_owned(),
    }))
}

/// Changes what programs inherit that are started from now on.
pub async fn update_env(
    State(agent): State<Arc<Agent>>,
    body: Body,
) -> Result<Json<Message>, ApiError> {
    let request: UpdateEnvRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    agent
        .home
        .env
        .update(&request)
        .map_err(ApiError::bad_request)?;
    Ok(Json(Message {
        message: "environment updated".to_owned(),
    }))
}

/// Takes a moment when nobody has asked shortly before.
pub async fn metrics(State(agent): State<Arc<Agent>>) -> Result<Json<SystemMetrics>, ApiError> {
    let metrics = agent.usage.measure().await;
    metrics.map(Json).map_err(|error| {
        ApiError::new(
            ErrorCode::InternalServerError,
            format_args!("cannot read what the sandbox uses: {error}"),
        )
    })
}
