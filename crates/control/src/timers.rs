//! Due times of all sandboxes in one heap.
//!
//! An entry in the heap is a time to look, not a promise: activity only moves a due time back, so it
//! touches nothing here, and the look finds out that it came too early and is put in again. Nothing is
//! scanned on a clock; the safety net puts every sandbox in again once in a while.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{SandboxId, timer};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::directory::Entry;
use crate::driver::{self, Ask};
use crate::shared::{Shared, lock};

/// Longest sleep in one go; a clock that was set is noticed within it.
const SLEEP_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(i64, SandboxId)>>>,
    changed: Notify,
}

impl Timers {
    /// Sees to it that the sandbox is looked at when it is due.
    pub fn schedule(&self, entry: &Entry) {
        let Some((at, _)) = timer::next_due(&entry.sandbox(), entry.activity()) else {
            return;
        };
        let at = at.as_millisecond();
        if at >= entry.scheduled_ms.fetch_min(at, Ordering::Relaxed) {
            return;
        }
        let mut heap = lock(&self.heap);
        let is_first = heap.peek().is_none_or(|Reverse((first, _))| at < *first);
        heap.push(Reverse((at, entry.id.clone())));
        drop(heap);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Starts anew from what there is: looks that deleted sandboxes left behind go.
    pub fn rebuild(&self, entries: &[Arc<Entry>]) {
        lock(&self.heap).clear();
        for entry in entries {
            entry.scheduled_ms.store(i64::MAX, Ordering::Relaxed);
            self.schedule(entry);
        }
    }

    /// What is to be looked at now, or else the time until there is something.
    fn pop_due(&self, now: Timestamp) -> Result<SandboxId, Duration> {
        let now = now.as_millisecond();
        let mut heap = lock(&self.heap);
        match heap.peek() {
            None => Err(SLEEP_MAX),
            Some(Reverse((at, _))) if *at > now => {
                let wait = Duration::from_millis((*at - now).unsigned_abs());
                Err(wait.min(SLEEP_MAX))
            }
            Some(_) => match heap.pop() {
                Some(Reverse((_, id))) => Ok(id),
                None => Err(SLEEP_MAX),
            },
        }
    }
}

/// Looks at sandboxes when they are due, until the control plane ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        match shared.timers.pop_due(shared.clock.now()) {
            Ok(id) => look(&shared, &id).await,
            Err(wait) => {
                tokio::select! {
                    () = shared.clock.sleep(wait) => {}
                    () = shared.timers.changed.notified() => {}
                }
            }
        }
    }
}

async fn look(shared: &Arc<Shared>, id: &SandboxId) {
    let Some(entry) = shared.directory.get(id) else {
        return;
    };
    entry.scheduled_ms.store(i64::MAX, Ordering::Relaxed);
    match timer::next_due(&entry.sandbox(), entry.activity()) {
        Some((at, _)) if at <= shared.clock.now() => {
            driver::ask(shared, &entry, Ask::Due).await;
        }
        Some(_) => shared.timers.schedule(&entry),
        None => {}
    }
}
