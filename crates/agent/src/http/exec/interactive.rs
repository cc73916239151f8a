//! A program on a terminal for one client, as clients of sessions speak to it.
//!
//! The client's first message says what is to run. The program ends with its client: nobody else can reach it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{ExecRequest, PtySize};
use axum::extract::ws::{Message, WebSocket, close_code};
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::exec::on_terminal;
use crate::http::ApiError;
use crate::http::pty::MAX_MESSAGE_BYTES;
use crate::http::pty::socket::{Manner, exit_message, run};
use crate::http::socket::{CLOSE_PATIENCE, close, close_frame, upgrade};
use crate::pty::output::{Begin, Viewer};
use crate::pty::terminal::Terminal;

/// What a client gets to say what is to run.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// What shells say of a program that is not there.
const NOT_STARTED: i32 = 127;
/// What programs take for the terminal's kind, unless the client says otherwise.
const TERM: (&str, &str) = ("TERM", "xterm-256color");

/// The first message.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum First {
    Start(Start),
}

#[derive(Deserialize)]
struct Start {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    /// Each a name, an equals sign and a value.
    #[serde(default)]
    env: Vec<String>,
    cwd: Option<String>,
    /// A client that is on no terminal itself says neither.
    cols: Option<u64>,
    rows: Option<u64>,
}

pub async fn connect(
    State(agent): State<Arc<Agent>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade(&mut parts, None, 4 * MAX_MESSAGE_BYTES).await?;
    let is_open = agent.note_socket();
    Ok(upgrade.on_upgrade(async move |socket| {
        serve(&agent, socket).await;
        drop(is_open);
    }))
}

async fn serve(agent: &Arc<Agent>, mut socket: WebSocket) {
    let Ok(first) = timeout(START_PATIENCE, first(&mut socket)).await else {
        let frame = close_frame(close_code::POLICY, "nothing was started");
        return close(socket, Some(frame), CLOSE_PATIENCE).await;
    };
    let Some(first) = first else {
        return;
    };
    let begun = serde_json::from_str(&first)
        .map_err(|error| format!("this is no order to start: {error}"))
        .and_then(|First::Start(start)| begin(agent, start));
    match begun {
        Ok((terminal, viewer)) => {
            let input = terminal.input();
            run(
                socket,
                viewer,
                input,
                Manner::Session(Arc::clone(&terminal)),
            )
            .await;
            terminal.kill().await;
        }
        Err(reason) => refuse(socket, &reason).await,
    }
}

/// The first text; None from a client that goes.
async fn first(socket: &mut WebSocket) -> Option<String> {
    loop {
        match socket.recv().await? {
            Ok(Message::Text(text)) => return Some(text.to_string()),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Binary(_)) => return Some(String::new()),
            Ok(Message::Close(_)) | Err(_) => return None,
        }
    }
}

fn begin(agent: &Agent, start: Start) -> Result<(Arc<Terminal>, Viewer), String> {
    let default = PtySize::DEFAULT;
    let size = PtySize::new(
        start.cols.unwrap_or_else(|| default.cols().into()),
        start.rows.unwrap_or_else(|| default.rows().into()),
    );
    let mut env = BTreeMap::from([(TERM.0.to_owned(), TERM.1.to_owned())]);
    for variable in start.env {
        let Some((name, value)) = variable.split_once('=') else {
            return Err(format!("{variable:?} is no variable"));
        };
        env.insert(name.to_owned(), value.to_owned());
    }
    let request = ExecRequest {
        command: start.command,
        args: start.args,
        env,
        cwd: start.cwd,
        ..ExecRequest::default()
    };
    // One that does not know its size has none.
    let terminal = on_terminal(agent, &request, size.unwrap_or(default));
    let terminal = terminal.map_err(|error| error.to_string())?;
    let viewer = terminal.attach(Begin::Now);
    let started = terminal.start(agent, || {});
    started.map_err(|error| error.to_string())?;
    Ok((terminal, viewer))
}

/// Tells why nothing runs. What is not JSON is shown to whoever sits there.
async fn refuse(mut socket: WebSocket, reason: &str) {
    let text = Message::Text(format!("{reason}\r\n").into());
    for message in [text, exit_message(NOT_STARTED)] {
        if socket.send(message).await.is_err() {
            return;
        }
    }
    close(
        socket,
        Some(close_frame(close_code::NORMAL, "")),
        CLOSE_PATIENCE,
    )
    .await;
}
