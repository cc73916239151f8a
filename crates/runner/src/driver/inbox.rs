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
        while !self.seen.iter().any(
            |message| matches!(message, Message::Order { order, .. } if order.generation > than),
        ) {
            match self.mailbox.recv().await {
                Some(message) => self.seen.push_back(message),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alcove_runner_api::Order;

    use super::super::Driver;
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Driver, mpsc::Receiver<Message>) -> F) -> usize {
        size_of::<F>()
    }

    /// There is one for each sandbox that is stopped, perhaps for weeks.
    #[test]
    fn a_driver_that_waits_takes_little_memory() {
        let waiting = size_of_future(Driver::run);
        assert!(waiting < 2048, "{waiting} bytes");
        // What the first message makes a mailbox take, and keep.
        let mailbox = 32 * size_of::<Message>();
        assert!(mailbox < 2048, "{mailbox} bytes");
        let order = size_of::<Order>();
        assert!(
            order > 128,
            "the control: {order} bytes would need no room apart"
        );
    }
}
