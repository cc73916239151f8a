//! A driver's mailbox, into which it can look while it works.

use std::collections::VecDeque;

use alcove_runner_api::Generation;
use tokio::sync::mpsc;

use super::Message;

#[derive(Debug)]
pub(super) struct Inbox {
    mailbox: mpsc::Receiver<Message>,
    /// Looked at and not worked off yet. Whoever sends waits for the answer, so there are few.
    seen: VecDeque<Message>,
}

impl Inbox {
    pub(super) fn new(mailbox: mpsc::Receiver<Message>) -> Self {
        Self {
            mailbox,
            seen: VecDeque::new(),
        }
    }

    /// The next message; None once nobody can send one any more.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self.seen.pop_front() {
            Some(message) => Some(message),
            None => self.mailbox.recv().await,
        }
    }

    /// Waits for an order that is newer than this one, and leaves it in the line, or for the end of the
    /// runner. May be dropped at any time.
    pub(super) async fn newer(&mut self, than: Generation) {
        while !self
            .seen
            .iter()
            .any(|message| message.order.generation > than)
        {
            match self.mailbox.recv().await {
                Some(message) => self.seen.push_back(message),
                None => return,
            }
        }
    }
}
