//! Webhooks: from the outbox to the endpoints of organizations.
//!
//! ```text
//!  outbox ── spread ──> messages and queues ── one worker for each endpoint that something waits for ──> outside
//!           (one transaction with the place                (the head of the queue, until it is
//!            in the outbox: nothing is lost                 delivered or the endpoint disabled)
//!            and nothing written twice)
//! ```
//!
//! What came of a try is written after it. A process that dies in between sends the message again, by the same id: receivers
//! see everything at least once. A worker holds up nobody but its endpoint; how many speak at once has a bound, and so has
//! the time of each.

pub(crate) mod delivery;
pub(crate) mod find;
pub(crate) mod signature;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::webhook::{MESSAGES_KEPT, Outcome};
use alcove_domain::{
    OrganizationId, Secret, WebhookEndpoint, WebhookEndpointId, WebhookEvent, WebhookMessage,
    WebhookMessageId,
};
use alcove_store::{SealedEndpoint, Tx};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use crate::rng::uuid_v4;
use crate::shared::{Shared, lock};
use crate::{Error, Event};

/// Tries under way at once. Each is a connection and little memory.
const AT_ONCE: usize = 64;
/// Entries of the outbox that are read at once.
const BATCH: u64 = 256;
/// Messages that are forgotten in one transaction.
const PRUNE_BATCH: u64 = 500;
const RETRY: Duration = Duration::from_secs(1);

/// The way outside, and the words for it.
#[async_trait]
pub trait WebhookSender: fmt::Debug + Send + Sync + 'static {
    /// Whether the operator has named this host, so that it may be at a private address.
    fn is_known(&self, host: &str) -> bool;

    /// What endpoints are told of an event: bodies, in this order.
    fn tell(&self, event: &Event) -> Vec<(WebhookEvent, String)>;

    /// What the other endpoints of an organization are told of one that was disabled.
    fn tell_disabled(&self, endpoint: &WebhookEndpoint, at: Timestamp) -> String;

    /// Sends it once. Resolves within a bounded time.
    async fn send(&self, request: WebhookRequest) -> Outcome;
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRequest {
    pub url: String,
    pub id: WebhookMessageId,
    /// Seconds since 1970.
    pub timestamp: i64,
    /// One for each secret, with spaces between.
    pub signature: Secret,
    pub body: String,
}

pub(crate) struct WebhookWork {
    /// Organizations that may have an endpoint.
    listening: Mutex<HashSet<OrganizationId>>,
    workers: Mutex<HashMap<WebhookEndpointId, Worker>>,
    slots: Semaphore,
    /// Up to which entry of the outbox messages have been written, or were wanted by nobody.
    spread: AtomicI64,
}

impl Default for WebhookWork {
    fn default() -> Self {
        Self {
            listening: Mutex::default(),
            workers: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            // Without webhooks, nothing is kept for them.
            spread: AtomicI64::new(i64::MAX),
        }
    }
}

impl WebhookWork {
    /// Endpoints that something waits for.
    pub fn queues(&self) -> usize {
        lock(&self.workers).len()
    }

    /// What happens in this organization from now on may be wanted.
    pub fn listen(&self, org: &OrganizationId) {
        lock(&self.listening).insert(org.clone());
    }
}

/// The task of an endpoint that something waits for.
struct Worker {
    poke: Arc<Notify>,
    /// Whether something has come since it last looked.
    is_asked: bool,
}

/// Takes up what an earlier process left, and starts the tasks.
pub(crate) async fn load(shared: &Arc<Shared>) -> Result<(), Error> {
    let failed = |error| Error::store("taking up webhooks", error);
    if shared.settings.webhooks.is_none() {
        return Ok(());
    }
    let reader = shared.store.reader();
    let cursor = reader.webhook_cursor().await.map_err(failed)?;
    let organizations = reader.webhook_organizations().await.map_err(failed)?;
    let work = &shared.webhooks;
    lock(&work.listening).extend(organizations);
    let cursor = cursor.unwrap_or_else(|| shared.events.last());
    work.spread.store(cursor, Ordering::SeqCst);
    shared.spawn(spread(Arc::clone(shared)));
    for endpoint in reader
        .webhook_endpoint_list_pending()
        .await
        .map_err(failed)?
    {
        wake(shared, &endpoint);
    }
    Ok(())
}

/// Turns entries of the outbox into messages, until the control plane ends.
async fn spread(shared: Arc<Shared>) {
    let work = &shared.webhooks;
    loop {
        // Read before the look at who listens: whoever comes in between is told of later entries only.
        let last = shared.events.last();
        let from = work.spread.load(Ordering::SeqCst);
        if from >= last {
            shared.events.appended().await;
            continue;
        }
        if lock(&work.listening).is_empty() {
            work.spread.store(last, Ordering::SeqCst);
            continue;
        }
        match spread_batch(&shared, from, last).await {
            Ok(to) => work.spread.store(to, Ordering::SeqCst),
            Err(error) => {
                tracing::error!(%error, "cannot write messages of webhooks");
                shared.clock.sleep(RETRY).await;
            }
        }
    }
}

/// Writes the messages of the entries after `from`. Up to which entry.
async fn spread_batch(shared: &Arc<Shared>, from: i64, last: i64) -> Result<i64, Error> {
    let failed = |error| Error::store("writing messages of webhooks", error);
    let Some(sender) = &shared.settings.webhooks else {
        return Ok(last);
    };
    let entries = shared.store.reader().outbox_list_after(from, BATCH).await;
    let entries = entries.map_err(failed)?;
    let Some(to) = entries.last().map(|entry| entry.sequence) else {
        return Ok(last);
    };
    let listening = lock(&shared.webhooks.listening).clone();
    let mut news = Vec::new();
    for entry in entries {
        if listening.contains(&entry.organization) {
            let event = Event::from(entry);
            let told = sender.tell(&event);
            news.extend(
                told.into_iter()
                    .map(|told| (event.sequence, event.at, event.organization.clone(), told)),
            );
        }
    }
    if news.is_empty() {
        return Ok(to);
    }
    let tx = shared.store.begin().await.map_err(failed)?;
    let mut endpoints: HashMap<OrganizationId, Vec<SealedEndpoint>> = HashMap::new();
    let mut told = HashSet::new();
    for (sequence, at, org, (event, payload)) in news {
        if !endpoints.contains_key(&org) {
            let all = tx.webhook_endpoint_all(&org).await.map_err(failed)?;
            endpoints.insert(org.clone(), all);
        }
        let here = endpoints.get(&org).into_iter().flatten();
        let older: Vec<&WebhookEndpoint> = here
            .filter(|sealed| sealed.after < sequence)
            .map(|sealed| &sealed.endpoint)
            .collect();
        if older.is_empty() {
            continue;
        }
        let message = WebhookMessage {
            id: new_message_id(shared),
            organization_id: org,
            event,
            payload,
            created_at: at,
        };
        told.extend(queue(&tx, &message, &older).await?);
    }
    tx.webhook_cursor_set(to).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    for endpoint in told {
        wake(shared, &endpoint);
    }
    Ok(to)
}

pub(crate) fn new_message_id(shared: &Shared) -> WebhookMessageId {
    let text = format!("msg_{}", uuid_v4(&*shared.rng).simple());
    text.parse().expect("letters and digits are an id")
}

/// Writes a message for those of the endpoints that are enabled and want it: which.
pub(crate) async fn queue(
    tx: &Tx,
    message: &WebhookMessage,
    endpoints: &[&WebhookEndpoint],
) -> Result<Vec<WebhookEndpointId>, Error> {
    let wanting = endpoints
        .iter()
        .filter(|endpoint| endpoint.disabled.is_none() && endpoint.wants(message.event));
    let ids: Vec<WebhookEndpointId> = wanting.map(|endpoint| endpoint.id.clone()).collect();
    tx.webhook_message_insert(message, &ids)
        .await
        .map_err(|error| Error::store("writing a message of webhooks", error))?;
    Ok(ids)
}

/// Sees to it that an endpoint's queue is worked off.
pub(crate) fn wake(shared: &Arc<Shared>, endpoint: &WebhookEndpointId) {
    let mut workers = lock(&shared.webhooks.workers);
    if let Some(worker) = workers.get_mut(endpoint) {
        worker.is_asked = true;
        worker.poke.notify_one();
        return;
    }
    let poke = Arc::new(Notify::new());
    let worker = Worker {
        poke: Arc::clone(&poke),
        is_asked: false,
    };
    workers.insert(endpoint.clone(), worker);
    drop(workers);
    let (shared_here, endpoint) = (Arc::clone(shared), endpoint.clone());
    shared.spawn(async move { work_off(shared_here, endpoint, poke).await });
}

async fn work_off(shared: Arc<Shared>, endpoint: WebhookEndpointId, poke: Arc<Notify>) {
    loop {
        match delivery::step(&shared, &endpoint, &poke).await {
            Ok(true) => {}
            Ok(false) => {
                let mut workers = lock(&shared.webhooks.workers);
                match workers.get_mut(&endpoint) {
                    Some(worker) if worker.is_asked => worker.is_asked = false,
                    _ => {
                        workers.remove(&endpoint);
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::error!(
                    webhook.endpoint = %endpoint, %error,
                    "cannot go on with the messages for endpoint {endpoint}"
                );
                shared.clock.sleep(RETRY).await;
            }
        }
    }
}

/// Up to which entry nobody reads the outbox for webhooks any more.
pub(crate) fn is_spread(shared: &Shared) -> i64 {
    shared.webhooks.spread.load(Ordering::SeqCst)
}

/// Writes the place in the outbox down, and forgets what is old.
pub(crate) async fn prune(shared: &Shared, tx: &Tx) -> Result<(), Error> {
    let failed = |error| Error::store("forgetting old messages of webhooks", error);
    if shared.settings.webhooks.is_none() {
        return Ok(());
    }
    tx.webhook_cursor_set(is_spread(shared))
        .await
        .map_err(failed)?;
    let now = shared.clock.now();
    let before = now.saturating_sub(MESSAGES_KEPT).unwrap_or(now);
    tx.webhook_prune(before, PRUNE_BATCH).await.map_err(failed)
}
