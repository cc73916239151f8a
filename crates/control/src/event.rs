//! What happened, for those who listen.
//!
//! The outbox is the source: one task reads on from the last sequence whenever something was written and
//! hands the entries to all listeners. A listener that falls behind reads what it missed from the outbox
//! itself, so it misses nothing while it is connected.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use alcove_domain::{DesiredState, OrganizationId, Sandbox, SandboxState};
use alcove_store::{OutboxChange, OutboxEntry, Reader};
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, watch};

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

/// What happened. The sandbox is the whole object as it was right after the event.
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
}

/// Events of one organization, in order, from the moment of subscription on.
pub type EventStream = BoxStream<'static, Event>;

impl From<OutboxEntry> for Event {
    fn from(entry: OutboxEntry) -> Self {
        let sandbox = Arc::new(entry.sandbox);
        let body = match entry.change {
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
        };
        Self {
            sequence: entry.sequence,
            organization: entry.organization,
            at: entry.at,
            body,
        }
    }
}

pub(crate) struct EventHub {
    sender: broadcast::Sender<Arc<Event>>,
    written: Notify,
    last_written: AtomicI64,
    /// Up to where listeners have been told.
    told: watch::Sender<i64>,
}

impl Default for EventHub {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(LAG_MAX),
            written: Notify::new(),
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

    pub fn subscribe(&self, reader: Reader, organization: OrganizationId) -> EventStream {
        let listener = Listener {
            // Before the start is read: what is written in between is seen twice and dropped once.
            receiver: self.sender.subscribe(),
            last: self.last_written.load(Ordering::SeqCst),
            missed: VecDeque::new(),
            reader,
            organization,
        };
        Box::pin(stream::unfold(listener, Listener::next))
    }
}

struct Listener {
    receiver: broadcast::Receiver<Arc<Event>>,
    last: i64,
    missed: VecDeque<Event>,
    reader: Reader,
    organization: OrganizationId,
}

impl Listener {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            let event = match self.missed.pop_front() {
                Some(event) => event,
                None => match self.receiver.recv().await {
                    Ok(event) => {
                        if event.sequence <= self.last {
                            continue;
                        }
                        self.last = event.sequence;
                        if event.organization != self.organization {
                            continue;
                        }
                        Event::clone(&event)
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.catch_up().await;
                        continue;
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            };
            if event.organization == self.organization {
                return Some((event, self));
            }
        }
    }

    async fn catch_up(&mut self) {
        match self.reader.outbox_list_after(self.last, BATCH).await {
            Ok(entries) => {
                if let Some(last) = entries.last() {
                    self.last = last.sequence;
                }
                self.missed.extend(entries.into_iter().map(Event::from));
            }
            Err(error) => tracing::error!(%error, "a listener misses events"),
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
