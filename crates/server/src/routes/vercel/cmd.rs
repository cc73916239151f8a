//! Commands of a session.

use alcove_agent_api::{EXEC_PATH, ExecFed, ExecKill, ExecRequest};
use alcove_api_types::vercel::{FeedCommand, KillCommand, RunCommand};
use alcove_domain::exec;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::agent::{Call, escaped, sandbox_of};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};

/// Longest answer about a command, whose words are in it.
const FED_MAX_BYTES: usize = 16 << 20;

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
        attach_stdin: body.attach_stdin,
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

/// Gives a command more to read. Clients send a piece again from where it was broken off, so a command that does not read
/// in time is told with how far it has come.
pub(crate) async fn feed(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((session, command)): PathOf<(String, String)>,
    headers: HeaderMap,
    BodyOf(body): BodyOf<FeedCommand>,
) -> Result<Response, ApiError> {
    let data = STANDARD.decode(body.data.unwrap_or_default());
    let data = data.map_err(|_| ApiError::invalid(&["data must be base64".to_owned()]))?;
    let offset = body.offset.map(u64::try_from).transpose();
    let offset = offset
        .map_err(|_| ApiError::invalid(&["offset must be a number of bytes".to_owned()]))?
        .map_or_else(String::new, |offset| format!("&offset={offset}"));
    let (command, close) = (escaped(&command), body.close);
    let uri = format!("{EXEC_PATH}/{command}/stdin?close={close}{offset}");
    let sandbox = sandbox_of(&app, &caller, &session)?;
    let call = Call::upload(uri, Body::from(data));
    let answer = call.send(&app, &headers, &sandbox).await?;
    let (head, said) = answer.into_parts();
    let said = to_bytes(said, FED_MAX_BYTES).await;
    let said = said.map_err(|_| {
        let message = "The sandbox did not say how far the input has come";
        ApiError::new(StatusCode::BAD_REQUEST, "sandbox_error", message)
    })?;
    let stuck = serde_json::from_slice::<ExecFed>(&said).ok();
    let Some(stuck) = stuck.filter(|fed| fed.is_stuck) else {
        return Ok(Response::from_parts(head, Body::from(said)));
    };
    let error = json!({
        "code": "command_stdin_timeout",
        "message": "The command did not read its input in time",
        "bytesWritten": stuck.bytes_written,
    });
    let told = Json(json!({ "error": error }));
    Ok((StatusCode::GATEWAY_TIMEOUT, told).into_response())
}
