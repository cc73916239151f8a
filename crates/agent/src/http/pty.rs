//! Terminals: routes and calls. The sockets have their own module.

pub(super) mod socket;

use std::collections::BTreeMap;
use std::sync::Arc;

use alcove_agent_api::{
    ErrorCode, PtyCreateRequest, PtyCreateResponse, PtyDeleted, PtyInfo, PtyList, PtyOffer,
    PtyResizeRequest, PtySize, PtySizeError,
};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;

use self::socket::Manner;
use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::client::Client;
use crate::http::params::Params;
use crate::http::process::check_variable_names;
use crate::http::socket::{offered_protocols, upgrade};
use crate::pty::output::Begin;
use crate::pty::registry::{NewTerminal, RegistryError};
use crate::pty::terminal::TerminalError;

/// The last part of a path of its own, where an id stands in the others.
const CREATE_CONNECT: &str = "create-connect";

/// Most that a client may paste at once.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 20;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/process/pty", get(list).post(create))
        .route("/process/pty/create-connect", get(create_connect))
        .route("/process/pty/{session}", get(describe).delete(delete))
        .route("/process/pty/{session}/resize", post(resize))
        .route("/process/pty/{session}/connect", get(connect))
}

impl From<TerminalError> for ApiError {
    fn from(error: TerminalError) -> Self {
        let code = match &error {
            TerminalError::Ended => ErrorCode::Gone,
            TerminalError::Folder { .. } => ErrorCode::BadRequest,
            TerminalError::Start(_) | TerminalError::Resize(_) => ErrorCode::InternalServerError,
        };
        Self::new(code, error)
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        let code = match error {
            RegistryError::Exists(_) => ErrorCode::Conflict,
            RegistryError::NotFound(_) => ErrorCode::NotFound,
            RegistryError::TooMany => ErrorCode::ServiceUnavailable,
            RegistryError::Environment(_) => ErrorCode::BadRequest,
            RegistryError::Terminal(error) => return error.into(),
        };
        Self::new(code, error)
    }
}

impl From<PtySizeError> for ApiError {
    fn from(error: PtySizeError) -> Self {
        Self::bad_request(error)
    }
}

fn new_terminal(
    id: &str,
    cwd: Option<&str>,
    envs: BTreeMap<String, String>,
    size: (Option<u64>, Option<u64>),
    is_lazy: bool,
) -> Result<NewTerminal, ApiError> {
    if id.is_empty() {
        return Err(ApiError::bad_request("id is required"));
    }
    if id == CREATE_CONNECT {
        let message = format_args!("id {CREATE_CONNECT} is reserved");
        return Err(ApiError::bad_request(message));
    }
    check_variable_names(envs.keys())?;
    let (cols, rows) = size;
    Ok(NewTerminal {
        id: id.to_owned(),
        cwd: cwd.unwrap_or_default().to_owned(),
        envs,
        size: PtySize::new(
            cols.unwrap_or_else(|| PtySize::DEFAULT.cols().into()),
            rows.unwrap_or_else(|| PtySize::DEFAULT.rows().into()),
        )?,
        is_lazy,
    })
}

async fn create(
    State(agent): State<Arc<Agent>>,
    body: Body,
) -> Result<(StatusCode, Json<PtyCreateResponse>), ApiError> {
    let request: PtyCreateRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    let new = new_terminal(
        &request.id,
        request.cwd.as_deref(),
        request.envs.unwrap_or_default(),
        (request.cols, request.rows),
        request.lazy_start.unwrap_or(false),
    )?;
    agent.terminals.create(&agent, new)?;
    let session_id = request.id;
    Ok((StatusCode::CREATED, Json(PtyCreateResponse { session_id })))
}

async fn list(State(agent): State<Arc<Agent>>) -> Json<PtyList> {
    let sessions = agent.terminals.list();
    let sessions = sessions.iter().map(|entry| entry.describe()).collect();
    Json(PtyList { sessions })
}

async fn describe(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Result<Json<PtyInfo>, ApiError> {
    Ok(Json(agent.terminals.get(&id)?.describe()))
}

async fn delete(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Result<Json<PtyDeleted>, ApiError> {
    // In a task of its own: a caller that leaves must not leave half of the programs.
    let deletion = tokio::spawn(async move { agent.terminals.delete(&id).await });
    deletion.await.map_err(|_| super::error::panicked())??;
    Ok(Json(PtyDeleted {}))
}

async fn resize(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<PtyInfo>, ApiError> {
    let request: PtyResizeRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    let size = PtySize::new(request.cols, request.rows)?;
    // One that has ended and one that never was are the same here.
    let entry = agent
        .terminals
        .get(&id)
        .map_err(|error| ApiError::new(ErrorCode::Gone, error))?;
    entry.terminal.resize(size)?;
    Ok(Json(entry.describe()))
}

/// The offer of a request's sub-protocols.
fn offer(request: &Request) -> Result<PtyOffer, ApiError> {
    PtyOffer::parse(offered_protocols(request.headers())).map_err(ApiError::bad_request)
}

/// Where a client that connects begins: `from`, or `scrollback`.
fn begin(params: &Params) -> Result<Begin, ApiError> {
    if let Some(from) = params.get("from") {
        let from = from.parse().map(Begin::At);
        return from.map_err(|_| ApiError::bad_request("from must be a number of bytes"));
    }
    match params.get("scrollback") {
        None | Some("false") => Ok(Begin::Now),
        Some("true") => Ok(Begin::Scrollback),
        Some(_) => Err(ApiError::bad_request("scrollback must be true or false")),
    }
}

async fn connect(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    Client(client): Client,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::parse(request.uri().query())?;
    let begin = begin(&params)?;
    let offer = offer(&request)?;
    if !offer.envs.is_empty() {
        let message = "variables can only be given to a new terminal";
        return Err(ApiError::bad_request(message));
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade(&mut parts, offer.chosen, 4 * MAX_MESSAGE_BYTES).await?;
    // Clients read the reason from the socket, not from a refused upgrade.
    let opened = agent
        .terminals
        .get(&id)
        .map_err(|error| error.to_string())
        .and_then(|entry| {
            let viewer = agent.terminals.watch(&agent, &entry, begin);
            viewer
                .map(|viewer| (entry, viewer))
                .map_err(|error| error.to_string())
        });
    let is_open = agent.note_socket();
    let manner = Manner::Toolbox {
        reads_exit_control: offer.reads_exit_control,
        closes_normally: client.reads_normal_closes_only(),
    };
    Ok(upgrade.on_upgrade(async move |socket| {
        match opened {
            Ok((entry, viewer)) => {
                let input = entry.terminal.input();
                socket::run(socket, viewer, input, manner).await;
            }
            Err(error) => socket::refuse(socket, error).await,
        }
        drop(is_open);
    }))
}

async fn create_connect(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::parse(request.uri().query())?;
    let side = |name: &str| {
        let value = params.get(name).filter(|value| !value.is_empty());
        // What is no number is no size either.
        value.map(|value| value.parse().unwrap_or(0))
    };
    let offer = offer(&request)?;
    let new = new_terminal(
        params.required("id")?,
        params.get("cwd"),
        offer.envs,
        (side("cols"), side("rows")),
        true,
    )?;
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade(&mut parts, offer.chosen, 4 * MAX_MESSAGE_BYTES).await?;
    let entry = agent.terminals.create(&agent, new)?;
    let viewer = match agent.terminals.watch(&agent, &entry, Begin::Now) {
        Ok(viewer) => viewer,
        Err(error) => {
            // Made for this client only.
            let _ = agent.terminals.delete(params.required("id")?).await;
            return Err(error.into());
        }
    };
    let input = entry.terminal.input();
    let is_open = agent.note_socket();
    let manner = Manner::Toolbox {
        reads_exit_control: offer.reads_exit_control,
        closes_normally: client.reads_normal_closes_only(),
    };
    Ok(upgrade.on_upgrade(async move |socket| {
        socket::run(socket, viewer, input, manner).await;
        drop(is_open);
    }))
}
