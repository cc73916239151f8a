//! One client's connection to a terminal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{PtyControl, PtyExit, PtySize, PtyStatus, error_close_reason};
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::MAX_MESSAGE_BYTES;
use crate::http::socket::{CLOSE_PATIENCE, MESSAGE_PATIENCE, PING_INTERVAL, close, close_frame};
use crate::pty::output::{End, Seen, Viewer};
use crate::pty::terminal::Terminal;

/// How long a client may take no output while that holds up others.
const SLOW_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a client that takes no output.
const SLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Input that waits for a program that does not read. Then the client is not read any more.
const MAX_WAITING_INPUT: usize = 256 << 10;

/// What a client that was too slow gets to read that it was.
const SLOW_CLOSE_PATIENCE: Duration = Duration::from_secs(30);

/// Why a connection ends.
enum Why {
    Over(End),
    Slow,
    MessageTooLong,
    /// It said so itself, or the connection broke.
    ClientGone,
}

/// What passes on the socket beside bytes.
pub enum Manner {
    /// Messages of the toolbox API.
    Toolbox {
        reads_exit_control: bool,
        /// A close that tells of a failure as such is not read for how the program ended.
        closes_normally: bool,
    },
    /// Those of clients of sessions, who resize the terminal by a message of text.
    Session(Arc<Terminal>),
}

impl Manner {
    /// What is said before the first output.
    fn greeting(&self) -> Message {
        match self {
            Self::Toolbox { .. } => control_message(&PtyStatus::Connected.into()),
            Self::Session(_) => Message::Ping(Bytes::new()),
        }
    }

    /// What tells that output was left out.
    fn lagged(&self, dropped_bytes: u64) -> Message {
        match self {
            Self::Toolbox { .. } => control_message(&PtyStatus::Lagged { dropped_bytes }.into()),
            // What is not JSON is shown as it is.
            Self::Session(_) => {
                Message::Text(format!("[{dropped_bytes} bytes left out]\r\n").into())
            }
        }
    }

    /// What tells how the program ended, before the close.
    fn exited(&self, exit: &PtyExit) -> Option<Message> {
        match self {
            Self::Toolbox {
                reads_exit_control, ..
            } => {
                reads_exit_control.then(|| control_message(&PtyStatus::Exited(exit.clone()).into()))
            }
            Self::Session(_) => Some(exit_message(exit.exit_code)),
        }
    }

    /// The close code that goes with an end.
    fn close_code(&self, exit: &PtyExit) -> u16 {
        match self {
            Self::Toolbox {
                closes_normally: true,
                ..
            } => close_code::NORMAL,
            _ => exit.close_code(),
        }
    }

    /// What a text means: what is typed, or nothing more.
    fn typed(&self, text: Utf8Bytes) -> Option<Bytes> {
        let Self::Session(terminal) = self else {
            return Some(text.into());
        };
        if let Ok(SessionOrder::Resize { cols, rows }) = serde_json::from_str(&text)
            && let Ok(size) = PtySize::new(cols, rows)
        {
            // One that has ended needs no size.
            let _ = terminal.resize(size);
        }
        None
    }
}

/// What clients of sessions say in words.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum SessionOrder {
    Resize { cols: u64, rows: u64 },
}

/// How a program ended, for clients of sessions.
pub fn exit_message(code: i32) -> Message {
    let text = serde_json::json!({ "type": "exit", "code": code });
    Message::Text(text.to_string().into())
}

/// Shows the terminal to a client until one of the two ends.
pub async fn run(
    socket: WebSocket,
    mut viewer: Viewer,
    input: Option<mpsc::Sender<Bytes>>,
    manner: Manner,
) {
    let (mut sink, mut stream) = socket.split();
    let mut typing = Typing::new(input);
    let why = tokio::select! {
        why = show(&mut sink, &mut viewer, &manner) => why,
        why = typing.listen(&mut stream, &manner) => why,
    };
    // From here on the program does not wait for this client.
    drop(viewer);
    if matches!(why, Why::ClientGone) {
        // What it typed before it left still counts.
        let _ = timeout(MESSAGE_PATIENCE, typing.finish(&mut stream, &manner)).await;
    }
    let (frame, patience) = match why {
        Why::Over(End::Exited(exit)) => {
            let frame = close_frame(manner.close_code(&exit), exit.to_close_reason());
            (Some(frame), CLOSE_PATIENCE)
        }
        Why::Over(End::Stopping) => (Some(close_frame(close_code::AWAY, "")), CLOSE_PATIENCE),
        Why::Slow => {
            let frame = close_frame(close_code::POLICY, "slow consumer");
            (Some(frame), SLOW_CLOSE_PATIENCE)
        }
        Why::MessageTooLong => (Some(close_frame(close_code::SIZE, "")), CLOSE_PATIENCE),
        Why::ClientGone => (None, CLOSE_PATIENCE),
    };
    // The two are halves of one.
    if let Ok(socket) = sink.reunite(stream) {
        close(socket, frame, patience).await;
    }
}

/// Tells a client why it cannot have the terminal.
pub async fn refuse(mut socket: WebSocket, error: String) {
    let frame = close_frame(close_code::ERROR, error_close_reason(&error));
    let control = PtyControl::from(PtyStatus::Error { error });
    if socket.send(control_message(&control)).await.is_ok() {
        close(socket, Some(frame), CLOSE_PATIENCE).await;
    }
}

fn control_message(control: &PtyControl) -> Message {
    Message::Text(control.to_json().into())
}

/// Sends what the viewer sees.
async fn show(
    sink: &mut SplitSink<WebSocket, Message>,
    viewer: &mut Viewer,
    manner: &Manner,
) -> Why {
    // First of all, and at once: some clients give up after a tenth of a second, and drop output that comes before.
    let mut next = manner.greeting();
    loop {
        if let Err(why) = deliver(sink, viewer, next).await {
            return why;
        }
        next = tokio::select! {
            seen = viewer.next() => match seen {
                Seen::Output(bytes) => Message::Binary(bytes.into()),
                Seen::Dropped(dropped_bytes) => manner.lagged(dropped_bytes),
                Seen::End(end) => {
                    if let End::Exited(exit) = &end
                        && let Some(message) = manner.exited(exit)
                        && let Err(why) = deliver(sink, viewer, message).await
                    {
                        return why;
                    }
                    return Why::Over(end);
                }
            },
            () = sleep(PING_INTERVAL) => Message::Ping(Bytes::new()),
        };
    }
}

/// Sends one message. A client that does not take it is given up when others wait for it, and in the end anyway.
async fn deliver(
    sink: &mut SplitSink<WebSocket, Message>,
    viewer: &Viewer,
    message: Message,
) -> Result<(), Why> {
    let last = Instant::now() + MESSAGE_PATIENCE;
    let mut next_look = Instant::now() + SLOW_PATIENCE;
    let mut sent = sink.send(message);
    loop {
        tokio::select! {
            sent = &mut sent => return sent.map_err(|_| Why::ClientGone),
            () = sleep_until(next_look) => {
                if viewer.is_behind() || next_look >= last {
                    return Err(Why::Slow);
                }
                next_look += SLOW_INTERVAL;
            }
        }
    }
}

/// What the client types, on its way to the terminal.
struct Typing {
    /// None where there is no shell to read it.
    input: Option<mpsc::Sender<Bytes>>,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

impl Typing {
    fn new(input: Option<mpsc::Sender<Bytes>>) -> Self {
        Self {
            input,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Passes on what comes until nothing more does.
    async fn listen(&mut self, stream: &mut SplitStream<WebSocket>, manner: &Manner) -> Why {
        loop {
            let has_room = self.waiting_bytes < MAX_WAITING_INPUT;
            tokio::select! {
                message = stream.next(), if has_room => {
                    let typed = match message {
                        Some(Ok(Message::Text(text))) => match manner.typed(text) {
                            Some(typed) => typed,
                            None => continue,
                        },
                        Some(Ok(Message::Binary(bytes))) => bytes,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Why::ClientGone,
                    };
                    if typed.len() > MAX_MESSAGE_BYTES {
                        return Why::MessageTooLong;
                    }
                    if self.input.is_some() && !typed.is_empty() {
                        self.waiting_bytes += typed.len();
                        self.waiting.push_back(typed);
                    }
                }
                permit = room(self.input.clone()), if !self.waiting.is_empty() => {
                    match (permit, self.waiting.pop_front()) {
                        (Some(permit), Some(typed)) => {
                            self.waiting_bytes -= typed.len();
                            permit.send(typed);
                        }
                        _ => self.give_up(),
                    }
                }
            }
        }
    }

    /// Passes on what is left of a client that has gone.
    async fn finish(&mut self, stream: &mut SplitStream<WebSocket>, manner: &Manner) {
        self.listen(stream, manner).await;
        while let Some(typed) = self.waiting.pop_front()
            && let Some(permit) = room(self.input.clone()).await
        {
            permit.send(typed);
        }
    }

    /// The shell is gone, and what is typed is nobody's.
    fn give_up(&mut self) {
        self.input = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}

/// Waits for room in the terminal's input; none if there is no shell any more.
async fn room(input: Option<mpsc::Sender<Bytes>>) -> Option<mpsc::OwnedPermit<Bytes>> {
    input?.reserve_owned().await.ok()
}
