//! What is on the host against what should be: at the start, on the runner's reports, and once in a while.
//!
//! Differences are worked off both ways. A sandbox that the store knows is told what the host has of it;
//! one that the store does not know is removed from the host. Taken as a whole this is safe to repeat and
//! needs no input but the two lists.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{Goal, Observation, Origin, RunnerId, SandboxId};
use alcove_runner_api::{self as runner_api, Generation, Observed, Order, OrderError, Report};
use futures_util::StreamExt as _;

use crate::builds;
use crate::directory::Entry;
use crate::driver::{self, Ask};
use crate::fleet::Host;
use crate::links;
use crate::order::{self, Heard};
use crate::organizations;
use crate::quota;
use crate::sessions;
use crate::shared::Shared;
use crate::snapshots;
use crate::suspension;
use crate::volumes;
use crate::webhooks;
use crate::{Error, RunnerClient};

const RETRY: Duration = Duration::from_secs(1);
/// How long events and destroyed sandboxes are kept.
const KEPT: Duration = Duration::from_hours(24);
/// How long it can be asked what sandboxes counted: a year and what is needed to look back at it.
const USAGE_KEPT: Duration = Duration::from_hours(24 * 400);
/// Rows written or removed in one transaction, so that nobody waits long for a turn.
const BATCH: usize = 500;

/// Takes up what an earlier process left: every live sandbox, every open order.
pub(crate) async fn load(shared: &Arc<Shared>) -> Result<(), Error> {
    let failed = |error| Error::store("taking up the state", error);
    quota::recount(shared).await?;
    let reader = shared.store.reader();
    let last = reader.outbox_last_sequence().await.map_err(failed)?;
    shared.events.wake(Some(last));
    let mut orders: HashMap<SandboxId, Goal> = HashMap::new();
    for open in reader.command_list().await.map_err(failed)? {
        orders.insert(open.sandbox, open.goal);
    }
    for sandbox in reader.sandbox_list_live().await.map_err(failed)? {
        let entry = Entry::new(sandbox);
        shared.directory.insert(&entry);
        shared.timers.schedule(&entry);
        if let Some(open) = entry.sandbox().lifecycle.open_goal() {
            // The row of the order tells a forced stop from a polite one; the state tells the rest.
            let goal = orders.get(&entry.id).copied().unwrap_or(open);
            let take_over = true;
            driver::ask(shared, &entry, Ask::Drive { goal, take_over }).await;
        }
    }
    begin_forks(shared).await;
    links::take_up(shared).await;
    sessions::take_up(shared).await;
    snapshots::driver::load(shared).await.map_err(failed)?;
    // A killed process may not have come to it.
    shared.images.note_release();
    volumes::take_up(shared).await?;
    organizations::take_up(shared).await?;
    builds::load(shared).await?;
    // An outcome may have been written, and its sandboxes not told.
    builds::sandboxes::tell_all(shared).await;
    Ok(())
}

/// Begins forks whose copy is made, or will not be, and whose turn was lost in between.
async fn begin_forks(shared: &Arc<Shared>) {
    for entry in shared.directory.entries() {
        if driver::waits_in_vain(shared, &entry.sandbox()) {
            // Why it does not come was lost with the turn: the runner tells what is there.
            driver::ask(shared, &entry, Ask::Begin { fault: None }).await;
        }
    }
}

/// Compares with the server's own runner once: its images become snapshots, its inventory is held against ours.
pub(crate) async fn compare(shared: &Arc<Shared>) -> Result<(), OrderError> {
    let result = compare_own(shared).await;
    shared.note_runner(result.is_ok());
    result
}

async fn compare_own(shared: &Arc<Shared>) -> Result<(), OrderError> {
    let images = shared.runner.images().await?;
    if let Err(error) = shared.register_images(&images).await {
        tracing::error!(%error, "cannot register the runner's images");
    }
    compare_inventory(shared, None, &shared.runner).await
}

/// Holds the inventory of a runner against what should be on it.
async fn compare_inventory(
    shared: &Arc<Shared>,
    id: Option<&RunnerId>,
    client: &Arc<dyn RunnerClient>,
) -> Result<(), OrderError> {
    // The versions from before the look: what was written since is newer than what was seen.
    let mut ours: HashMap<SandboxId, (Arc<Entry>, u64)> = shared
        .directory
        .entries()
        .into_iter()
        .filter_map(|entry| {
            let sandbox = entry.sandbox();
            let is_there = sandbox.runner.as_ref() == id;
            is_there.then(|| (entry.id.clone(), (entry, sandbox.version)))
        })
        .collect();
    for report in client.inventory().await? {
        let id = report.sandbox.clone();
        match ours.remove(&id) {
            Some((entry, version)) => {
                let (generation, observation, heard) = order::read(report);
                let seen = Ask::Seen {
                    origin: Origin::Inventory,
                    generation,
                    observation,
                    heard,
                    if_version: Some(version),
                };
                driver::ask(shared, &entry, seen).await;
            }
            None => reap_unknown(shared, client, report),
        }
    }
    for (entry, version) in ours.into_values() {
        let seen = Ask::Seen {
            origin: Origin::Inventory,
            generation: entry.sandbox().lifecycle.generation,
            observation: Observation::Absent,
            heard: Heard::default(),
            if_version: Some(version),
        };
        driver::ask(shared, &entry, seen).await;
    }
    Ok(())
}

/// Removes from the host what the store does not know.
fn reap_unknown(shared: &Arc<Shared>, client: &Arc<dyn RunnerClient>, report: Report) {
    // In this order: one that is claimed is put into the directory before its claim ends.
    if report.observed == Observed::Absent
        || shared.warm.is_claiming(&report.sandbox)
        || shared.directory.get(&report.sandbox).is_some()
    {
        return;
    }
    tracing::warn!(
        sandbox.id = %report.sandbox,
        "the host keeps a sandbox {} that nobody knows: it is removed", report.sandbox
    );
    let order = Order {
        sandbox: report.sandbox,
        generation: Generation(report.generation.0.saturating_add(1)),
        goal: runner_api::Goal::Absent,
    };
    let runner = Arc::clone(client);
    shared.spawn(async move {
        // What fails is found again by the next comparison.
        if let Err(error) = runner.apply(order).await {
            tracing::warn!(%error, "cannot remove an unknown sandbox");
        }
    });
}

/// Listens to what the runner sees by itself, until the control plane ends.
pub(crate) async fn listen(shared: Arc<Shared>) {
    loop {
        let own = shared.own_host();
        let mut reports = own.client.reports();
        // Things may have happened while nobody listened.
        while compare(&shared).await.is_err() {
            shared.clock.sleep(RETRY).await;
        }
        while let Some(report) = reports.next().await {
            take_report(&shared, &own, report).await;
        }
        tracing::warn!("the runner's stream of reports has ended; it is opened again");
        shared.clock.sleep(RETRY).await;
    }
}

/// Listens to a runner outside of the server, from a first comparison on. Ends when it does not answer.
pub(crate) async fn listen_to(shared: &Arc<Shared>, host: &Host) {
    let mut reports = host.client.reports();
    let compared = compare_inventory(shared, host.id.as_ref(), &host.client).await;
    if let Err(error) = compared {
        tracing::warn!(%error, "a runner does not say what is on it");
        return;
    }
    // What waited for it while it was away.
    for entry in shared.directory.entries() {
        let sandbox = entry.sandbox();
        if sandbox.runner == host.id
            && let Some(goal) = sandbox.lifecycle.open_goal()
        {
            let take_over = true;
            driver::ask(shared, &entry, Ask::Drive { goal, take_over }).await;
        }
    }
    while let Some(report) = reports.next().await {
        take_report(shared, host, report).await;
    }
}

async fn take_report(shared: &Arc<Shared>, host: &Host, report: Report) {
    match shared.directory.get(&report.sandbox) {
        Some(entry) if !host.holds(&entry.sandbox()) => {
            tracing::warn!(sandbox.id = %entry.id, "a runner tells of a sandbox that it has not");
        }
        Some(entry) => {
            let (generation, observation, heard) = order::read(report);
            let seen = Ask::Seen {
                origin: Origin::Stream,
                generation,
                observation,
                heard,
                if_version: None,
            };
            driver::ask(shared, &entry, seen).await;
        }
        // The last word of a sandbox that is gone already, as a rule. If it is more than that, the next comparison
        // finds it.
        None => {
            tracing::debug!(sandbox.id = %report.sandbox, "a report on a sandbox that is gone");
        }
    }
}

/// The slow second look, until the control plane ends. Everything here should find nothing to do.
pub(crate) async fn safety_net(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(shared.settings.safety_net).await;
        // A runner that does not answer is found out by those who need it.
        let _ = compare(&shared).await;
        for host in shared.hosts() {
            if host.id.is_some() {
                let _ = compare_inventory(&shared, host.id.as_ref(), &host.client).await;
            }
        }
        let entries = shared.directory.entries();
        shared.timers.rebuild(&entries);
        for entry in entries {
            if let Some(goal) = entry.sandbox().lifecycle.open_goal() {
                let take_over = true;
                driver::ask(&shared, &entry, Ask::Drive { goal, take_over }).await;
            }
        }
        begin_forks(&shared).await;
        links::take_up(&shared).await;
        sessions::take_up(&shared).await;
        suspension::clean_up(&shared).await;
        builds::sandboxes::tell_all(&shared).await;
        if let Err(error) = builds::sandboxes::let_go(&shared).await {
            tracing::error!(%error, "cannot let built images go");
        }
        if let Err(error) = snapshots::wishes::deactivate_unused(&shared).await {
            tracing::error!(%error, "cannot make unused snapshots inactive");
        }
        if let Err(error) = snapshots::driver::drive_open(&shared).await {
            tracing::error!(%error, "cannot look for snapshots that wait");
        }
        if let Err(error) = volumes::take_up(&shared).await {
            tracing::error!(%error, "cannot look for unfinished volumes");
        }
        if let Err(error) = prune(&shared).await {
            tracing::error!(%error, "cannot remove old rows");
        }
    }
}

async fn prune(shared: &Shared) -> Result<(), Error> {
    let failed = |error| Error::store("removing old rows", error);
    let now = shared.clock.now();
    let before = now.saturating_sub(KEPT).unwrap_or(now);
    let tx = shared.store.begin().await.map_err(failed)?;
    // What webhooks have not been made of yet stays.
    let spread = webhooks::is_spread(shared);
    tx.outbox_prune(before, spread).await.map_err(failed)?;
    webhooks::prune(shared, &tx).await?;
    let past = now.saturating_sub(USAGE_KEPT).unwrap_or(now);
    tx.usage_period_prune(past).await.map_err(failed)?;
    let limit = u64::try_from(BATCH).unwrap_or(u64::MAX);
    tx.sandbox_prune(before, limit).await.map_err(failed)?;
    tx.volume_prune(before, limit).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}

/// Writes activity down now and then, until the control plane ends.
pub(crate) async fn write_activity(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(shared.settings.activity_flush).await;
        if let Err(error) = flush_activity(&shared).await {
            // It stays in memory and is tried again.
            tracing::error!(%error, "cannot write activity down");
        }
    }
}

/// Writes down what is only in memory: the last activity of sandboxes, the last use of snapshots and of
/// keys.
pub(crate) async fn flush_activity(shared: &Shared) -> Result<(), Error> {
    let failed = |error| Error::store("writing activity down", error);
    let moved: Vec<(Arc<Entry>, jiff::Timestamp)> = shared
        .directory
        .entries()
        .into_iter()
        .filter_map(|entry| {
            let activity = entry.activity();
            (activity > entry.written_activity()).then_some((entry, activity))
        })
        .collect();
    for batch in moved.chunks(BATCH) {
        let tx = shared.store.begin().await.map_err(failed)?;
        for (entry, activity) in batch {
            tx.sandbox_touch(&entry.id, *activity)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        for (entry, activity) in batch {
            entry.note_written_activity(*activity);
        }
    }
    let used = shared.snapshots.used.leave();
    if !used.is_empty() {
        let tx = shared.store.begin().await.map_err(failed)?;
        for (id, at) in &used {
            tx.snapshot_touch(id, *at).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        shared.snapshots.used.written();
    }
    let used = shared.keys.used.leave();
    if !used.is_empty() {
        let tx = shared.store.begin().await.map_err(failed)?;
        for (key, at) in &used {
            tx.api_key_touch(*key, *at).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        shared.keys.used.written();
    }
    let used = shared.keys.used_sessions.leave();
    if !used.is_empty() {
        let tx = shared.store.begin().await.map_err(failed)?;
        for (session, at) in &used {
            let touch = tx.login_session_touch(*session, *at).await;
            touch.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        shared.keys.used_sessions.written();
    }
    Ok(())
}
