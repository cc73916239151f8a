//! One execution over a WebSocket: a request, its messages, and a close frame that says how it ended.

use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{
    ClientGeneration, DEFAULT_CONTEXT, DEFAULT_EXECUTION_SECONDS, InterpreterRequest,
};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};

use crate::agent::{Agent, OpenSocket};
use crate::http::ApiError;
use crate::http::client::{Client, version_protocol};
use crate::http::socket::{
    CLOSE_PATIENCE, Lost, PING_INTERVAL, close, close_frame, deliver, expect_life, upgrade,
};
use crate::interpreter::registry::ContextError;
use crate::interpreter::{End, Execution, ExecutionTerms};
use crate::process::environment::is_variable_name;

/// Longest request; code of several megabytes is in use.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// What a client gets to send its request.
const REQUEST_PATIENCE: Duration = Duration::from_mins(1);

/// How an end is told to a client that knows a time-out by this code.
fn frame_of(end: End, timed_out_close: u16) -> CloseFrame {
    match end {
        End::Completed => close_frame(close_code::NORMAL, ""),
        End::TimedOut => close_frame(timed_out_close, "execution timed out"),
        End::WorkerDied(reason) | End::NotStarted(reason) => close_frame(close_code::ERROR, reason),
        End::Deleted => close_frame(close_code::AWAY, "context deleted"),
    }
}

impl From<ContextError> for CloseFrame {
    fn from(error: ContextError) -> Self {
        let code = match &error {
            ContextError::Start(_) => close_code::ERROR,
            _ => close_code::POLICY,
        };
        close_frame(code, error.to_string())
    }
}

/// `GET …/execute`.
pub async fn execute(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    request: Request,
) -> Result<Response, ApiError> {
    let protocol = version_protocol(request.headers());
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade(&mut parts, protocol, MAX_REQUEST_BYTES).await?;
    let is_open = agent.note_socket();
    Ok(upgrade.on_upgrade(move |socket| serve(agent, client, socket, is_open)))
}

async fn serve(
    agent: Arc<Agent>,
    client: ClientGeneration,
    mut socket: WebSocket,
    _is_open: OpenSocket,
) {
    let frame = match answer(&agent, &client, &mut socket).await {
        Ok(frame) | Err(Stop::Refused(frame)) => Some(frame),
        Err(Stop::ClientLost) => None,
    };
    close(socket, frame, CLOSE_PATIENCE).await;
}

/// Why nothing was run, or not to the end.
enum Stop {
    Refused(CloseFrame),
    ClientLost,
}

impl From<CloseFrame> for Stop {
    fn from(frame: CloseFrame) -> Self {
        Self::Refused(frame)
    }
}

impl From<Lost> for Stop {
    fn from(_: Lost) -> Self {
        Self::ClientLost
    }
}

async fn answer(
    agent: &Arc<Agent>,
    client: &ClientGeneration,
    socket: &mut WebSocket,
) -> Result<CloseFrame, Stop> {
    let request = read_request(agent, socket).await?;
    let id = request.context_id.as_deref().unwrap_or_default();
    let id = if id.is_empty() { DEFAULT_CONTEXT } else { id }.to_owned();
    let (code, terms) = check(request)?;
    let execution = agent.contexts.execute(agent, &id, code, terms);
    let end = relay(agent, socket, execution.map_err(CloseFrame::from)?).await?;
    Ok(frame_of(end, client.timed_out_close()))
}

async fn read_request(agent: &Agent, socket: &mut WebSocket) -> Result<InterpreterRequest, Stop> {
    let unreadable = |reason: String| close_frame(close_code::PROTOCOL, reason);
    let first = async {
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => break Ok(Bytes::from(text)),
                Some(Ok(Message::Binary(bytes))) => break Ok(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => break Err(Stop::ClientLost),
                Some(Err(error)) => {
                    let reason = format!("cannot read the request: {error}");
                    break Err(unreadable(reason).into());
                }
            }
        }
    };
    let text = tokio::select! {
        text = timeout(REQUEST_PATIENCE, first) => text,
        () = agent.stopping() => return Err(stopping().into()),
    };
    let text = text.map_err(|_| unreadable("no request came".to_owned()))??;
    let request = serde_json::from_slice(&text);
    Ok(request.map_err(|error| unreadable(format!("the request is not understood: {error}")))?)
}

fn check(request: InterpreterRequest) -> Result<(String, ExecutionTerms), CloseFrame> {
    let refused = |reason: String| close_frame(close_code::POLICY, reason);
    if request.code.trim().is_empty() {
        return Err(refused("code is required".to_owned()));
    }
    let time_limit = match request.timeout {
        None => Some(Duration::from_secs(DEFAULT_EXECUTION_SECONDS)),
        Some(0) => None,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => return Err(refused("timeout must not be negative".to_owned())),
        },
    };
    let envs = request.envs.unwrap_or_default();
    for (name, value) in &envs {
        if !is_variable_name(name) {
            return Err(refused(format!(
                "invalid environment variable name: {name:?}"
            )));
        }
        if value.contains('\0') {
            return Err(refused(format!("the value of {name} holds a NUL byte")));
        }
    }
    Ok((request.code, ExecutionTerms { envs, time_limit }))
}

/// Sends messages as they come. Reads the socket all the while, so that pings are answered, also of a client whose
/// code still waits for its turn.
async fn relay(
    agent: &Agent,
    socket: &mut WebSocket,
    mut execution: Execution,
) -> Result<End, Stop> {
    let is_stopping = agent.stopping();
    tokio::pin!(is_stopping);
    loop {
        let next_ping = sleep_until(Instant::now() + PING_INTERVAL);
        tokio::select! {
            message = execution.messages.recv() => match message {
                Some(text) => deliver(socket, Message::Text(Utf8Bytes::from(text))).await?,
                None => break,
            },
            message = socket.recv() => expect_life(message.as_ref())?,
            () = next_ping => deliver(socket, Message::Ping(Bytes::new())).await?,
            () = &mut is_stopping => return Err(stopping().into()),
        }
    }
    let end = execution.end().await;
    if end == End::Deleted {
        // Some clients take the close code of it for success.
        let message = crate::interpreter::deleted_message();
        deliver(socket, Message::Text(Utf8Bytes::from(message))).await?;
    }
    Ok(end)
}

fn stopping() -> CloseFrame {
    close_frame(close_code::AWAY, "the sandbox stops")
}
