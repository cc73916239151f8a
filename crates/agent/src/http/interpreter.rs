//! Interpreter contexts: routes and calls. Executions have their own module.

mod channel;

use std::collections::BTreeMap;
use std::sync::Arc;

use alcove_agent_api::{CreateContextRequest, ErrorCode, InterpreterContext, ListContextsResponse};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::{delete as delete_route, get, post};
use axum::{Json, Router};

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::interpreter::Language;
use crate::interpreter::registry::ContextError;
use crate::interpreter::worker::StartError;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/process/interpreter/context", post(create).get(list))
        .route("/process/interpreter/context/{id}", delete_route(delete))
        .route("/process/interpreter/execute", get(channel::execute))
}

impl From<ContextError> for ApiError {
    fn from(error: ContextError) -> Self {
        let code = match &error {
            ContextError::NotFound => ErrorCode::NotFound,
            ContextError::IsDefault | ContextError::Start(StartError::WorkDir { .. }) => {
                ErrorCode::BadRequest
            }
            ContextError::TooMany | ContextError::QueueFull => ErrorCode::ServiceUnavailable,
            ContextError::Start(_) => ErrorCode::InternalServerError,
        };
        Self::new(code, error)
    }
}

async fn create(
    State(agent): State<Arc<Agent>>,
    body: Body,
) -> Result<Json<InterpreterContext>, ApiError> {
    let request: CreateContextRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    let language = request.language.unwrap_or_default();
    let language = Language::parse(&language)
        .ok_or_else(|| ApiError::bad_request(format_args!("unsupported language: {language}")))?;
    let cwd = request.cwd.unwrap_or_default();
    Ok(Json(
        agent.contexts.create(&agent, language, &cwd)?.describe(),
    ))
}

async fn list(State(agent): State<Arc<Agent>>) -> Json<ListContextsResponse> {
    let contexts = agent.contexts.list();
    Json(ListContextsResponse { contexts })
}

async fn delete(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Result<Json<BTreeMap<&'static str, &'static str>>, ApiError> {
    // In a task of its own: a caller that leaves must not leave half of the context.
    let deletion = tokio::spawn(async move { agent.contexts.delete(&id).await });
    deletion.await.map_err(|_| super::error::panicked())??;
    Ok(Json(BTreeMap::from([("message", "Context deleted")])))
}
