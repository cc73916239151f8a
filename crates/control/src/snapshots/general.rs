//! Snapshots of an organization that the administrator of the server lets every organization use.

use std::sync::Arc;

use alcove_domain::{Reason, Snapshot, SnapshotId, SnapshotState};

use super::wishes::not_found;
use crate::Error;
use crate::shared::Shared;

/// Makes a snapshot everybody's, or its organization's alone again.
///
/// # Errors
/// [`Error::NotFound`] for one that people do not see, [`Error::Conflict`] if another general one has the name.
pub(crate) async fn set(
    shared: &Arc<Shared>,
    id: &str,
    is_general: bool,
) -> Result<Snapshot, Error> {
    let key: SnapshotId = id.parse().map_err(|_| not_found(id))?;
    let task = {
        let shared = Arc::clone(shared);
        async move { write(&shared, &key, is_general).await }
    };
    shared.finish("changing a snapshot", task).await
}

async fn write(shared: &Arc<Shared>, id: &SnapshotId, is_general: bool) -> Result<Snapshot, Error> {
    let failed = |error| Error::store("changing a snapshot", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let found = tx.snapshot_get(id).await.map_err(failed)?;
    let found = found.filter(|found| found.build_key.is_none());
    let mut snapshot = found.ok_or_else(|| not_found(id.as_str()))?;
    if snapshot.is_general() == is_general {
        return Ok(snapshot);
    }
    if snapshot.organization_id.is_none() {
        let reason = "An image of the server is everybody's as long as the server has it";
        return Err(Error::Unprocessable {
            reasons: vec![Reason::unsupported(reason)],
        });
    }
    if is_general {
        if snapshot.state == SnapshotState::Removing {
            return Err(not_found(id.as_str()));
        }
        let is_taken = tx.snapshot_is_general_name_taken(&snapshot).await;
        if is_taken.map_err(failed)? {
            return Err(Error::conflict(
                "SNAPSHOT_NAME_TAKEN",
                format!(
                    "General snapshot with name {} already exists",
                    snapshot.name
                ),
            ));
        }
    }
    snapshot.is_shared = is_general;
    snapshot.updated_at = shared.clock.now();
    tx.snapshot_update(&snapshot).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    shared.note_snapshot_written();
    tracing::info!(
        snapshot.id = %id,
        "snapshot {} is {}", snapshot.name,
        if is_general { "everybody's" } else { "its organization's alone" }
    );
    Ok(snapshot)
}
