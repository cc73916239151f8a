//! Requests to a server and their answers, over its standard input and output.
//!
//! Any number of requests may be on their way. Whoever drops one while it waits takes it back: the server is told,
//! and a late answer is nobody's.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use crate::lsp::LspError;
use crate::lsp::frame::{self, FrameReader};
use crate::lsp::message::{self, Kind};

/// Messages that wait until the server reads them. Whoever has one more waits with it.
const QUEUE_LENGTH: usize = 8;

/// Answers and withdrawals that wait until the server reads them. A server that asks on and reads none is ended.
const REPLY_QUEUE_LENGTH: usize = 256;

/// Room for one read.
const READ_BYTES: usize = 64 << 10;

/// One end of the conversation.
#[derive(Debug)]
pub struct Link {
    messages: mpsc::Sender<Vec<u8>>,
    /// Apart from the others: reading the server must never wait until the server reads.
    replies: mpsc::Sender<Vec<u8>>,
    waiting: Mutex<Waiting>,
    project_uri: String,
    project_name: String,
}

#[derive(Debug, Default)]
struct Waiting {
    last_id: i64,
    by_id: HashMap<i64, oneshot::Sender<Bytes>>,
    /// Why there will be no answers any more.
    end: Option<String>,
}

/// What waits to be written.
#[derive(Debug)]
pub struct Outbox {
    messages: mpsc::Receiver<Vec<u8>>,
    replies: mpsc::Receiver<Vec<u8>>,
}

/// A place in the queue of messages. Filling it cannot fail and does not wait.
#[derive(Debug)]
pub struct Place<'a>(mpsc::Permit<'a, Vec<u8>>);

impl Place<'_> {
    pub fn notify(self, method: &str, params: &Value) {
        self.0
            .send(frame::encode(&message::notification(method, params)));
    }
}

impl Link {
    /// For a project of this URI and name.
    pub fn new(project_uri: String, project_name: String) -> (Arc<Self>, Outbox) {
        let (messages, outgoing) = mpsc::channel(QUEUE_LENGTH);
        let (replies, outgoing_replies) = mpsc::channel(REPLY_QUEUE_LENGTH);
        let link = Self {
            messages,
            replies,
            waiting: Mutex::default(),
            project_uri,
            project_name,
        };
        let outbox = Outbox {
            messages: outgoing,
            replies: outgoing_replies,
        };
        (Arc::new(link), outbox)
    }

    /// Asks and waits for the answer, without a limit of time.
    ///
    /// # Errors
    /// The server refused, ended, or answered something else.
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Result<Option<T>, LspError> {
        let (sender, answer) = oneshot::channel();
        let id = self.note(sender)?;
        let _withdrawal = Withdrawal { link: self, id };
        let frame = frame::encode(&message::request(id, method, params));
        self.messages.send(frame).await.map_err(|_| self.ended())?;
        let answer = answer.await.map_err(|_| self.ended())?;
        message::result(&answer)
    }

    /// Waits for a place in the queue.
    ///
    /// # Errors
    /// The server ended.
    pub async fn place(&self) -> Result<Place<'_>, LspError> {
        if self.has_ended() {
            return Err(self.ended());
        }
        let permit = self.messages.reserve().await.map_err(|_| self.ended())?;
        Ok(Place(permit))
    }

    pub fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// No more answers: all who wait learn why.
    pub fn end(&self, reason: String) {
        let waiting = {
            let mut waiting = self.lock();
            waiting.end.get_or_insert(reason);
            std::mem::take(&mut waiting.by_id)
        };
        drop(waiting);
    }

    /// Reads what the server says until it says no more.
    ///
    /// # Errors
    /// What it said is no message, or cannot be read.
    pub async fn read(&self, mut output: pipe::Receiver) -> Result<(), String> {
        let mut reader = FrameReader::default();
        loop {
            while let Some(message) = reader.next_message().map_err(|error| error.to_string())? {
                self.take(message)?;
            }
            let buffer = reader.buffer();
            buffer.reserve(READ_BYTES);
            match output.read_buf(buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn take(&self, message: Bytes) -> Result<(), String> {
        match message::kind(&message)
            .map_err(|error| format!("its output is no message: {error}"))?
        {
            Kind::Answer(id) => {
                let waiting = self.lock().by_id.remove(&id);
                if let Some(waiting) = waiting {
                    // Who asked may have gone.
                    let _ = waiting.send(message);
                }
            }
            Kind::Request => {
                if let Some(reply) = message::reply(&message, &self.project_uri, &self.project_name)
                {
                    self.replies
                        .try_send(frame::encode(&reply))
                        .map_err(|_| "it does not read the answers to its requests".to_owned())?;
                }
            }
            Kind::Other => {}
        }
        Ok(())
    }

    fn note(&self, sender: oneshot::Sender<Bytes>) -> Result<i64, LspError> {
        let mut waiting = self.lock();
        if let Some(reason) = &waiting.end {
            return Err(LspError::Ended(reason.clone()));
        }
        waiting.last_id += 1;
        let id = waiting.last_id;
        waiting.by_id.insert(id, sender);
        Ok(id)
    }

    fn ended(&self) -> LspError {
        let reason = self.lock().end.clone();
        LspError::Ended(reason.unwrap_or_else(|| "it takes no more requests".to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a request back when it is dropped without an answer.
struct Withdrawal<'a> {
    link: &'a Link,
    id: i64,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if self.link.lock().by_id.remove(&self.id).is_some() {
            let params = json!({ "id": self.id });
            let frame = frame::encode(&message::notification("$/cancelRequest", &params));
            // It only spares the server work.
            let _ = self.link.replies.try_send(frame);
        }
    }
}

impl Outbox {
    /// Writes what comes until nobody is left who could send more.
    ///
    /// # Errors
    /// The server does not read any more.
    pub async fn write(mut self, mut input: pipe::Sender) -> io::Result<()> {
        loop {
            let frame = tokio::select! {
                biased;
                Some(frame) = self.replies.recv() => frame,
                Some(frame) = self.messages.recv() => frame,
                else => return Ok(()),
            };
            input.write_all(&frame).await?;
        }
    }
}
