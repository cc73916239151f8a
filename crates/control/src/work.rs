//! Builds and pulls that are under way, as the administrator of the server sees and ends them.

use std::sync::Arc;

use alcove_domain::{
    ImageBuild, OrganizationId, Snapshot, SnapshotEvent, SnapshotId, SnapshotState,
};
use alcove_store::{Deed, SnapshotOutcome};
use jiff::Timestamp;

use crate::Error;
use crate::images;
use crate::shared::Shared;
use crate::snapshots::driver::drive;

const CANCELLED: &str = "cancelled by the administrator of the server";

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The build's id, or the snapshot's that is pulled.
    pub id: String,
    pub kind: WorkKind,
    pub organization: Option<OrganizationId>,
    pub snapshot: SnapshotId,
    /// None for what is built for sandboxes alone.
    pub snapshot_name: Option<String>,
    pub state: SnapshotState,
    /// When the snapshot was written last, or the build was ordered.
    pub since: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    Build,
    Pull,
}

const PULLED: [SnapshotState; 2] = [SnapshotState::Pending, SnapshotState::Pulling];

/// All of it, the oldest first.
pub(crate) async fn list(shared: &Shared) -> Result<Vec<Work>, Error> {
    let failed = |error| Error::store("listing work", error);
    let reader = shared.store.reader();
    let mut works = Vec::new();
    for build in reader.build_list_open().await.map_err(failed)? {
        let snapshot = reader.snapshot_get(&build.snapshot_id).await;
        if let Some(snapshot) = snapshot.map_err(failed)?
            && snapshot.state == SnapshotState::Building
        {
            works.push(of_build(&build, &snapshot));
        }
    }
    let pulled = reader.snapshot_list_in(&PULLED).await.map_err(failed)?;
    works.extend(pulled.into_iter().map(|snapshot| Work {
        id: snapshot.id.to_string(),
        kind: WorkKind::Pull,
        organization: snapshot.organization_id,
        snapshot: snapshot.id,
        snapshot_name: Some(snapshot.name),
        state: snapshot.state,
        since: snapshot.updated_at,
    }));
    works.sort_by(|one, other| (one.since, &one.id).cmp(&(other.since, &other.id)));
    Ok(works)
}

fn of_build(build: &ImageBuild, snapshot: &Snapshot) -> Work {
    let is_seen = snapshot.build_key.is_none();
    Work {
        id: build.id.to_string(),
        kind: WorkKind::Build,
        organization: Some(build.organization_id.clone()),
        snapshot: snapshot.id.clone(),
        snapshot_name: is_seen.then(|| snapshot.name.clone()),
        state: snapshot.state,
        since: build.created_at,
    }
}

/// Ends a piece of work. What it was for is written first: a kill between the two leaves work whose outcome finds nobody.
pub(crate) async fn cancel(shared: &Arc<Shared>, id: &str) -> Result<(), Error> {
    let not_found = || Error::NotFound {
        message: format!("No work with ID {id} is under way"),
    };
    let work = list(shared).await?.into_iter().find(|work| work.id == id);
    let work = work.ok_or_else(not_found)?;
    if let (Some(deed), Some(organization)) = (Deed::current(), &work.organization) {
        deed.note_organization(organization);
    }
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let is_ended = match work.kind {
                WorkKind::Build => end_build(&shared, &work).await?,
                WorkKind::Pull => end_pull(&shared, &work).await?,
            };
            if is_ended {
                tracing::info!(snapshot.id = %work.snapshot, "the work for a snapshot is cancelled");
                // The outcome of what is not reached finds no snapshot that waits for it.
                if let Err(error) = images::release(&shared, &work.snapshot).await {
                    tracing::warn!(%error, "the runner goes on with work that was cancelled");
                }
            }
            Ok(is_ended)
        }
    };
    if shared.finish("cancelling work", task).await? {
        Ok(())
    } else {
        Err(not_found())
    }
}

async fn end_build(shared: &Arc<Shared>, work: &Work) -> Result<bool, Error> {
    let failed = |error| Error::store("cancelling a build", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let snapshot = tx.snapshot_get(&work.snapshot).await.map_err(failed)?;
    let is_built = snapshot.is_some_and(|found| found.state == SnapshotState::Building);
    let Some(build) = work.id.parse().ok().filter(|_| is_built) else {
        return Ok(false);
    };
    let outcome = SnapshotOutcome::Failed {
        reason: CANCELLED.to_owned(),
    };
    let now = shared.clock.now();
    tx.build_finish(&build, &work.snapshot, &outcome, now)
        .await
        .map_err(failed)?;
    let told = tx.commit_events().await.map_err(failed)?;
    shared.note_snapshot_written();
    shared.events.wake(told);
    if let Err(error) = shared.runner.cancel_build(&build).await {
        tracing::warn!(build.id = %build, %error, "cannot cancel a build");
    }
    crate::builds::sandboxes::tell(shared, &work.snapshot).await;
    Ok(true)
}

async fn end_pull(shared: &Arc<Shared>, work: &Work) -> Result<bool, Error> {
    let failed = |error| Error::store("cancelling a pull", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let found = tx.snapshot_get(&work.snapshot).await.map_err(failed)?;
    let Some(mut snapshot) = found else {
        return Ok(false);
    };
    let Ok(state) = snapshot.after(SnapshotEvent::PullFailed) else {
        return Ok(false);
    };
    snapshot.state = state;
    snapshot.error_reason = Some(CANCELLED.to_owned());
    snapshot.updated_at = shared.clock.now();
    tx.snapshot_update(&snapshot).await.map_err(failed)?;
    let told = tx.commit_events().await.map_err(failed)?;
    shared.note_snapshot_written();
    shared.events.wake(told);
    drive(shared, &work.snapshot);
    Ok(true)
}
