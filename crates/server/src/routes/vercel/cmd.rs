//! Commands of a session.

use alcove_agent_api::{EXEC_PATH, ExecKill, ExecRequest};
use alcove_api_types::vercel::{KillCommand, RunCommand};
use alcove_domain::exec;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::agent::{Call, escaped, sandbox_of};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};

/// Starts a program. `cmdId` in the query, which some clients send, names nothing: ids are ours.
pub(crate) async fn run(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(session): PathOf<String>,
    headers: HeaderMap,
    BodyOf(body): BodyOf<RunCommand>,
) -> Result<Response, ApiError> {
    let timeout = body.timeout.map(exec::parse_timeout).transpose();
    let timeout = timeout.map_err(|reason| ApiError::invalid(&[reason.message]))?;
    let request = ExecRequest {
        command: body.command,
        args: body.args,
        env: body.env,
        cwd: body.cwd,
        sudo: body.sudo,
        timeout,
        wait: body.wait,
        logs: body.logs,
        session_id: session.clone(),
    };
    let call = Call::post(EXEC_PATH.to_owned(), &request);
    call.send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await
}

pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(session): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Call::get(EXEC_PATH.to_owned())
        .send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await
}

/// A command; with `wait=true`, once it is over.
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((session, command)): PathOf<(String, String)>,
    QueryOf(mut query): QueryOf,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let waits = query.boolean("wait").unwrap_or_default();
    query.finish()?;
    let wait = if waits { "?wait=true" } else { "" };
    let uri = format!("{EXEC_PATH}/{}{wait}", escaped(&command));
    Call::get(uri)
        .send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await
}

/// What a command said, from its beginning to its end.
pub(crate) async fn logs(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((session, command)): PathOf<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let uri = format!("{EXEC_PATH}/{}/logs", escaped(&command));
    Call::get(uri)
        .send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await
}

pub(crate) async fn kill(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((session, command)): PathOf<(String, String)>,
    headers: HeaderMap,
    BodyOf(body): BodyOf<KillCommand>,
) -> Result<Response, ApiError> {
    let uri = format!("{EXEC_PATH}/{}/kill", escaped(&command));
    let call = match body.signal {
        None => Call::post(uri, &serde_json::json!({})),
        Some(signal) => {
            let signal = i32::try_from(signal).map_err(|_| {
                ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "bad_request",
                    format!("no signal {signal}"),
                )
            })?;
            Call::post(uri, &ExecKill { signal })
        }
    };
    call.send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await
}
