//! Git repositories. Everything but parsing is done by a helper, see [`crate::git`].

use std::sync::Arc;

use alcove_agent_api::{ErrorCode, GitConfigScope, GitFault, GitOrder};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;

use crate::agent::Agent;
use crate::git::{self, Body as Answer};
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::client::Client;
use crate::http::params::Params;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    let (ok, created, gone) = (StatusCode::OK, StatusCode::CREATED, StatusCode::NO_CONTENT);
    let branches = get(list_branches)
        .merge(taking(Method::Post, GitOrder::CreateBranch, created))
        .merge(taking(Method::Delete, GitOrder::DeleteBranch, gone));
    let remotes = get(list_remotes).merge(taking(Method::Post, GitOrder::AddRemote, created));
    let config = get(get_config).merge(taking(Method::Post, GitOrder::SetConfig, ok));
    router
        .route("/git/clone", taking(Method::Post, GitOrder::Clone, ok))
        .route("/git/status", get(status))
        .route("/git/history", get(history))
        .route("/git/branches", branches)
        .route(
            "/git/checkout",
            taking(Method::Post, GitOrder::Checkout, ok),
        )
        .route("/git/add", taking(Method::Post, GitOrder::Add, ok))
        .route("/git/commit", taking(Method::Post, GitOrder::Commit, ok))
        .route("/git/push", taking(Method::Post, GitOrder::Push, ok))
        .route("/git/pull", taking(Method::Post, GitOrder::Pull, ok))
        .route("/git/init", taking(Method::Post, GitOrder::Init, created))
        .route("/git/reset", taking(Method::Post, GitOrder::Reset, ok))
        .route("/git/restore", taking(Method::Post, GitOrder::Restore, ok))
        .route("/git/remotes", remotes)
        .route("/git/config", config)
        .route(
            "/git/config/user",
            taking(Method::Post, GitOrder::ConfigureUser, ok),
        )
        .route(
            "/git/credentials",
            taking(Method::Post, GitOrder::Authenticate, ok),
        )
}

/// Which method a route is for.
#[derive(Clone, Copy)]
enum Method {
    Post,
    Delete,
}

/// A route whose body is all that the operation needs.
fn taking<T: DeserializeOwned + Send + 'static>(
    method: Method,
    make: fn(T) -> GitOrder,
    status: StatusCode,
) -> MethodRouter<Arc<Agent>> {
    let handler = move |State(agent): State<Arc<Agent>>, body: Body| async move {
        let request = read_json(body, ErrorCode::InvalidRequestBody).await?;
        carry_out(&agent, make(request), status).await
    };
    match method {
        Method::Post => post(handler),
        Method::Delete => delete(handler),
    }
}

async fn status(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    params: Params,
) -> Result<Response, ApiError> {
    let order = GitOrder::Status {
        path: params.required("path")?.to_owned(),
        is_strict: client.is_strict(),
    };
    carry_out(&agent, order, StatusCode::OK).await
}

async fn list_branches(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    params: Params,
) -> Result<Response, ApiError> {
    let order = GitOrder::Branches {
        path: params.required("path")?.to_owned(),
        is_strict: client.is_strict(),
    };
    carry_out(&agent, order, StatusCode::OK).await
}

async fn history(State(agent): State<Arc<Agent>>, params: Params) -> Result<Response, ApiError> {
    let path = params.required("path")?.to_owned();
    carry_out(&agent, GitOrder::History { path }, StatusCode::OK).await
}

async fn list_remotes(
    State(agent): State<Arc<Agent>>,
    params: Params,
) -> Result<Response, ApiError> {
    let path = params.required("path")?.to_owned();
    carry_out(&agent, GitOrder::Remotes { path }, StatusCode::OK).await
}

async fn get_config(State(agent): State<Arc<Agent>>, params: Params) -> Result<Response, ApiError> {
    let scope = match params.get("scope") {
        None | Some("" | "global") => GitConfigScope::Global,
        Some("local") => GitConfigScope::Local,
        Some("system") => GitConfigScope::System,
        Some(other) => {
            let message = format_args!("scope must be global, local or system, not {other:?}");
            return Err(ApiError::bad_request(message));
        }
    };
    let order = GitOrder::GetConfig {
        key: params.required("key")?.to_owned(),
        scope,
        path: params.get("path").map(str::to_owned),
    };
    carry_out(&agent, order, StatusCode::OK).await
}

async fn carry_out(
    agent: &Arc<Agent>,
    order: GitOrder,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok(match git::run(agent, order).await? {
        Answer::Whole(body) if body.is_empty() => status.into_response(),
        Answer::Whole(body) => (status, json, body).into_response(),
        Answer::Streamed(start, rest) => {
            let start = stream::iter([Ok(Bytes::from(start))]);
            let body = Body::from_stream(start.chain(rest.pieces()));
            (status, json, body).into_response()
        }
    })
}

impl From<GitFault> for ApiError {
    fn from(fault: GitFault) -> Self {
        if fault.code == ErrorCode::InternalServerError {
            // The original puts no words of its own before these.
            return Self {
                code: fault.code,
                message: fault.message,
            };
        }
        Self::new(fault.code, fault.message)
    }
}
