//! What a client sent on a channel and nobody has carried on yet.
//!
//! The library grants a client new room in a channel's window as soon as it sees its bytes, whether anybody took them or
//! not, and calls us in the middle of its own loop, where we must not wait: what goes back to the client would wait too,
//! and a program that reads no input before its output is read would never end. So bytes are put here without waiting,
//! all inboxes of a connection are [counted](Held), and while that is too much the client is slowed down: the grants
//! become tiny, and `wire` reads its packets at the pace of a clock. See `docs/adr/0020`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_agent_api::PtySize;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes of one connection beyond which its client is slowed down.
pub const HELD_BYTES: usize = 1 << 20;
/// The window of a channel.
pub const WINDOW_BYTES: u32 = 1 << 20;
/// The window of a client that is slowed down: it has to ask for every byte, so to speak.
pub const TINY_WINDOW_BYTES: u32 = 2;
/// More than a client gets windows for in days.
const INBOX_BYTES: usize = 8 << 20;
/// Signals that wait.
const SIGNALS: usize = 16;

/// Bytes that the inboxes of one connection hold.
#[derive(Debug, Default)]
pub struct Held {
    bytes: AtomicUsize,
    /// Who reads the client's packets, when slowed down.
    reader: AtomicWaker,
}

impl Held {
    pub fn is_too_much(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > HELD_BYTES
    }

    /// The window to grant next.
    pub fn window(&self) -> u32 {
        if self.is_too_much() {
            TINY_WINDOW_BYTES
        } else {
            WINDOW_BYTES
        }
    }

    pub fn watch(&self, waker: &std::task::Waker) {
        self.reader.register(waker);
    }

    fn add(&self, count: usize) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    fn remove(&self, count: usize) {
        let before = self.bytes.fetch_sub(count, Ordering::Relaxed);
        if before > HELD_BYTES && before - count <= HELD_BYTES {
            self.reader.wake();
        }
    }
}

/// The next thing to carry on.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    Data(Bytes),
    /// No more data comes. Told once.
    End,
    Resize(PtySize),
    Signal(String),
    /// The channel is closed.
    Closed,
}

/// A client keeps sending without a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client does not keep to its window")]
pub struct Overflow;

#[derive(Debug)]
pub struct Inbox {
    held: Arc<Held>,
    state: Mutex<State>,
    changed: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    data: VecDeque<Bytes>,
    bytes: usize,
    /// Data that may be carried on; none where the reader has no bound of its own.
    credit: Option<usize>,
    has_ended: bool,
    is_end_told: bool,
    resize: Option<PtySize>,
    signals: VecDeque<String>,
    is_closed: bool,
}

impl Inbox {
    pub fn new(held: Arc<Held>) -> Arc<Self> {
        Arc::new(Self {
            held,
            state: Mutex::default(),
            changed: Notify::new(),
            closed: CancellationToken::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so a panic leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, data: &[u8]) -> Result<(), Overflow> {
        let mut state = self.lock();
        if state.is_closed || state.has_ended {
            return Ok(());
        }
        if state.bytes + data.len() > INBOX_BYTES {
            return Err(Overflow);
        }
        state.bytes += data.len();
        self.held.add(data.len());
        state.data.push_back(Bytes::copy_from_slice(data));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    pub fn end(&self) {
        self.change(|state| state.has_ended = true);
    }

    pub fn close(&self) {
        self.change(|state| state.is_closed = true);
        self.closed.cancel();
    }

    pub fn resize(&self, size: PtySize) {
        self.change(|state| state.resize = Some(size));
    }

    /// More signals than anybody sends are dropped.
    pub fn signal(&self, name: String) {
        self.change(|state| {
            if state.signals.len() < SIGNALS {
                state.signals.push_back(name);
            }
        });
    }

    /// Lets so many more bytes be carried on.
    pub fn add_credit(&self, count: usize) {
        self.change(|state| state.credit = Some(state.credit.unwrap_or_default() + count));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Waits for the next thing, of data at most so much. What is not data comes first. Safe to drop and call again.
    pub async fn next(&self, most: usize) -> Item {
        loop {
            if let Some(item) = self.take(most) {
                return item;
            }
            self.changed.notified().await;
        }
    }

    /// The same, but for what was sent before the channel was closed, which comes first. For those who give it to a port,
    /// where bytes count that their sender has seen go out.
    pub async fn next_to_the_last(&self, most: usize) -> Item {
        loop {
            if let Some(item) = self.take_to_the_last(most) {
                return item;
            }
            self.changed.notified().await;
        }
    }

    /// Waits until the channel is closed, whatever waits to be carried on.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn take(&self, most: usize) -> Option<Item> {
        let mut state = self.lock();
        if state.is_closed {
            return Some(Item::Closed);
        }
        self.take_sent(&mut state, most)
    }

    fn take_to_the_last(&self, most: usize) -> Option<Item> {
        let mut state = self.lock();
        let sent = self.take_sent(&mut state, most);
        sent.or_else(|| state.is_closed.then_some(Item::Closed))
    }

    fn take_sent(&self, state: &mut State, most: usize) -> Option<Item> {
        if let Some(size) = state.resize.take() {
            return Some(Item::Resize(size));
        }
        if let Some(name) = state.signals.pop_front() {
            return Some(Item::Signal(name));
        }
        let most = most.min(state.credit.unwrap_or(usize::MAX));
        if let Some(mut data) = state.data.pop_front() {
            if most == 0 {
                state.data.push_front(data);
                return None;
            }
            if data.len() > most {
                state.data.push_front(data.split_off(most));
            }
            state.bytes -= data.len();
            if let Some(credit) = &mut state.credit {
                *credit -= data.len();
            }
            self.held.remove(data.len());
            return Some(Item::Data(data));
        }
        if state.has_ended && !state.is_end_told {
            state.is_end_told = true;
            return Some(Item::End);
        }
        None
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.held.remove(bytes);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_was_sent_before_a_close_is_left_out_or_comes_first_as_its_reader_wants() {
        let fill = || {
            let inbox = Inbox::new(Arc::default());
            inbox.push(b"data").unwrap();
            inbox.end();
            inbox.close();
            inbox.push(b"late").unwrap();
            inbox
        };
        assert_eq!(fill().next(9).await, Item::Closed);
        let inbox = fill();
        for item in [
            Item::Data(Bytes::from_static(b"da")),
            Item::Data(Bytes::from_static(b"ta")),
            Item::End,
            Item::Closed,
        ] {
            assert_eq!(inbox.next_to_the_last(2).await, item);
        }
    }

    #[tokio::test]
    async fn orders_overtake_data_and_the_end_does_not() {
        let inbox = Inbox::new(Arc::default());
        inbox.push(b"one").unwrap();
        inbox.push(b"two").unwrap();
        inbox.end();
        inbox.push(b"too late").unwrap();
        inbox.signal("INT".to_owned());
        inbox.resize(PtySize::DEFAULT);
        assert_eq!(inbox.next(9).await, Item::Resize(PtySize::DEFAULT));
        assert_eq!(inbox.next(9).await, Item::Signal("INT".to_owned()));
        assert_eq!(inbox.next(2).await, Item::Data(Bytes::from_static(b"on")));
        assert_eq!(inbox.next(9).await, Item::Data(Bytes::from_static(b"e")));
        assert_eq!(inbox.next(9).await, Item::Data(Bytes::from_static(b"two")));
        assert_eq!(inbox.next(9).await, Item::End);
        assert!(timeout(Duration::ZERO, inbox.next(9)).await.is_err());
        inbox.close();
        assert_eq!(inbox.next(9).await, Item::Closed);
    }

    #[tokio::test]
    async fn no_more_is_carried_on_than_there_is_credit_for() {
        let inbox = Inbox::new(Arc::default());
        inbox.add_credit(4);
        inbox.push(b"hello").unwrap();
        assert_eq!(inbox.next(9).await, Item::Data(Bytes::from_static(b"hell")));
        assert!(timeout(Duration::ZERO, inbox.next(9)).await.is_err());
        inbox.signal("TERM".to_owned());
        assert_eq!(inbox.next(9).await, Item::Signal("TERM".to_owned()));
        inbox.add_credit(1);
        assert_eq!(inbox.next(9).await, Item::Data(Bytes::from_static(b"o")));
    }

    #[tokio::test]
    async fn what_is_held_is_counted_until_it_is_taken_or_dropped() {
        let held = Arc::<Held>::default();
        let inbox = Inbox::new(Arc::clone(&held));
        let much = vec![0; HELD_BYTES];
        inbox.push(&much).unwrap();
        assert_eq!(held.window(), WINDOW_BYTES);
        inbox.push(b"x").unwrap();
        assert_eq!(held.window(), TINY_WINDOW_BYTES);
        let other = Inbox::new(Arc::clone(&held));
        other.push(b"y").unwrap();
        inbox.next(1).await;
        assert!(held.is_too_much());
        drop(other);
        assert!(!held.is_too_much());
        drop(inbox);
        assert_eq!(held.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_client_that_sends_without_a_window_is_found_out() {
        let inbox = Inbox::new(Arc::default());
        let piece = vec![0; 1 << 20];
        for _ in 0..INBOX_BYTES >> 20 {
            inbox.push(&piece).unwrap();
        }
        assert_eq!(inbox.push(b"x"), Err(Overflow));
    }
}
