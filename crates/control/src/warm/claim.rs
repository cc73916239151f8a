//! A member becomes somebody's sandbox.
//!
//! The runner hands it over first: what the caller asked for is in force before there is anything to see. Then one
//! transaction writes the sandbox as one that runs, with the two events of every create. A kill in between leaves a
//! sandbox on the host that the store does not know; the next comparison removes it, and nobody was told of it. Whenever
//! the member does not do, the same sandbox is made the usual way.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{Observation, Origin, Sandbox, SandboxId, Snapshot};
use alcove_runner_api::{Generation, Goal, Order};
use alcove_store::{NewOutboxEntry, OutboxChange};

use super::{BY_DEMAND, can_be_warm, kind};
use crate::Error;
use crate::directory::Entry;
use crate::order::{self, Heard};
use crate::probe::Step;
use crate::quota;
use crate::sandboxes;
use crate::shared::Shared;
use crate::telemetry;

/// How long the hand-over may take before the sandbox is made the usual way. It takes about a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes a sandbox, of a member if there is one. The sandbox gets the member's id, and its name where that is its id.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    mut sandbox: Sandbox,
    snapshot: &Snapshot,
) -> Result<Arc<Entry>, Error> {
    let Some(member) = take(shared, &sandbox, snapshot).await else {
        return sandboxes::insert(shared, sandbox).await;
    };
    if sandbox.name == sandbox.id.as_str() {
        sandbox.name = member.to_string();
    }
    sandbox.id = member;
    claim(shared, sandbox).await
}

async fn take(shared: &Shared, sandbox: &Sandbox, snapshot: &Snapshot) -> Option<SandboxId> {
    if !can_be_warm(shared, sandbox) {
        return None;
    }
    let by_demand = kind(shared, BY_DEMAND, snapshot);
    let own = shared.warm.pool_of(&sandbox.organization_id, &by_demand);
    if own.is_none() {
        shared.warm.note_demand(&snapshot.id, shared.clock.now());
    }
    let mut kinds = Vec::from_iter(own);
    if shared.warm.is_wished(&by_demand) {
        kinds.push(by_demand);
    }
    if kinds.is_empty() {
        return None;
    }
    match shared.runner.take_warm(&kinds).await {
        Ok(member) => member,
        Err(error) => {
            tracing::debug!(%error, "no member of the warm pool");
            None
        }
    }
}

async fn claim(shared: &Arc<Shared>, sandbox: Sandbox) -> Result<Arc<Entry>, Error> {
    let claiming = shared.warm.claiming(&sandbox.id);
    shared.reached(Step::MemberTaken).await;
    // What is refused anyway must not cost a member. The transaction looks again.
    if let Err(error) = quota::fits(shared, &sandbox).await {
        if let Err(error) = shared.runner.give_warm_back(&sandbox.id).await {
            tracing::debug!(%error, "a member is not given back and goes when its time is up");
        }
        return Err(Error::store("creating a sandbox", error));
    }
    let id = sandbox.id.clone();
    let handed = hand_over(shared, &sandbox).await;
    shared.reached(Step::HandedOver).await;
    let written = match handed {
        Some(heard) => insert_started(shared, sandbox, heard).await,
        None => sandboxes::insert(shared, sandbox).await,
    };
    drop(claiming);
    // A commit in doubt may have written it: the next start compares.
    if written.is_err() && !shared.store.is_in_doubt() {
        remove(shared, id);
    }
    written
}

/// What the runner tells of it once it runs.
async fn hand_over(shared: &Arc<Shared>, sandbox: &Sandbox) -> Option<Heard> {
    let ordered = shared.runner.apply(order::first(shared, sandbox));
    let report = tokio::select! {
        biased;
        report = ordered => report,
        () = shared.clock.sleep(PATIENCE) => {
            tracing::warn!(sandbox.id = %sandbox.id, "a member is slow to be handed over");
            return None;
        }
    };
    match report {
        Ok(report) => match order::read(report) {
            (_, Observation::Running, heard) => Some(heard),
            // The usual way says what is wrong.
            _ => None,
        },
        Err(error) => {
            tracing::warn!(sandbox.id = %sandbox.id, %error, "a member is not handed over");
            None
        }
    }
}

/// Writes the sandbox with all that a create and its start write.
async fn insert_started(
    shared: &Arc<Shared>,
    created: Sandbox,
    heard: Heard,
) -> Result<Arc<Entry>, Error> {
    let now = shared.clock.now();
    let life = created.lifecycle.clone();
    let generation = life.generation;
    let step = life.observe(Origin::Answer, generation, Observation::Running, now);
    let mut network = created.network.clone();
    if let Some(version) = heard.network_version {
        network.note_applied(version);
    }
    let started = Sandbox {
        lifecycle: step.lifecycle,
        network,
        agent_version: heard.agent_version,
        updated_at: now,
        last_activity_at: now,
        version: created.version + 1,
        ..created.clone()
    };
    let events = [
        NewOutboxEntry {
            change: OutboxChange::Created,
            sandbox: &created,
            at: created.created_at,
        },
        NewOutboxEntry {
            change: OutboxChange::State {
                old: created.state(),
                new: started.state(),
            },
            sandbox: &started,
            at: now,
        },
    ];
    let tx = sandboxes::write_new(shared, &started).await?;
    let sequence = tx.outbox_append(&events).await;
    let sequence = sequence.map_err(|error| Error::store("creating a sandbox", error))?;
    let committed = tx.commit().await;
    committed.map_err(|error| Error::store("creating a sandbox", error))?;
    shared.reached(Step::OutcomeWritten).await;
    shared.events.note(sequence);
    let entry = Entry::new(started);
    shared.directory.insert(&entry);
    telemetry::note_state(shared, created.state(), &entry.sandbox());
    shared.timers.schedule(&entry);
    shared.events.wake(sequence);
    Ok(entry)
}

/// Takes a member from the host that has been told whose it is, and is not.
fn remove(shared: &Arc<Shared>, sandbox: SandboxId) {
    let runner = Arc::clone(&shared.runner);
    shared.spawn(async move {
        let order = Order {
            sandbox,
            generation: Generation(2),
            goal: Goal::Absent,
        };
        // What fails is found by the next comparison: there is no row.
        if let Err(error) = runner.apply(order).await {
            tracing::warn!(%error, "a sandbox that could not be written stays for a while");
        }
    });
}
