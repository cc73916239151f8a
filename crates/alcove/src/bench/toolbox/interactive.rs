//! What people wait for: a line of code in a warm context, and a key in a terminal.

use std::time::{Duration, Instant};

use alcove_client::{Socket, SocketMessage, Toolbox};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::super::WARM_UP;
use super::super::stats::Summary;

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What clients offer so that the end of a terminal is told before its close.
const EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";

const TERMINAL: &str = "alcove-bench-terminal";

/// Lets the kernel echo each byte by itself, and swallows what is typed. Not the text that is waited for, which the
/// terminal shows while it is typed.
const SET_UP: &str = "stty -icanon echo; printf 'set-%s\\n' up; exec cat >/dev/null\n";
const IS_SET_UP: &[u8] = b"set-up";

/// `1+1` in the default context, from opening its socket to its end.
pub async fn interpreter(
    toolbox: &Toolbox,
    rounds: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Summary>> {
    let mut samples = Vec::new();
    for round in 0..WARM_UP + rounds {
        if stop.is_cancelled() {
            break;
        }
        let began = Instant::now();
        run_code(toolbox)
            .await
            .context("the interpreter does not work")?;
        if round >= WARM_UP {
            samples.push(began.elapsed());
        }
    }
    Ok(Summary::of(&samples))
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

async fn run_code(toolbox: &Toolbox) -> anyhow::Result<()> {
    let mut socket = toolbox
        .open_socket("/process/interpreter/execute", &[])
        .await?;
    socket.send_text(r#"{"code":"1+1"}"#).await?;
    loop {
        match next(&mut socket).await? {
            SocketMessage::Text(text) => {
                let said: Said =
                    serde_json::from_str(&text).with_context(|| format!("it says {text:?}"))?;
                ensure!(said.kind != "error", "it says {text}");
                if said.kind == "control" {
                    ensure!(said.text == "completed", "it says {text}");
                    return Ok(());
                }
            }
            other => bail!("it says {other:?}"),
        }
    }
}

/// One byte into a terminal, and the same byte back.
pub async fn terminal(
    toolbox: &Toolbox,
    rounds: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Summary>> {
    let path = format!("/process/pty/create-connect?id={TERMINAL}&cols=80&rows=24");
    let mut socket = toolbox.open_socket(&path, &[EXIT_CONTROL]).await?;
    socket.send_binary(SET_UP).await?;
    let mut shown = Vec::new();
    while !contains(&shown, IS_SET_UP) {
        shown.extend(output(&mut socket).await?);
    }
    // The rest of that line.
    while !shown.ends_with(b"\n") {
        shown.extend(output(&mut socket).await?);
    }
    let mut samples = Vec::new();
    for (round, key) in (0..WARM_UP + rounds).zip((b'a'..=b'z').cycle()) {
        if stop.is_cancelled() {
            break;
        }
        let began = Instant::now();
        socket.send_binary(vec![key]).await?;
        let echo = output(&mut socket).await?;
        if round >= WARM_UP {
            samples.push(began.elapsed());
        }
        ensure!(echo == [key], "the echo of {key} is {echo:?}");
    }
    drop(socket);
    toolbox.delete_terminal(TERMINAL).await?;
    Ok(Summary::of(&samples))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The next output of the terminal; control messages are no output.
async fn output(socket: &mut Socket) -> anyhow::Result<Vec<u8>> {
    loop {
        match next(socket).await? {
            SocketMessage::Binary(bytes) => return Ok(bytes.into()),
            SocketMessage::Text(text) => ensure!(
                !text.contains("\"error\""),
                "the terminal does not work: {text}"
            ),
            SocketMessage::Closed { code, reason } => {
                bail!("the terminal ended with {code:?} {reason:?}")
            }
        }
    }
}

async fn next(socket: &mut Socket) -> anyhow::Result<SocketMessage> {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await;
    Ok(message.context("nothing comes any more")??)
}
