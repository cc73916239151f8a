//! One piece of code on its way through a context.

use std::collections::BTreeMap;
use std::time::Duration;

use alcove_agent_api::{InterpreterMessage, InterpreterMessageKind};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for a slow client before the code is held up.
const WAITING_MESSAGES: usize = 8;

/// What is asked of an execution besides its code.
#[derive(Debug, Default)]
pub struct ExecutionTerms {
    pub envs: BTreeMap<String, String>,
    /// From the moment that it runs.
    pub time_limit: Option<Duration>,
}

/// The client's side.
#[derive(Debug)]
pub struct Execution {
    /// JSON, in order. Ends when the execution does; dropping it does not stop the code.
    pub messages: mpsc::Receiver<String>,
    end: oneshot::Receiver<End>,
}

impl Execution {
    /// How it ended; meant to be called when there are no more messages.
    pub async fn end(self) -> End {
        // A driver that is gone without a word was told to go.
        self.end.await.unwrap_or(End::Deleted)
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The code ran to its end, or raised something.
    Completed,
    TimedOut,
    /// The process ended in the middle; why, as far as it can be told.
    WorkerDied(String),
    /// There is no process, and none could be started; the reason.
    NotStarted(String),
    /// The context was deleted.
    Deleted,
}

/// The driver's side.
#[derive(Debug)]
pub struct Job {
    pub code: String,
    pub terms: ExecutionTerms,
    pub messages: mpsc::Sender<String>,
    pub end: oneshot::Sender<End>,
}

/// Both sides of one execution.
pub fn execution(code: String, terms: ExecutionTerms) -> (Job, Execution) {
    let (messages, received) = mpsc::channel(WAITING_MESSAGES);
    let (end, ended) = oneshot::channel();
    let job = Job {
        code,
        terms,
        messages,
        end,
    };
    let execution = Execution {
        messages: received,
        end: ended,
    };
    (job, execution)
}

pub fn error_message(name: &str, value: &str, traceback: &str) -> String {
    json(&InterpreterMessage {
        r#type: InterpreterMessageKind::Error,
        text: String::new(),
        name: name.to_owned(),
        value: value.to_owned(),
        traceback: traceback.to_owned(),
    })
}

/// For an execution whose context was deleted.
pub fn deleted_message() -> String {
    error_message("ContextDeleted", "the context was deleted", "")
}

pub fn control_message(text: &str) -> String {
    json(&InterpreterMessage {
        text: text.to_owned(),
        ..Default::default()
    })
}

fn json(message: &InterpreterMessage) -> String {
    // Objects of ours always serialise.
    serde_json::to_string(message).unwrap_or_default()
}
