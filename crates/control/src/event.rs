//! What happened, for those who listen.
//!
//! The outbox is the source: one task reads on from the last sequence whenever something was written and
//! hands the entries to all listeners. A listener that falls behind reads what it missed from the outbox
//! itself, so it misses nothing while it is connected. One that comes back says how far it was, and gets what came after
//! that, as long as the outbox keeps it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use alcove_domain::{
    DesiredState, OrganizationId, Sandbox, SandboxState, Snapshot, SnapshotState, Volume,
    VolumeState,
};
use alcove_store::{OutboxChange, OutboxEntry, OutboxEvent, Reader, SnapshotChange, VolumeChange};
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, watch};

use crate::Error;
use crate::clock::Clock;
use crate::shared::Shared;

/// Entries that a listener may lag behind before it reads the outbox itself.
const LAG_MAX: usize = 1024;
/// Entries read at once.
const BATCH: u64 = 256;
const RETRY: Duration = Duration::from_secs(1);
/// How long an answer waits for its events. They are late only on a host that is very busy, and an answer is worth
/// more than they are.
const TOLD_PATIENCE: Duration = Duration::from_millis(100);

/// One thing that happened, as the outbox keeps it. The sequence grows by commit order.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub sequence: i64,
    pub organization: OrganizationId,
    pub at: Timestamp,
    pub body: EventBody,
}

/// What happened. What it happened to is the whole object as it was right after the event.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    SandboxCreated {
        sandbox: Arc<Sandbox>,
    },
    SandboxStateUpdated {
        sandbox: Arc<Sandbox>,
        old_state: SandboxState,
        new_state: SandboxState,
    },
    SandboxDesiredStateUpdated {
        sandbox: Arc<Sandbox>,
        old_desired_state: DesiredState,
        new_desired_state: DesiredState,
    },
    SnapshotCreated {
        snapshot: Arc<Snapshot>,
    },
    SnapshotStateUpdated {
        snapshot: Arc<Snapshot>,
        old_state: SnapshotState,
        new_state: SnapshotState,
    },
    SnapshotRemoved {
        snapshot: Arc<Snapshot>,
    },
    VolumeCreated {
        volume: Arc<Volume>,
    },
    VolumeStateUpdated {
        volume: Arc<Volume>,
        old_state: VolumeState,
        new_state: VolumeState,
    },
    VolumeLastUsedAtUpdated {
        volume: Arc<Volume>,
    },
}

/// Events of one organization, in order, from the moment of subscription on.
pub type EventStream = BoxStream<'static, Event>;

/// Events from a place in the past on.
pub struct ResumedEvents {
    /// The place: the sequence of the last event that is not in the stream.
    pub after: i64,
    /// Whether events of between the place that was asked for and the first one here are not kept any more. The listener
    /// must look at what there is by other means.
    pub has_gap: bool,
    pub stream: EventStream,
}

impl std::fmt::Debug for ResumedEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResumedEvents")
            .field("after", &self.after)
            .field("has_gap", &self.has_gap)
            .finish_non_exhaustive()
    }
}

impl From<OutboxEntry> for Event {
    fn from(entry: OutboxEntry) -> Self {
        let body = match entry.event {
            OutboxEvent::Sandbox { change, sandbox } => of_sandbox(change, (*sandbox).into()),
            OutboxEvent::Snapshot { change, snapshot } => of_snapshot(change, (*snapshot).into()),
            OutboxEvent::Volume { change, volume } => of_volume(change, (*volume).into()),
        };
        Self {
            sequence: entry.sequence,
            organization: entry.organization,
            at: entry.at,
            body,
        }
    }
}

fn of_sandbox(change: OutboxChange, sandbox: Arc<Sandbox>) -> EventBody {
    match change {
        OutboxChange::Created => EventBody::SandboxCreated { sandbox },
        OutboxChange::State { old, new } => EventBody::SandboxStateUpdated {
            sandbox,
            old_state: old,
            new_state: new,
        },
        OutboxChange::DesiredState { old, new } => EventBody::SandboxDesiredStateUpdated {
            sandbox,
            old_desired_state: old,
            new_desired_state: new,
        },
    }
}

fn of_snapshot(change: SnapshotChange, snapshot: Arc<Snapshot>) -> EventBody {
    match change {
        SnapshotChange::Created => EventBody::SnapshotCreated { snapshot },
        SnapshotChange::State { old, new } => EventBody::SnapshotStateUpdated {
            snapshot,
            old_state: old,
            new_state: new,
        },
        SnapshotChange::Removed => EventBody::SnapshotRemoved { snapshot },
    }
}

fn of_volume(change: VolumeChange, volume: Arc<Volume>) -> EventBody {
    match change {
        VolumeChange::Created => EventBody::VolumeCreated { volume },
        VolumeChange::State { old, new } => EventBody::VolumeStateUpdated {
            volume,
            old_state: old,
            new_state: new,
        },
        VolumeChange::LastUsed => EventBody::VolumeLastUsedAtUpdated { volume },
    }
}

pub(crate) struct EventHub {
    sender: broadcast::Sender<Arc<Event>>,
    written: Notify,
    /// The same, for webhooks.
    appended: Notify,
    last_written: AtomicI64,
    /// Up to where listeners have been told.
    told: watch::Sender<i64>,
}

impl Default for EventHub {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(LAG_MAX),
            written: Notify::new(),
            appended: Notify::new(),
            last_written: AtomicI64::new(0),
            told: watch::Sender::new(0),
        }
    }
}

impl EventHub {
    /// Tells that the outbox holds entries up to `sequence`.
    pub fn wake(&self, sequence: Option<i64>) {
        self.note(sequence);
        self.written.notify_one();
        self.appended.notify_one();
    }

    /// Waits for entries of the outbox that nobody was woken for yet. For one task only.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }

    /// The first half of [`EventHub::wake`]: [`EventHub::told`] waits for these entries from here on.
    pub fn note(&self, sequence: Option<i64>) {
        if let Some(sequence) = sequence {
            self.last_written.fetch_max(sequence, Ordering::SeqCst);
        }
    }

    /// Waits until listeners have been told of everything that is noted by now, if there are any, and not for long.
    ///
    /// Clients take the state of an event for newer than that of an answer. One that hears of the beginning after the
    /// end was answered would show a started sandbox as one that is being made.
    pub async fn told(&self, clock: &dyn Clock) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let goal = self.last_written.load(Ordering::SeqCst);
        let mut told = self.told.subscribe();
        tokio::select! {
            biased;
            _ = told.wait_for(|told| *told >= goal) => {}
            () = clock.sleep(TOLD_PATIENCE) => {}
        }
    }

    fn has_told(&self, sequence: i64) {
        self.told.send_if_modified(|told| {
            let is_more = sequence > *told;
            *told = sequence.max(*told);
            is_more
        });
    }

    pub fn subscribe(&self, shared: &Shared, organization: OrganizationId) -> EventStream {
        let receiver = self.sender.subscribe();
        let last = self.last_written.load(Ordering::SeqCst);
        Listener::stream(shared, organization, receiver, last, false)
    }

    /// Events after `cursor`, which an earlier stream ended with.
    pub async fn resume(
        &self,
        shared: &Shared,
        organization: OrganizationId,
        cursor: i64,
    ) -> Result<ResumedEvents, Error> {
        let receiver = self.sender.subscribe();
        let last = self.last_written.load(Ordering::SeqCst);
        let first = shared.store.reader().outbox_first_sequence().await;
        let first = first.map_err(|error| Error::store("reading past events", error))?;
        // What was never written is the place of another database.
        let is_known = (0..=last).contains(&cursor);
        let is_kept =
            cursor == last || first.is_some_and(|first| first <= cursor.saturating_add(1));
        let has_gap = !(is_known && is_kept);
        let after = match first {
            Some(first) if has_gap => (first - 1).min(last),
            None if has_gap => last,
            Some(_) | None => cursor,
        };
        Ok(ResumedEvents {
            after,
            has_gap,
            stream: Listener::stream(shared, organization, receiver, after, true),
        })
    }

    /// Up to where the outbox is written.
    pub fn last(&self) -> i64 {
        self.last_written.load(Ordering::SeqCst)
    }
}

struct Listener {
    receiver: broadcast::Receiver<Arc<Event>>,
    last: i64,
    /// Whether the outbox holds entries after `last` that the receiver will not bring.
    is_behind: bool,
    missed: VecDeque<Event>,
    reader: Reader,
    clock: Arc<dyn Clock>,
    organization: OrganizationId,
}

impl Listener {
    /// The receiver is older than `last` was read: what is written in between is seen twice and dropped once.
    fn stream(
        shared: &Shared,
        organization: OrganizationId,
        receiver: broadcast::Receiver<Arc<Event>>,
        last: i64,
        is_behind: bool,
    ) -> EventStream {
        let listener = Self {
            receiver,
            last,
            is_behind,
            missed: VecDeque::new(),
            reader: shared.store.reader().clone(),
            clock: Arc::clone(&shared.clock),
            organization,
        };
        Box::pin(stream::unfold(listener, Self::next))
    }

    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(event) = self.missed.pop_front() {
                return Some((event, self));
            }
            if self.is_behind {
                self.catch_up().await;
                continue;
            }
            match self.receiver.recv().await {
                Ok(event) if event.sequence > self.last => {
                    self.last = event.sequence;
                    if event.organization == self.organization {
                        return Some((Event::clone(&event), self));
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.is_behind = true,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Reads a batch of what is missing. Less than a whole one was the last: what is written from here on, and already
    /// while we read, is in the receiver.
    async fn catch_up(&mut self) {
        let entries = self
            .reader
            .outbox_list_by_org_after(&self.organization, self.last, BATCH)
            .await;
        match entries {
            Ok(entries) => {
                self.is_behind = entries.len() as u64 == BATCH;
                if let Some(last) = entries.last() {
                    self.last = last.sequence;
                }
                self.missed.extend(entries.into_iter().map(Event::from));
            }
            Err(error) => {
                tracing::error!(%error, "cannot read what a listener has missed");
                self.clock.sleep(RETRY).await;
            }
        }
    }
}

/// Reads the outbox on and hands entries out, until the control plane ends.
pub(crate) async fn publish(shared: Arc<Shared>) {
    let events = &shared.events;
    let mut cursor = events.last_written.load(Ordering::SeqCst);
    loop {
        events.has_told(cursor);
        events.written.notified().await;
        loop {
            // Read before the count: a listener that comes in between gets what is written after it.
            let last = events.last_written.load(Ordering::SeqCst);
            if events.sender.receiver_count() == 0 {
                cursor = last;
                break;
            }
            if cursor >= last {
                break;
            }
            match shared.store.reader().outbox_list_after(cursor, BATCH).await {
                Ok(entries) => {
                    let Some(newest) = entries.last() else {
                        // Old entries that were removed: nobody can be told of them.
                        events.has_told(last);
                        break;
                    };
                    cursor = newest.sequence;
                    for entry in entries {
                        // No listener is no failure.
                        let _ = events.sender.send(Arc::new(entry.into()));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read the outbox");
                    shared.clock.sleep(RETRY).await;
                }
            }
        }
    }
}
