//! One execution over a WebSocket: a request, its messages, and a close frame that says how it ended.

use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{
    CLOSE_TIMED_OUT, DEFAULT_CONTEXT, DEFAULT_EXECUTION_SECONDS, InterpreterRequest,
};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use tokio::time::{Instant, sleep_until, timeout};

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::client::version_protocol;
use crate::interpreter::registry::ContextError;
use crate::interpreter::{End, Execution, ExecutionTerms};
use crate::process::environment::is_variable_name;

/// Longest request; code of several megabytes is in use.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// What a client gets to send its request.
const REQUEST_PATIENCE: Duration = Duration::from_mins(1);

/// Silence after which the agent asks a client whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// What a client gets to take one message. The code is held up meanwhile.
const CLIENT_PATIENCE: Duration = Duration::from_mins(1);

const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Longest reason that fits into a close frame.
const MAX_REASON_BYTES: usize = 123;

/// The client is gone or takes nothing; there is nobody to tell anything.
struct ClientGone;

/// How a connection is closed.
struct Close {
    code: u16,
    reason: String,
}

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        Self { code, reason }
    }
}

impl From<End> for Close {
    fn from(end: End) -> Self {
        match end {
            End::Completed => Self::new(close_code::NORMAL, ""),
            End::TimedOut => Self::new(CLOSE_TIMED_OUT, "execution timed out"),
            End::WorkerDied(reason) | End::NotStarted(reason) => {
                Self::new(close_code::ERROR, reason)
            }
            End::Deleted => Self::new(close_code::AWAY, "context deleted"),
        }
    }
}

impl From<ContextError> for Close {
    fn from(error: ContextError) -> Self {
        let code = match &error {
            ContextError::Start(_) => close_code::ERROR,
            _ => close_code::POLICY,
        };
        Self::new(code, error.to_string())
    }
}

/// `GET …/execute`.
pub async fn execute(
    State(agent): State<Arc<Agent>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|refusal| ApiError::bad_request(refusal.body_text()))?;
    Ok(upgrade
        .protocols(version_protocol(&headers))
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_message_size(MAX_REQUEST_BYTES)
        .max_frame_size(MAX_REQUEST_BYTES)
        .on_upgrade(|socket| serve(agent, socket)))
}

async fn serve(agent: Arc<Agent>, mut socket: WebSocket) {
    let close = match answer(&agent, &mut socket).await {
        Ok(close) | Err(Stop::Refused(close)) => close,
        Err(Stop::ClientGone) => return,
    };
    let frame = CloseFrame {
        code: close.code,
        reason: close.reason.into(),
    };
    // The connection is closed only after the client's answer, or the frame may get lost.
    let _ = timeout(CLOSE_PATIENCE, async {
        socket.send(Message::Close(Some(frame))).await?;
        while let Some(Ok(_)) = socket.recv().await {}
        Ok::<_, axum::Error>(())
    })
    .await;
}

/// Why nothing was run, or not to the end.
enum Stop {
    Refused(Close),
    ClientGone,
}

impl From<Close> for Stop {
    fn from(close: Close) -> Self {
        Self::Refused(close)
    }
}

impl From<ClientGone> for Stop {
    fn from(ClientGone: ClientGone) -> Self {
        Self::ClientGone
    }
}

async fn answer(agent: &Arc<Agent>, socket: &mut WebSocket) -> Result<Close, Stop> {
    let request = read_request(agent, socket).await?;
    let id = request.context_id.as_deref().unwrap_or_default();
    let id = if id.is_empty() { DEFAULT_CONTEXT } else { id }.to_owned();
    let (code, terms) = check(request)?;
    let execution = agent.contexts.execute(agent, &id, code, terms);
    relay(agent, socket, execution.map_err(Close::from)?).await
}

async fn read_request(agent: &Agent, socket: &mut WebSocket) -> Result<InterpreterRequest, Stop> {
    let unreadable = |reason: String| Close::new(close_code::PROTOCOL, reason);
    let first = async {
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => break Ok(Bytes::from(text)),
                Some(Ok(Message::Binary(bytes))) => break Ok(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => break Err(Stop::ClientGone),
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

fn check(request: InterpreterRequest) -> Result<(String, ExecutionTerms), Close> {
    let refused = |reason: String| Close::new(close_code::POLICY, reason);
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
) -> Result<Close, Stop> {
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
            () = &mut is_stopping => return Ok(stopping()),
        }
    }
    let end = execution.end().await;
    if end == End::Deleted {
        // Some clients take the close code of it for success.
        let message = crate::interpreter::deleted_message();
        deliver(socket, Message::Text(Utf8Bytes::from(message))).await?;
    }
    Ok(end.into())
}

fn stopping() -> Close {
    Close::new(close_code::AWAY, "the sandbox stops")
}

/// Nothing is expected of the client but that it is there.
fn expect_life(message: Option<&Result<Message, axum::Error>>) -> Result<(), ClientGone> {
    match message {
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(ClientGone),
        Some(Ok(_)) => Ok(()),
    }
}

/// Sends one message and answers pings that came meanwhile.
async fn deliver(socket: &mut WebSocket, message: Message) -> Result<(), ClientGone> {
    match timeout(CLIENT_PATIENCE, socket.send(message)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err(ClientGone),
    }
    // Reading is what makes the library see pings; it must not wait for long output to end.
    while let Some(message) = socket.recv().now_or_never() {
        expect_life(message.as_ref())?;
    }
    Ok(())
}
