//! Facts about the agent. None of these may wait for anything: the runner asks for the version until it
//! gets an answer.

use std::path::Path;
use std::sync::Arc;

use alcove_agent_api::{Dir, ErrorCode, InitRequest, InitResponse, Version};
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

pub async fn init(
    State(agent): State<Arc<Agent>>,
    body: Body,
) -> Result<Json<InitResponse>, ApiError> {
    let request: InitRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    agent.set_telemetry_token(request.token);
    Ok(Json(InitResponse {
        message: "initialized".to_owned(),
    }))
}
