//! What is written down of who did what.
//!
//! An action goes with its task as a [`Deed`]; the transaction that does it writes its row, wherever in the control plane that
//! is ([`alcove_store::Tx::commit`]). What no transaction was made for waits here and is written in batches: refusals, what
//! changed nothing, and traffic into sandboxes. The queue is bounded; what it had no room for is counted in a row.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{AuditEntry, OrganizationId, UserId, audit_text};
use alcove_runner_api::{Sighting, Wanted};
use alcove_store::Deed;
use tokio::sync::Notify;

use crate::fleet::Host;
use crate::rng::uuid_v4;
use crate::shared::{Shared, lock};
use crate::{Caller, Error};

/// Rows that may wait: some 10 MiB.
const WAITING_MAX: usize = 16_384;
/// Rows of one transaction. Everybody else who writes waits for it.
const BATCH: usize = 1000;
/// Organizations whose lost rows are counted apart; those of more are counted in the server's log.
const COUNTED_MAX: usize = 1000;
/// How long a row waits, at most, while the database takes it.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often rows that are too old are looked for.
const PRUNE_EVERY: Duration = Duration::from_mins(10);
/// How often the runner is asked what sandboxes wanted of the network.
const SIGHTINGS_EVERY: Duration = Duration::from_secs(10);
/// Old rows that one transaction removes.
const PRUNED_AT_ONCE: u64 = 1000;
/// The action of a row that says how many others could not be kept.
pub(crate) const DROPPED: &str = "audit_dropped";

/// The action of a try to sign in.
const LOGIN: &str = "login";

/// What the operator decides about the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSettings {
    /// How long rows are kept. None is for ever.
    pub kept: Option<Duration>,
    /// Whether requests into sandboxes are written down.
    pub traffic: bool,
    /// Whether the text of commands is.
    pub commands: bool,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            kept: Some(Duration::from_hours(90 * 24)),
            traffic: true,
            commands: true,
        }
    }
}

/// An action that somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct NewDeed<'a> {
    pub action: &'static str,
    pub target_type: &'static str,
    /// As the request names it.
    pub target_id: Option<&'a str>,
    /// The organization that the request is about, if it names one.
    pub organization: Option<&'a str>,
    /// The status of the answer if all goes well.
    pub success: u16,
    pub address: Option<String>,
    pub user_agent: Option<&'a str>,
    pub source: Option<&'a str>,
}

/// Rows that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct AuditQueue {
    waiting: Mutex<Waiting>,
    /// So many wait that they are a batch.
    full: Notify,
    /// One writer at a time, so that rows stay in their order.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<AuditEntry>,
    dropped: BTreeMap<Option<OrganizationId>, u64>,
}

impl AuditQueue {
    /// Never waits.
    pub fn push(&self, entry: AuditEntry) {
        let mut waiting = lock(&self.waiting);
        if waiting.entries.len() >= WAITING_MAX {
            let mut of = entry.organization;
            if waiting.dropped.len() >= COUNTED_MAX && !waiting.dropped.contains_key(&of) {
                of = None;
            }
            *waiting.dropped.entry(of).or_default() += 1;
            return;
        }
        waiting.entries.push_back(entry);
        if waiting.entries.len() == BATCH {
            self.full.notify_one();
        }
    }

    /// The next batch, the oldest first. With the last of the rows come the counts of what there was no room for.
    fn take(&self) -> (Vec<AuditEntry>, BTreeMap<Option<OrganizationId>, u64>) {
        let mut waiting = lock(&self.waiting);
        let count = waiting.entries.len().min(BATCH);
        let entries = waiting.entries.drain(..count).collect();
        let dropped = if waiting.entries.is_empty() {
            std::mem::take(&mut waiting.dropped)
        } else {
            BTreeMap::new()
        };
        (entries, dropped)
    }

    /// Puts a batch back that could not be written.
    fn give_back(&self, entries: Vec<AuditEntry>, dropped: BTreeMap<Option<OrganizationId>, u64>) {
        let mut waiting = lock(&self.waiting);
        for entry in entries.into_iter().rev() {
            waiting.entries.push_front(entry);
        }
        for (of, count) in dropped {
            *waiting.dropped.entry(of).or_default() += count;
        }
    }
}

/// Begins what somebody asks for.
pub(crate) fn begin(shared: &Shared, new: &NewDeed<'_>) -> Arc<Deed> {
    let id = uuid_v4(&*shared.rng).to_string();
    let mut entry = AuditEntry::new(id, shared.clock.now(), new.action);
    entry.organization = new.organization.and_then(|id| id.parse().ok());
    entry.target_type = Some(new.target_type.to_owned());
    entry.target_id = new.target_id.map(audit_text);
    entry.address.clone_from(&new.address);
    entry.user_agent = new.user_agent.map(audit_text);
    entry.source = new.source.map(audit_text);
    Deed::new(entry, new.success)
}

/// Says what came of it, behind the answer. None is for an answer that nobody waited for.
pub(crate) fn finish(shared: &Shared, deed: &Deed, status: Option<u16>, error: Option<&str>) {
    // Anybody can be refused, any number of times. Who tries to sign in is held back otherwise.
    if !deed.has_actor() && deed.action() != LOGIN {
        return;
    }
    let id = uuid_v4(&*shared.rng).to_string();
    let (status, error) = match status {
        Some(status) => (status, error.map(audit_text)),
        None => (0, Some("The client did not wait for the answer".to_owned())),
    };
    let Some(entry) = deed.finish(id, status, error) else {
        return;
    };
    shared.audit.push(entry);
}

/// Says who acts, where this task is about an action.
pub(crate) fn note_actor(caller: &Caller) {
    if let Some(deed) = Deed::current() {
        deed.note_actor(Some(&caller.organization), |entry| caller.sign(entry));
    }
}

/// The same for the page of an organization's webhooks, which shows a token and no person.
pub(crate) fn note_page(organization: &OrganizationId) {
    if let Some(deed) = Deed::current() {
        deed.note_actor(Some(organization), |entry| {
            entry
                .metadata
                .insert("by".to_owned(), "the page of webhooks".to_owned());
        });
    }
}

/// The same for a user who acts for no organization.
pub(crate) fn note_user(user: &UserId, email: &str) {
    if let Some(deed) = Deed::current() {
        deed.note_actor(None, |entry| {
            entry.actor_id = user.to_string();
            email.clone_into(&mut entry.actor_email);
        });
    }
}

impl Caller {
    /// Puts down who did it.
    pub(crate) fn sign(&self, entry: &mut AuditEntry) {
        entry.actor_id = self.user.to_string();
        entry.actor_email.clone_from(&self.actor.email);
        entry.actor_key.clone_from(&self.actor.key);
    }
}

/// Starts what the log is kept by, until the control plane ends.
pub(crate) fn start(shared: &Arc<Shared>) {
    shared.spawn(write(Arc::clone(shared)));
    shared.spawn(watch_network(Arc::clone(shared)));
    shared.spawn(retain(Arc::clone(shared)));
}

/// Writes rows as they come, until the control plane ends.
async fn write(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.clock.sleep(WRITE_EVERY) => {}
            () = shared.audit.full.notified() => {}
        }
        if let Err(error) = flush(&shared).await {
            // They wait, and are tried again.
            tracing::error!(%error, "cannot write the audit log");
            shared.clock.sleep(WRITE_EVERY).await;
        }
    }
}

/// Writes down all that waits.
pub(crate) async fn flush(shared: &Shared) -> Result<(), Error> {
    let _turn = shared.audit.writing.lock().await;
    loop {
        let (entries, dropped) = shared.audit.take();
        if entries.is_empty() && dropped.is_empty() {
            return Ok(());
        }
        let mut rows = entries.clone();
        for row in rows.iter_mut().filter(|row| row.id.is_empty()) {
            row.id = uuid_v4(&*shared.rng).to_string();
        }
        for (of, count) in &dropped {
            tracing::warn!("{count} rows of the audit log were dropped: too many came at once");
            let id = uuid_v4(&*shared.rng).to_string();
            let mut row = AuditEntry::new(id, shared.clock.now(), DROPPED);
            row.organization.clone_from(of);
            row.metadata.insert("count".to_owned(), count.to_string());
            rows.push(row);
        }
        let written = async {
            let tx = shared.store.begin().await?.beside_the_action();
            tx.audit_append(rows).await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            shared.audit.give_back(entries, dropped);
            return Err(Error::store("writing the audit log", error));
        }
    }
}

/// Asks the runner now and then what sandboxes wanted of the network, until the control plane ends.
async fn watch_network(shared: Arc<Shared>) {
    if !shared.settings.audit.traffic {
        return;
    }
    loop {
        shared.clock.sleep(SIGHTINGS_EVERY).await;
        gather(&shared).await;
    }
}

/// Puts down what sandboxes wanted of the network until now.
pub(crate) async fn gather(shared: &Shared) {
    if !shared.settings.audit.traffic {
        return;
    }
    for host in shared.hosts() {
        // A runner that does not answer has its own line in the log.
        for sighting in host.client.take_sightings().await.unwrap_or_default() {
            take_sighting(shared, &host, sighting).await;
        }
    }
}

async fn take_sighting(shared: &Shared, host: &Host, sighting: Sighting) {
    let sandbox = if let Some(entry) = shared.directory.get(&sighting.sandbox) {
        Some(entry.sandbox())
    } else {
        // It has gone since.
        let found = shared.store.reader().sandbox_find(&sighting.sandbox).await;
        found.ok().flatten().map(Arc::new)
    };
    if let Some(sandbox) = sandbox.filter(|sandbox| host.holds(sandbox)) {
        let organization = sandbox.organization_id.clone();
        shared.audit.push(row_of(shared, organization, sighting));
    }
}

fn row_of(shared: &Shared, organization: OrganizationId, sighting: Sighting) -> AuditEntry {
    let now = shared.clock.now();
    let at = now.saturating_sub(sighting.age).unwrap_or(now);
    let mut metadata = BTreeMap::new();
    let mut note = |name: &str, value: String| {
        metadata.insert(name.to_owned(), value);
    };
    if sighting.count > 1 {
        note("count", sighting.count.to_string());
    }
    let action = match sighting.wanted {
        Wanted::Name { name, is_allowed } => {
            note("name", audit_text(&name));
            note("allowed", is_allowed.to_string());
            "network_name"
        }
        Wanted::Host {
            name,
            address,
            port,
            is_allowed,
        } => {
            note("name", audit_text(&name));
            note("address", address.to_string());
            note("port", port.to_string());
            note("allowed", is_allowed.to_string());
            "network_connection"
        }
        Wanted::Address {
            protocol,
            address,
            port,
        } => {
            let protocol = match protocol {
                1 => "icmp".to_owned(),
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                other => other.to_string(),
            };
            note("protocol", protocol);
            note("address", address.to_string());
            note("port", port.to_string());
            "network_connection"
        }
        Wanted::More => {
            note("more", "things that are not told apart".to_owned());
            "network_connection"
        }
    };
    let mut entry = AuditEntry::new(String::new(), at, action);
    entry.organization = Some(organization);
    entry.target_type = Some("sandbox".to_owned());
    entry.target_id = Some(sighting.sandbox.to_string());
    entry.metadata = metadata;
    entry
}

/// Removes what is older than the operator keeps, now and then.
async fn retain(shared: Arc<Shared>) {
    let Some(kept) = shared.settings.audit.kept else {
        return;
    };
    loop {
        if let Err(error) = prune(&shared, kept).await {
            tracing::error!(%error, "cannot remove old rows of the audit log");
        }
        shared.clock.sleep(PRUNE_EVERY).await;
    }
}

async fn prune(shared: &Shared, kept: Duration) -> Result<(), Error> {
    let failed = |error| Error::store("removing old rows of the audit log", error);
    let now = shared.clock.now();
    let before = now.saturating_sub(kept).unwrap_or(now);
    let logs = shared.store.reader().audit_logs().await.map_err(failed)?;
    for log in logs {
        loop {
            let tx = shared.store.begin().await.map_err(failed)?;
            let more = tx.audit_prune(&log, before, PRUNED_AT_ONCE).await;
            let more = more.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            if !more {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn entry(number: usize) -> AuditEntry {
        AuditEntry::new(number.to_string(), Timestamp::UNIX_EPOCH, "x")
    }

    #[test]
    fn a_full_queue_counts_what_it_drops_and_tells_with_its_last_row() {
        let queue = AuditQueue::default();
        for number in 0..WAITING_MAX + 7 {
            queue.push(entry(number));
        }
        let mut seen = 0;
        loop {
            let (entries, dropped) = queue.take();
            for entry in &entries {
                assert_eq!(entry.id, seen.to_string());
                seen += 1;
            }
            if seen == WAITING_MAX {
                assert_eq!(dropped, [(None, 7)].into());
                break;
            }
            assert!(dropped.is_empty());
        }
        assert!(queue.take().0.is_empty());
    }

    #[test]
    fn what_could_not_be_written_comes_first_again() {
        let queue = AuditQueue::default();
        for number in 0..=BATCH {
            queue.push(entry(number));
        }
        let (entries, dropped) = queue.take();
        queue.give_back(entries, dropped);
        let (entries, _) = queue.take();
        assert_eq!(entries.len(), BATCH);
        assert_eq!(entries[0].id, "0");
    }
}
