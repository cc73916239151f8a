//! From what is told of sandboxes to the endpoints of their organizations.
//!
//! ```text
//!  samples, states, calls ── noted ──> one queue an organization ── one worker while something waits ──> outside
//!                            (memory only, bounded:                  (a batch at a time, tried a few
//!                             what does not fit is counted)           times, then counted)
//! ```
//!
//! Nobody waits for any of it. What waits is in memory only, and is sent once more when the server stops; telemetry that was kept
//! here is kept, whatever becomes of it there.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{OrganizationId, OtelTarget, SandboxId};
use alcove_telemetry::otlp::{Batch, Export, exports, rejected};
use alcove_telemetry::{Point, Record};
use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore};

use crate::shared::{Shared, lock};

/// How long what is told waits for more.
const GATHER: Duration = Duration::from_secs(5);
/// Records of one organization that may wait.
const WAITING_MAX: usize = 4096;
/// Records that are sent at once.
const BATCH_MAX: usize = 512;
/// Requests under way at once, of all organizations.
const AT_ONCE: usize = 16;
/// Waits before each further try, unless the receiver says how long.
const GAPS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];
/// The longest that a receiver can make a batch wait.
const GAP_MAX: Duration = Duration::from_mins(1);
/// What is left when the server stops is sent within this, or not at all.
const LAST: Duration = Duration::from_secs(3);

/// A request to an endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpRequest {
    pub url: String,
    pub headers: BTreeMap<String, String>,
    /// Protobuf.
    pub body: Vec<u8>,
}

impl fmt::Debug for OtlpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpRequest")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtlpOutcome {
    /// With the body of the answer.
    Taken { answer: Vec<u8> },
    /// It may be taken later.
    Failed {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// It is never taken.
    Refused { reason: String },
}

/// The way outside.
#[async_trait]
pub trait OtlpSender: fmt::Debug + Send + Sync + 'static {
    /// Whether the operator has named this host, so that it may be at a private address.
    fn is_known(&self, host: &str) -> bool;

    /// Sends it once. Resolves within a bounded time.
    async fn send(&self, request: OtlpRequest) -> OtlpOutcome;
}

/// Something that is told of a sandbox.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Record(Record),
    Point(Point),
}

#[derive(Debug)]
pub(crate) struct Forwarding {
    /// Of organizations that something waits for. Each has a worker.
    queues: Mutex<HashMap<OrganizationId, VecDeque<(SandboxId, Told)>>>,
    /// Queues that have no worker yet.
    begun: Mutex<Vec<OrganizationId>>,
    noted: Notify,
    slots: Semaphore,
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            queues: Mutex::default(),
            begun: Mutex::default(),
            noted: Notify::new(),
            slots: Semaphore::new(AT_ONCE),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

/// How much was sent since the start of the server, of all organizations together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardingStatistics {
    /// Organizations that something waits for.
    pub queues: usize,
    /// Records, spans and samples that receivers took.
    pub sent: u64,
    /// Those that did not fit, or that no receiver took.
    pub dropped: u64,
}

impl Forwarding {
    pub fn statistics(&self) -> ForwardingStatistics {
        ForwardingStatistics {
            queues: lock(&self.queues).len(),
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn drop_some(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Puts it into the queue, and asks for a worker where that one has none.
    fn push(&self, org: &OrganizationId, sandbox: SandboxId, told: Told) {
        let mut queues = lock(&self.queues);
        match queues.get_mut(org) {
            Some(queue) if queue.len() >= WAITING_MAX => self.drop_some(1),
            Some(queue) => queue.push_back((sandbox, told)),
            None => {
                queues.insert(org.clone(), VecDeque::from([(sandbox, told)]));
                lock(&self.begun).push(org.clone());
                self.noted.notify_one();
            }
        }
    }

    /// The head of a queue. None once nothing waits: the queue is gone then, and so is its worker.
    fn take(&self, org: &OrganizationId) -> Option<Vec<(SandboxId, Told)>> {
        let mut queues = lock(&self.queues);
        let queue = queues.get_mut(org)?;
        let count = queue.len().min(BATCH_MAX);
        if count == 0 {
            queues.remove(org);
            return None;
        }
        Some(queue.drain(..count).collect())
    }
}

/// Notes something for the endpoint of a sandbox's organization, if it has one. Called on the hot path.
pub(crate) fn note(shared: &Shared, sandbox: &SandboxId, told: impl FnOnce() -> Told) {
    if !shared.known_settings.has_targets() || shared.settings.otlp.is_none() {
        return;
    }
    let Some(entry) = shared.directory.get(sandbox) else {
        return;
    };
    let org = entry.sandbox().organization_id.clone();
    if shared.known_settings.has_target(&org) {
        shared.forwarding.push(&org, sandbox.clone(), told());
    }
}

/// Gives each queue that begins a worker, until the control plane ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        shared.forwarding.noted.notified().await;
        for org in std::mem::take(&mut *lock(&shared.forwarding.begun)) {
            let worker = Arc::clone(&shared);
            shared.spawn(async move { work(&worker, &org).await });
        }
    }
}

/// Sends what waits for an organization until nothing does.
async fn work(shared: &Arc<Shared>, org: &OrganizationId) {
    loop {
        shared.clock.sleep(GATHER).await;
        let Some(told) = shared.forwarding.take(org) else {
            return;
        };
        for (target, export) in prepare(shared, org, told) {
            send(shared, org, &target, &export).await;
        }
    }
}

/// The requests for what is told, and where they go. Nothing where it is sent nowhere any more.
fn prepare(
    shared: &Shared,
    org: &OrganizationId,
    told: Vec<(SandboxId, Told)>,
) -> Vec<(OtelTarget, Export)> {
    let Some(target) = shared.known_settings.get(org).otel.clone() else {
        shared.forwarding.drop_some(told.len() as u64);
        return Vec::new();
    };
    let mut batches: BTreeMap<SandboxId, Batch> = BTreeMap::new();
    for (sandbox, told) in told {
        let batch = batches.entry(sandbox).or_default();
        match told {
            Told::Record(Record::Log(log)) => batch.logs.push(log),
            Told::Record(Record::Span(span)) => batch.spans.push(span),
            Told::Point(point) => batch.points.push(point),
        }
    }
    for (sandbox, batch) in &mut batches {
        let mut say = |key: &str, value: String| batch.resource.insert(key.to_owned(), value);
        say("service.name", format!("sandbox-{sandbox}"));
        say("sandbox.id", sandbox.to_string());
        say("organization.id", org.to_string());
        if let Some(entry) = shared.directory.get(sandbox) {
            say("sandbox.name", entry.sandbox().name.clone());
        }
    }
    let batches: Vec<Batch> = batches.into_values().collect();
    let exports = exports(&batches).into_iter();
    exports.map(|export| (target.clone(), export)).collect()
}

/// Sends one request, a few times if need be.
async fn send(shared: &Shared, org: &OrganizationId, target: &OtelTarget, export: &Export) {
    let mut gaps = GAPS.into_iter();
    loop {
        let wait = match try_once(shared, target, export).await {
            Tried::Done => return,
            Tried::Again(reason, retry_after) => match gaps.next() {
                Some(gap) => retry_after.unwrap_or(gap).min(GAP_MAX),
                None => return give_up(shared, org, export, &reason),
            },
            Tried::GiveUp(reason) => return give_up(shared, org, export, &reason),
        };
        shared.clock.sleep(wait).await;
    }
}

enum Tried {
    Done,
    Again(String, Option<Duration>),
    GiveUp(String),
}

async fn try_once(shared: &Shared, target: &OtelTarget, export: &Export) -> Tried {
    let forwarding = &shared.forwarding;
    let Some(sender) = &shared.settings.otlp else {
        return Tried::GiveUp("this server sends none".to_owned());
    };
    let request = OtlpRequest {
        url: format!("{}{}", target.endpoint, export.signal.path()),
        headers: target.headers.clone(),
        body: export.body.clone(),
    };
    let Ok(slot) = forwarding.slots.acquire().await else {
        return Tried::GiveUp("the server stops".to_owned());
    };
    let outcome = sender.send(request).await;
    drop(slot);
    match outcome {
        OtlpOutcome::Taken { answer } => {
            let rejected = rejected(&answer).min(export.count);
            forwarding.drop_some(rejected);
            forwarding
                .sent
                .fetch_add(export.count - rejected, Ordering::Relaxed);
            Tried::Done
        }
        OtlpOutcome::Failed {
            reason,
            retry_after,
        } => Tried::Again(reason, retry_after),
        OtlpOutcome::Refused { reason } => Tried::GiveUp(reason),
    }
}

fn give_up(shared: &Shared, org: &OrganizationId, export: &Export, reason: &str) {
    shared.forwarding.drop_some(export.count);
    tracing::warn!(
        organization.id = %org,
        dropped = export.count,
        "telemetry of organization {org} was not taken: {reason}"
    );
}

/// Sends what waits once, and gives up soon. Only when the control plane ends.
pub(crate) async fn flush(shared: &Shared) {
    let waiting: Vec<_> = lock(&shared.forwarding.queues).drain().collect();
    let requests = waiting.into_iter().flat_map(|(org, queue)| {
        let prepared = prepare(shared, &org, queue.into());
        prepared.into_iter().map(move |it| (org.clone(), it))
    });
    let requests: Vec<_> = requests.collect();
    let sent = requests.iter().map(|(org, (target, export))| async move {
        match try_once(shared, target, export).await {
            Tried::Done => {}
            Tried::Again(reason, _) | Tried::GiveUp(reason) => {
                give_up(shared, org, export, &reason);
            }
        }
    });
    if tokio::time::timeout(LAST, join_all(sent)).await.is_err() {
        tracing::warn!("the last telemetry was not taken in time");
    }
}
