//! The output of one terminal, shared by all who watch it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alcove_agent_api::PtyExit;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::pty::scrollback::Scrollback;

/// Output that is kept.
const SCROLLBACK_BYTES: usize = 256 << 10;

/// Most bytes that are appended at a time, and that a viewer takes at a time.
pub const PIECE_BYTES: usize = 32 << 10;

/// A viewer that is further behind loses output with the next piece.
const MAX_LAG: u64 = (SCROLLBACK_BYTES - PIECE_BYTES) as u64;

/// How long a viewer that is behind and does not move holds up those that are not.
const HOLD: Duration = Duration::from_secs(1);

/// How a terminal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Exited(PtyExit),
    /// The sandbox is about to stop.
    Stopping,
}

/// Where a viewer begins. The first one ever always begins at the start of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    Scrollback,
    Now,
    /// At a byte of all that was ever said, for who has seen the ones before. What is not kept any more counts as
    /// dropped; a byte that has not come yet is another terminal's, and means the start of what is kept.
    At(u64),
}

/// What a viewer sees next.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Output(Vec<u8>),
    /// The viewer was too slow; so many bytes are missing here.
    Dropped(u64),
    /// There is nothing more.
    End(End),
}

/// Where a viewer is, and since when.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    since: Instant,
}

/// Whether more may be appended.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Free,
    /// When a viewer moves, or then.
    At(Instant),
    /// When a viewer moves.
    None,
}

/// All output, and who has seen how much of it.
#[derive(Debug)]
pub struct Output {
    inner: Mutex<Inner>,
    /// Output or the end has come.
    grown: watch::Sender<()>,
    /// A viewer has moved on or left. One waits: the driver.
    moved: Notify,
}

#[derive(Debug)]
struct Inner {
    scrollback: Scrollback,
    viewers: HashMap<u64, Place>,
    /// Also counts all who ever were.
    next_viewer: u64,
    end: Option<End>,
}

impl Output {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                scrollback: Scrollback::new(SCROLLBACK_BYTES),
                viewers: HashMap::new(),
                next_viewer: 0,
                end: None,
            }),
            grown: watch::Sender::new(()),
            moved: Notify::new(),
        })
    }

    /// Appends at most [`PIECE_BYTES`].
    pub fn append(&self, piece: &[u8]) {
        self.lock().scrollback.append(piece);
        self.grown.send_replace(());
    }

    /// Nothing is appended any more. The first end counts.
    pub fn close(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.grown.send_replace(());
    }

    /// Resolves when more may be appended: nobody watches, or somebody keeps up and nobody else is on the way.
    pub async fn room(&self) {
        loop {
            let room = self.lock().room(Instant::now());
            match room {
                Room::Free => return,
                Room::At(then) => {
                    let _ = timeout_at(then, self.moved.notified()).await;
                }
                Room::None => self.moved.notified().await,
            }
        }
    }

    pub fn attach(self: &Arc<Self>, begin: Begin) -> Viewer {
        let mut inner = self.lock();
        let id = inner.next_viewer;
        inner.next_viewer += 1;
        let (start, end) = (inner.scrollback.start(), inner.scrollback.end());
        let at = match begin {
            Begin::At(at) if at <= end => at,
            Begin::Now if id > 0 => end,
            Begin::At(_) | Begin::Scrollback | Begin::Now => start,
        };
        inner.place(id, at);
        Viewer {
            output: self.clone(),
            id,
            grown: self.grown.subscribe(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_behind(&self, place: Place) -> bool {
        self.scrollback.end() - place.at > MAX_LAG
    }

    fn place(&mut self, viewer: u64, at: u64) {
        let since = Instant::now();
        self.viewers.insert(viewer, Place { at, since });
    }

    fn room(&self, now: Instant) -> Room {
        let behind = self
            .viewers
            .values()
            .filter(|place| self.is_behind(**place));
        let (count, last_move) = behind.fold((0, None), |(count, last), place| {
            (count + 1, last.max(Some(place.since)))
        });
        match last_move.map(|last| last + HOLD) {
            Some(_) if count == self.viewers.len() => Room::None,
            Some(then) if now < then => Room::At(then),
            Some(_) | None => Room::Free,
        }
    }
}

/// One who watches. Dropping it leaves.
#[derive(Debug)]
pub struct Viewer {
    output: Arc<Output>,
    id: u64,
    grown: watch::Receiver<()>,
}

impl Viewer {
    /// Waits for what comes next. Safe to drop and call again.
    pub async fn next(&mut self) -> Seen {
        loop {
            self.grown.borrow_and_update();
            if let Some(seen) = self.look() {
                return seen;
            }
            // The sender lives in `output`.
            let _ = self.grown.changed().await;
        }
    }

    fn look(&self) -> Option<Seen> {
        let mut inner = self.output.lock();
        let Place { at, .. } = inner.viewers.get(&self.id).copied()?;
        let piece = inner.scrollback.read(at, PIECE_BYTES);
        let (seen, step) = if piece.dropped > 0 {
            (Seen::Dropped(piece.dropped), piece.dropped)
        } else if piece.bytes.is_empty() {
            return inner.end.clone().map(Seen::End);
        } else {
            let step = piece.bytes.len() as u64;
            (Seen::Output(piece.bytes), step)
        };
        inner.place(self.id, at + step);
        drop(inner);
        self.output.moved.notify_one();
        Some(seen)
    }

    /// Whether the viewer is about to lose output, or to hold up the program.
    pub fn is_behind(&self) -> bool {
        let inner = self.output.lock();
        let place = inner.viewers.get(&self.id);
        place.is_some_and(|place| inner.is_behind(*place))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.output.lock().viewers.remove(&self.id);
        self.output.moved.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn exit() -> End {
        End::Exited(PtyExit::new(0))
    }

    /// All that the viewer sees without waiting.
    fn see(viewer: &mut Viewer) -> Vec<Seen> {
        std::iter::from_fn(|| match viewer.next().now_or_never() {
            Some(Seen::End(_)) | None => None,
            seen => seen,
        })
        .collect()
    }

    fn room(output: &Output, later: Duration) -> Room {
        output.lock().room(Instant::now() + later)
    }

    fn fill(output: &Output) {
        for _ in 0..SCROLLBACK_BYTES / PIECE_BYTES {
            output.append(&vec![b'x'; PIECE_BYTES]);
        }
    }

    #[test]
    fn the_first_viewer_sees_the_past_and_later_ones_on_request() {
        let output = Output::new();
        output.append(b"past");
        let past = vec![Seen::Output(b"past".to_vec())];
        assert_eq!(see(&mut output.attach(Begin::Now)), past);
        assert_eq!(see(&mut output.attach(Begin::Now)), []);
        assert_eq!(see(&mut output.attach(Begin::Scrollback)), past);
    }

    #[test]
    fn who_comes_back_sees_what_came_meanwhile_and_what_is_gone_by_count() {
        let output = Output::new();
        output.append(b"seen");
        output.append(b"new");
        let new = vec![Seen::Output(b"new".to_vec())];
        assert_eq!(see(&mut output.attach(Begin::At(4))), new);
        assert_eq!(see(&mut output.attach(Begin::At(7))), []);
        let all = vec![Seen::Output(b"seennew".to_vec())];
        assert_eq!(see(&mut output.attach(Begin::At(8))), all, "another's");
        fill(&output);
        assert_eq!(see(&mut output.attach(Begin::At(4)))[0], Seen::Dropped(3));
    }

    #[test]
    fn the_end_comes_after_all_output() {
        let output = Output::new();
        let mut viewer = output.attach(Begin::Now);
        output.append(b"last");
        output.close(exit());
        output.close(End::Stopping);
        let mut next = || viewer.next().now_or_never();
        assert_eq!(next(), Some(Seen::Output(b"last".to_vec())));
        assert_eq!(next(), Some(Seen::End(exit())));
    }

    #[test]
    fn the_program_waits_while_all_are_behind() {
        let output = Output::new();
        fill(&output);
        assert_eq!(room(&output, Duration::ZERO), Room::Free, "nobody watches");
        let (one, two) = (output.attach(Begin::Now), output.attach(Begin::Now));
        fill(&output);
        assert!(one.is_behind() && two.is_behind());
        assert_eq!(room(&output, 9 * HOLD), Room::None);
        drop(one);
        assert_eq!(room(&output, 9 * HOLD), Room::None);
        drop(two);
        assert_eq!(room(&output, Duration::ZERO), Room::Free);
    }

    #[test]
    fn one_that_keeps_up_waits_a_moment_for_the_others_and_then_leaves_them_behind() {
        let output = Output::new();
        let (mut fast, mut slow) = (output.attach(Begin::Now), output.attach(Begin::Now));
        fill(&output);
        see(&mut fast);
        assert!(!fast.is_behind() && slow.is_behind());
        assert!(matches!(room(&output, Duration::ZERO), Room::At(_)));
        assert_eq!(room(&output, HOLD), Room::Free);
        output.append(b"more");
        assert_eq!(see(&mut fast), [Seen::Output(b"more".to_vec())]);
        assert_eq!(see(&mut slow)[0], Seen::Dropped(4));
        assert_eq!(room(&output, Duration::ZERO), Room::Free, "all keep up");
    }
}
