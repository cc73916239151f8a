//! Snapshots that go by themselves: when their time is over, and when newer ones take their place.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::session::{KeepLast, Retention, SessionRecord};
use alcove_domain::{
    OrganizationId, SandboxId, Snapshot, SnapshotEvent, SnapshotFilter, SnapshotSort, SortOrder,
};
use alcove_store::StoreError;

use super::wishes;
use crate::Error;
use crate::shared::Shared;

/// Longest sleep in one go; a clock that was set is noticed within it.
const SLEEP_MAX: Duration = Duration::from_mins(1);
/// Snapshots that are looked at in one go.
const BATCH: u64 = 100;

/// Deletes snapshots when their time is over, until the control plane ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut written = shared.snapshot_drivers.watch();
    loop {
        written.mark_unchanged();
        let wait = match expire(&shared).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(%error, "cannot look for snapshots whose time is over");
                SLEEP_MAX
            }
        };
        tokio::select! {
            () = shared.clock.sleep(wait) => {}
            // There may be one with an earlier time.
            _ = written.changed() => {}
        }
    }
}

/// Deletes those whose time is over. How long there is nothing to do.
async fn expire(shared: &Arc<Shared>) -> Result<Duration, StoreError> {
    let reader = shared.store.reader();
    let mut is_stuck = false;
    for id in reader
        .snapshot_list_expired(shared.clock.now(), BATCH)
        .await?
    {
        match wishes::change(shared, &id, SnapshotEvent::Delete).await {
            Ok(snapshot) => tracing::info!(
                snapshot.id = %id,
                "the time of snapshot {} is over: it is deleted", snapshot.name
            ),
            // It has gone meanwhile.
            Err(Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(snapshot.id = %id, %error, "cannot delete a snapshot whose time is over");
                is_stuck = true;
            }
        }
    }
    let next = reader.snapshot_next_expiry().await?;
    let until = next.and_then(|at| Duration::try_from(at.duration_since(shared.clock.now())).ok());
    Ok(match (until, next) {
        // What could not be done now is not asked again at once.
        _ if is_stuck => SLEEP_MAX,
        (Some(until), _) => until.min(SLEEP_MAX),
        // It is over already.
        (None, Some(_)) => Duration::ZERO,
        (None, None) => SLEEP_MAX,
    })
}

/// Lets those go that are not among the newest any more. What fails is tried with the next snapshot again.
pub(crate) async fn evict(
    shared: &Arc<Shared>,
    org: &OrganizationId,
    sandbox: &SandboxId,
    retention: &Retention,
) {
    let Some(keep) = retention.keep_last else {
        return;
    };
    if let Err(error) = evict_all(shared, org, sandbox, retention, keep).await {
        tracing::warn!(sandbox.id = %sandbox, %error, "older snapshots of a sandbox are left");
    }
}

async fn evict_all(
    shared: &Arc<Shared>,
    org: &OrganizationId,
    sandbox: &SandboxId,
    retention: &Retention,
    keep: KeepLast,
) -> Result<(), Error> {
    let kept = usize::try_from(keep.count).unwrap_or(usize::MAX);
    for old in of_sessions(shared, org, sandbox)
        .await?
        .into_iter()
        .skip(kept)
    {
        if keep.deletes_evicted {
            delete(shared, &old).await?;
            continue;
        }
        let at = retention.evicted_expires_at(old.created_at);
        if old.expires_at != at {
            wishes::set_expiry(shared, &old.id, at).await?;
        }
    }
    Ok(())
}

/// Deletes the snapshots of a sandbox that is gone, but for those that another needs.
pub(crate) async fn delete_orphans(
    shared: &Arc<Shared>,
    org: &OrganizationId,
    sandbox: &SandboxId,
) -> Result<(), Error> {
    for snapshot in of_sessions(shared, org, sandbox).await? {
        let is_needed = shared.directory.entries().iter().any(|entry| {
            let other = entry.sandbox();
            let terms = SessionRecord::of(&other).terms;
            let is_it = |id: &Option<String>| id.as_deref() == Some(snapshot.id.as_str());
            other.id != *sandbox
                && other.organization_id == *org
                && other.is_visible()
                && (is_it(&terms.current_snapshot) || is_it(&terms.source_snapshot))
        });
        if !is_needed {
            delete(shared, &snapshot).await?;
        }
    }
    Ok(())
}

async fn delete(shared: &Arc<Shared>, snapshot: &Snapshot) -> Result<(), Error> {
    match wishes::change(shared, &snapshot.id, SnapshotEvent::Delete).await {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Snapshots that were made of a sandbox's sessions, newest first. What others made of it is theirs.
async fn of_sessions(
    shared: &Shared,
    org: &OrganizationId,
    sandbox: &SandboxId,
) -> Result<Vec<Snapshot>, Error> {
    let filter = SnapshotFilter {
        source_sandbox: Some(sandbox.to_string()),
        ..SnapshotFilter::default()
    };
    let (sort, order) = (SnapshotSort::CreatedAt, SortOrder::Descending);
    let reader = shared.store.reader();
    let found = reader
        .snapshot_list(org, &filter, sort, order, 0, BATCH)
        .await;
    let (mut found, _) = found.map_err(|error| Error::store("listing snapshots", error))?;
    // What is everybody's goes when the administrator lets it.
    found.retain(|snapshot| snapshot.lineage.is_some() && !snapshot.is_general());
    Ok(found)
}
