//! Sandboxes that are made ahead of need and wait for their owners.
//!
//! The control plane says how many of which kind. One task, `runner::warm`, makes them one at a time and only while
//! nobody else is being served; `shelf` decides what it does next. A member is taken, which keeps it for one id and no
//! longer than [`TAKEN_LIMIT`], and then claimed by the driver of the sandbox that has this id.

mod shelf;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alcove_domain::SandboxId;
use alcove_runner_api::{WarmKind, WarmState, WarmWish};
use tokio::sync::Notify;

use self::shelf::{Member, Shelf, Task};
use crate::host::Host;
use crate::making::{self, Parked};

/// How long a member is kept for whoever took it. The order comes at once, or the taker is gone.
pub const TAKEN_LIMIT: Duration = Duration::from_mins(1);

/// Older members are replaced: what a sandbox gets of the host, its certificates say, is as of when it was made.
pub const AGE_LIMIT: Duration = Duration::from_hours(1);

/// After a member was taken its sandbox is about to be used, and gets the host to itself.
const TAKE_REST: Duration = Duration::from_millis(30);

/// Where somebody is always being served, a member is made all the same after so long.
const REST_LIMIT: Duration = Duration::from_millis(250);

/// What can be looked at only now and then: age, and members that ended by themselves.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

impl Member for Parked {
    fn id(&self) -> &SandboxId {
        self.sandbox()
    }

    fn is_fit(&self) -> bool {
        self.is_alive() && self.age() < AGE_LIMIT
    }
}

#[derive(Debug)]
pub struct WarmPool {
    shelf: Mutex<Shelf<Parked>>,
    changed: Notify,
    /// Sandboxes that are being started for somebody.
    starts: AtomicUsize,
    last_take: Mutex<Option<Instant>>,
}

impl Default for WarmPool {
    fn default() -> Self {
        Self {
            shelf: Mutex::new(Shelf::new(TAKEN_LIMIT)),
            changed: Notify::new(),
            starts: AtomicUsize::new(0),
            last_take: Mutex::new(None),
        }
    }
}

/// Somebody is being served for as long as this lives.
#[derive(Debug)]
pub struct BusyStart<'a>(&'a WarmPool);

impl Drop for BusyStart<'_> {
    fn drop(&mut self) {
        self.0.starts.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WarmPool {
    fn shelf(&self) -> MutexGuard<'_, Shelf<Parked>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces what is wished for. What is not wished any more goes.
    pub fn wish(&self, wishes: Vec<WarmWish>) {
        self.shelf().wish(wishes);
        self.changed.notify_one();
    }

    pub fn states(&self) -> Vec<WarmState> {
        self.shelf().states()
    }

    /// Keeps a member of the first of these kinds that has one for whoever orders a sandbox of its id.
    pub fn take(&self, kinds: &[WarmKind]) -> Option<SandboxId> {
        let taken = self.shelf().take(kinds, Instant::now());
        if taken.is_some() {
            *self
                .last_take
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.changed.notify_one();
        }
        taken
    }

    /// Puts a taken member back: nothing has been told to it.
    pub fn give_back(&self, sandbox: &SandboxId) {
        self.shelf().give_back(sandbox);
        self.changed.notify_one();
    }

    /// The member that was taken under this id.
    pub fn claim(&self, sandbox: &SandboxId) -> Option<Parked> {
        self.shelf().claim(sandbox)
    }

    /// Notes that a sandbox is being started for somebody.
    pub fn note_start(&self) -> BusyStart<'_> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        BusyStart(self)
    }

    /// Removes every member that waits. False if there was none.
    pub async fn give_way(&self, host: &Host) -> bool {
        let members = self.shelf().clear();
        let gives_way = !members.is_empty();
        for member in members {
            making::discard(host, member).await;
        }
        gives_way
    }

    /// Removes every member and makes no more.
    pub async fn close(&self, host: &Host) {
        let members = self.shelf().close();
        for member in members {
            making::discard(host, member).await;
        }
    }

    /// Waits until something is to be done, and says what.
    pub async fn next(&self) -> Task<Parked> {
        loop {
            let (task, is_empty) = {
                let mut held = self.shelf();
                (held.next(Instant::now()), held.is_empty())
            };
            match task {
                Some(task) => return task,
                None if is_empty => self.changed.notified().await,
                None => {
                    let _ = tokio::time::timeout(LOOK_PAUSE, self.changed.notified()).await;
                }
            }
        }
    }

    /// Waits until nobody is being served, but not for ever.
    pub async fn rest(&self) {
        let began = Instant::now();
        while began.elapsed() < REST_LIMIT {
            let last_take = *self
                .last_take
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let rested = last_take.map_or(TAKE_REST, |at| at.elapsed());
            if rested < TAKE_REST {
                tokio::time::sleep(TAKE_REST.saturating_sub(rested)).await;
            } else if self.starts.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(TAKE_REST / 10).await;
            } else {
                return;
            }
        }
    }

    /// Says what came of [`Task::Make`]. A member that nobody wishes for any more comes back.
    pub fn made(&self, kind: &WarmKind, made: Result<Parked, alcove_runner_api::Fault>) {
        self.shelf().made(kind, made, Instant::now());
    }
}

pub use self::shelf::Task as WarmTask;
