//! Language servers.

use std::sync::Arc;

use alcove_agent_api::{
    CompletionList, ErrorCode, LspCompletionParams, LspDocumentRequest, LspServerRequest, LspSymbol,
};
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::params::Params;
use crate::lsp::LspError;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/lsp/start", post(start))
        .route("/lsp/stop", post(stop))
        .route("/lsp/did-open", post(did_open))
        .route("/lsp/did-close", post(did_close))
        .route("/lsp/completions", post(completions))
        .route("/lsp/document-symbols", get(document_symbols))
        .route("/lsp/workspacesymbols", get(workspace_symbols))
        // As clients before 0.113 spell it.
        .route("/lsp/workspace-symbols", get(workspace_symbols))
}

impl From<LspError> for ApiError {
    fn from(error: LspError) -> Self {
        let code = match error {
            LspError::NotStarted => ErrorCode::LspServerNotInitialized,
            LspError::UnknownLanguage(_)
            | LspError::NotAFolder(_)
            | LspError::TooManyDocuments
            | LspError::Document(_)
            | LspError::Refused(_)
            // The original answers so whenever a call fails, whoever is to blame.
            | LspError::Garbled(_)
            | LspError::Ended(_) => ErrorCode::BadRequest,
            LspError::NotInstalled(_) | LspError::Start(_) => ErrorCode::InternalServerError,
            LspError::Timeout(_) => ErrorCode::RequestTimeout,
            LspError::TooManyServers | LspError::Stopping => ErrorCode::ServiceUnavailable,
        };
        Self::new(code, error)
    }
}

fn require(fields: &[(&str, &str)]) -> Result<(), ApiError> {
    match fields.iter().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => Err(missing(name)),
        None => Ok(()),
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::InvalidRequestBody,
        format_args!("{name} is required"),
    )
}

async fn read_server(body: Body) -> Result<LspServerRequest, ApiError> {
    let request: LspServerRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    require_server(&request)?;
    Ok(request)
}

async fn read_document(body: Body) -> Result<LspDocumentRequest, ApiError> {
    let request: LspDocumentRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    require_server(&request.server)?;
    require(&[("uri", &request.uri)])?;
    Ok(request)
}

fn require_server(request: &LspServerRequest) -> Result<(), ApiError> {
    require(&[
        ("languageId", &request.language_id),
        ("pathToProject", &request.path_to_project),
    ])
}

async fn start(State(agent): State<Arc<Agent>>, body: Body) -> Result<StatusCode, ApiError> {
    let request = read_server(body).await?;
    // In a task of its own: who gives up waiting finds a server that runs when asking again.
    let started = tokio::spawn(async move {
        let (language, project) = (&request.language_id, &request.path_to_project);
        agent
            .language_servers
            .start(&agent, language, project)
            .await
    });
    started.await.map_err(|_| super::error::panicked())??;
    Ok(StatusCode::OK)
}

async fn stop(State(agent): State<Arc<Agent>>, body: Body) -> Result<StatusCode, ApiError> {
    let request = read_server(body).await?;
    // In a task of its own: a caller that leaves must not leave half of the server.
    let stopped = tokio::spawn(async move {
        let (language, project) = (&request.language_id, &request.path_to_project);
        agent.language_servers.stop(&agent, language, project).await
    });
    stopped.await.map_err(|_| super::error::panicked())??;
    Ok(StatusCode::OK)
}

async fn did_open(State(agent): State<Arc<Agent>>, body: Body) -> Result<StatusCode, ApiError> {
    let LspDocumentRequest { server, uri } = read_document(body).await?;
    let server =
        agent
            .language_servers
            .get(&agent, &server.language_id, &server.path_to_project)?;
    server.open(&agent, &uri).await?;
    Ok(StatusCode::OK)
}

async fn did_close(State(agent): State<Arc<Agent>>, body: Body) -> Result<StatusCode, ApiError> {
    let LspDocumentRequest { server, uri } = read_document(body).await?;
    let server =
        agent
            .language_servers
            .get(&agent, &server.language_id, &server.path_to_project)?;
    server.close(&agent, &uri).await?;
    Ok(StatusCode::OK)
}

async fn completions(
    State(agent): State<Arc<Agent>>,
    body: Body,
) -> Result<Json<CompletionList>, ApiError> {
    let request: LspCompletionParams = read_json(body, ErrorCode::InvalidRequestBody).await?;
    let LspDocumentRequest { server, uri } = &request.document;
    require_server(server)?;
    require(&[("uri", uri)])?;
    let position = request.position.ok_or_else(|| missing("position"))?;
    let server =
        agent
            .language_servers
            .get(&agent, &server.language_id, &server.path_to_project)?;
    let list = server
        .completions(&agent, uri, position, request.context)
        .await?;
    Ok(Json(list))
}

async fn document_symbols(
    State(agent): State<Arc<Agent>>,
    params: Params,
) -> Result<Json<Vec<LspSymbol>>, ApiError> {
    let (language, project) = (
        params.required("languageId")?,
        params.required("pathToProject")?,
    );
    let uri = params.required("uri")?;
    let server = agent.language_servers.get(&agent, language, project)?;
    Ok(Json(server.document_symbols(&agent, uri).await?))
}

async fn workspace_symbols(
    State(agent): State<Arc<Agent>>,
    params: Params,
) -> Result<Json<Vec<LspSymbol>>, ApiError> {
    let (language, project) = (
        params.required("languageId")?,
        params.required("pathToProject")?,
    );
    // An empty one asks for everything.
    let query = params
        .get("query")
        .ok_or_else(|| ApiError::bad_request("parameter query is required"))?;
    let server = agent.language_servers.get(&agent, language, project)?;
    Ok(Json(server.workspace_symbols(&agent, query).await?))
}
