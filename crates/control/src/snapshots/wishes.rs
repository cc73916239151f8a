//! What callers do with snapshots.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{
    NewSnapshot, OrganizationId, Permission, Reason, SandboxClass, Snapshot, SnapshotEvent,
    SnapshotId, SnapshotPlan, SnapshotRefusal, SnapshotState, snapshot,
};
use alcove_store::{QuotaKey, StoreError};
use jiff::Timestamp;

use super::driver::drive;
use crate::probe::Step;
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::{Caller, Error};

/// Between being made inactive and active again: activating fetches the image, which nobody should do in a circle.
const ACTIVATE_AFTER: Duration = Duration::from_mins(10);
/// Snapshots that are made inactive in one round.
const UNUSED_BATCH: u64 = 100;
/// Times that a create with an image looks anew: what it found may have been removed in between.
const LOOKS: usize = 4;

pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: NewSnapshot,
) -> Result<Snapshot, Error> {
    caller.require(Permission::WriteSnapshots)?;
    shared.check_not_suspended(&caller.organization)?;
    shared.region_with_runner(&caller.organization, request.region.as_deref())?;
    let plan = snapshot::plan_snapshot(request, shared.settings.default_resources)
        .map_err(Error::refused)?;
    insert(shared, &caller.organization, plan).await
}

async fn insert(
    shared: &Arc<Shared>,
    org: &OrganizationId,
    plan: SnapshotPlan,
) -> Result<Snapshot, Error> {
    let now = shared.clock.now();
    let snapshot = Snapshot {
        id: SnapshotId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: Some(org.clone()),
        is_shared: false,
        name: plan.name,
        image_name: Some(plan.image_name),
        image: String::new(),
        state: SnapshotState::Pending,
        size_bytes: None,
        has_own_entrypoint: !plan.entrypoint.is_empty(),
        entrypoint: plan.entrypoint,
        user: String::new(),
        resources: plan.resources,
        class: SandboxClass::Container,
        error_reason: None,
        source_sandbox_id: None,
        created_at: now,
        updated_at: now,
        last_used_at: None,
        deactivated_at: None,
        build_key: None,
        expires_at: None,
        lineage: None,
    };
    let task = {
        let (shared, snapshot) = (Arc::clone(shared), snapshot.clone());
        async move { write_new(&shared, &snapshot).await }
    };
    // A caller that goes away must not leave a row that nobody drives.
    shared.finish("creating a snapshot", task).await?;
    Ok(snapshot)
}

async fn write_new(shared: &Arc<Shared>, snapshot: &Snapshot) -> Result<(), Error> {
    let failed = |error| match error {
        StoreError::NameTaken => name_taken(&snapshot.name),
        other => Error::store("creating a snapshot", other),
    };
    let tx = shared.store.begin().await.map_err(failed)?;
    insert_in_tx(shared, &tx, snapshot).await.map_err(failed)?;
    let told = tx.commit_events().await.map_err(failed)?;
    shared.reached(Step::WishWritten).await;
    shared.note_snapshot_written();
    shared.events.wake(told);
    drive(shared, &snapshot.id);
    Ok(())
}

/// Writes the row of a new snapshot, if the organization may have it.
pub(crate) async fn insert_in_tx(
    shared: &Shared,
    tx: &alcove_store::Tx,
    snapshot: &Snapshot,
) -> Result<(), StoreError> {
    if let Some(org) = &snapshot.organization_id {
        tx.organization_hold(org).await?;
        let key = QuotaKey {
            organization: org.clone(),
            region: shared.settings.region.id.clone(),
            class: snapshot.class,
        };
        let own = tx.quota_find(&key).await?;
        // Whether its sandboxes outlive their stop is not known yet.
        let is_ephemeral = true;
        own.unwrap_or(shared.settings.default_quota)
            .check_sandbox(&snapshot.resources, is_ephemeral)
            .map_err(StoreError::OverQuota)?;
    }
    tx.snapshot_insert(snapshot).await?;
    hold_quota(shared, tx, snapshot).await
}

async fn hold_quota(
    shared: &Shared,
    tx: &alcove_store::Tx,
    snapshot: &Snapshot,
) -> Result<(), StoreError> {
    match &snapshot.organization_id {
        Some(org) => {
            tx.snapshot_quota_hold(org, shared.settings.snapshots.quota)
                .await
        }
        None => Ok(()),
    }
}

pub(crate) fn name_taken(name: &str) -> Error {
    Error::Conflict {
        message: format!("Snapshot with name {name} already exists"),
        code: "SNAPSHOT_NAME_TAKEN",
        state: None,
    }
}

pub(super) fn not_found(id_or_name: &str) -> Error {
    Error::NotFound {
        message: format!("Snapshot with ID or name {id_or_name} not found"),
    }
}

fn belongs_to_all() -> Error {
    Error::forbidden("General snapshots are everybody's and cannot be changed")
}

/// The caller's own snapshot.
///
/// # Errors
/// [`Error::Forbidden`] for a general one, which is everybody's.
async fn find_own(shared: &Shared, caller: &Caller, id_or_name: &str) -> Result<Snapshot, Error> {
    let found = shared
        .store
        .reader()
        .snapshot_find(&caller.organization, id_or_name)
        .await
        .map_err(|error| Error::store("looking for a snapshot", error))?
        .ok_or_else(|| not_found(id_or_name))?;
    if found.is_general() {
        return Err(belongs_to_all());
    }
    Ok(found)
}

pub(crate) async fn activate(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
) -> Result<Snapshot, Error> {
    caller.require(Permission::WriteSnapshots)?;
    shared.check_not_suspended(&caller.organization)?;
    let found = find_own(shared, caller, id_or_name).await?;
    change_own(shared, &found.id, SnapshotEvent::Activate).await
}

pub(crate) async fn deactivate(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
) -> Result<(), Error> {
    caller.require(Permission::WriteSnapshots)?;
    let found = find_own(shared, caller, id_or_name).await?;
    change_own(shared, &found.id, SnapshotEvent::Deactivate).await?;
    Ok(())
}

/// Taken in every state but while a sandbox is being snapshotted, and again while it is going.
pub(crate) async fn delete(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
) -> Result<(), Error> {
    caller.require(Permission::DeleteSnapshots)?;
    let found = find_own(shared, caller, id_or_name).await?;
    match change_own(shared, &found.id, SnapshotEvent::Delete).await {
        // It has gone meanwhile, which is what was asked for.
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Who wants a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The organization, which has no say while the snapshot is everybody's.
    Owner,
    Server,
}

pub(crate) async fn change(
    shared: &Arc<Shared>,
    id: &SnapshotId,
    event: SnapshotEvent,
) -> Result<Snapshot, Error> {
    change_by(shared, id, event, By::Server).await
}

async fn change_own(
    shared: &Arc<Shared>,
    id: &SnapshotId,
    event: SnapshotEvent,
) -> Result<Snapshot, Error> {
    change_by(shared, id, event, By::Owner).await
}

async fn change_by(
    shared: &Arc<Shared>,
    id: &SnapshotId,
    event: SnapshotEvent,
    by: By,
) -> Result<Snapshot, Error> {
    let task = {
        let (shared, id) = (Arc::clone(shared), id.clone());
        async move { write_change(&shared, &id, event, by).await }
    };
    shared.finish("changing a snapshot", task).await
}

async fn write_change(
    shared: &Arc<Shared>,
    id: &SnapshotId,
    event: SnapshotEvent,
    by: By,
) -> Result<Snapshot, Error> {
    let failed = |error| Error::store("changing a snapshot", error);
    let now = shared.clock.now();
    let tx = shared.store.begin().await.map_err(failed)?;
    let found = tx.snapshot_get(id).await.map_err(failed)?;
    let mut snapshot = found.ok_or_else(|| not_found(id.as_str()))?;
    // It may have become everybody's since it was found.
    if by == By::Owner && snapshot.is_general() {
        return Err(belongs_to_all());
    }
    let state = snapshot.after(event)?;
    if state == snapshot.state {
        return Ok(snapshot);
    }
    match event {
        SnapshotEvent::Activate => check_rest(&snapshot, now)?,
        SnapshotEvent::Deactivate => snapshot.deactivated_at = Some(now),
        _ => {}
    }
    snapshot.state = state;
    snapshot.updated_at = now;
    tx.snapshot_update(&snapshot).await.map_err(failed)?;
    if event == SnapshotEvent::Activate {
        hold_quota(shared, &tx, &snapshot).await.map_err(failed)?;
    }
    let told = tx.commit_events().await.map_err(failed)?;
    shared.reached(Step::WishWritten).await;
    shared.note_snapshot_written();
    shared.events.wake(told);
    drive(shared, id);
    Ok(snapshot)
}

/// Gives a snapshot another time to go by itself, or none.
pub(super) async fn set_expiry(
    shared: &Arc<Shared>,
    id: &SnapshotId,
    at: Option<Timestamp>,
) -> Result<(), Error> {
    let failed = |error| Error::store("changing when a snapshot expires", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let Some(mut snapshot) = tx.snapshot_get(id).await.map_err(failed)? else {
        return Ok(());
    };
    snapshot.expires_at = at;
    snapshot.updated_at = shared.clock.now();
    tx.snapshot_update(&snapshot).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    shared.note_snapshot_written();
    Ok(())
}

fn check_rest(snapshot: &Snapshot, now: Timestamp) -> Result<(), Error> {
    let since = snapshot.deactivated_at.map(|at| now.duration_since(at));
    if since.is_some_and(|since| Duration::try_from(since).unwrap_or_default() < ACTIVATE_AFTER) {
        let minutes = ACTIVATE_AFTER.as_secs() / 60;
        return Err(Error::refused(vec![Reason::invalid(format!(
            "Snapshot was deactivated less than {minutes} minutes ago; activate it later"
        ))]));
    }
    Ok(())
}

/// Makes snapshots inactive that nobody has used for long.
pub(crate) async fn deactivate_unused(shared: &Arc<Shared>) -> Result<(), Error> {
    let Some(unused) = shared.settings.snapshots.unused else {
        return Ok(());
    };
    let now = shared.clock.now();
    let before = now.saturating_sub(unused).unwrap_or(now);
    let found = shared
        .store
        .reader()
        .snapshot_list_unused(before, UNUSED_BATCH)
        .await;
    let found = found.map_err(|error| Error::store("looking for unused snapshots", error))?;
    for id in found {
        match change(shared, &id, SnapshotEvent::Deactivate).await {
            Ok(snapshot) => tracing::info!(
                snapshot.id = %id,
                "nobody has used snapshot {} for long: it is inactive now", snapshot.name
            ),
            // It has changed meanwhile.
            Err(Error::NotFound { .. } | Error::Invalid { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The snapshot for a create that names an image: the one that is called so, or one that is made for it, with the
/// image's reference as its name. Waits for the image.
///
/// # Errors
/// [`Error::Unavailable`], if it takes too long; it goes on meanwhile.
pub(crate) async fn for_image(
    shared: &Arc<Shared>,
    caller: &Caller,
    image: &str,
) -> Result<String, Error> {
    let failed = |error| Error::store("looking for a snapshot", error);
    let time_up = shared.clock.sleep(shared.settings.image_wait);
    tokio::pin!(time_up);
    let mut written = shared.snapshot_drivers.watch();
    let mut is_fresh = false;
    for _ in 0..LOOKS {
        written.mark_unchanged();
        let org = &caller.organization;
        let found = shared.store.reader().snapshot_find(org, image).await;
        // What another organization has is of use while it is active, and not waited for.
        let found = found.map_err(failed)?.filter(|found| {
            let is_foreign = found.is_shared && !found.is_of(org);
            !is_foreign || found.state == SnapshotState::Active
        });
        let Some(found) = found else {
            let request = NewSnapshot {
                name: image.to_owned(),
                image_name: Some(image.to_owned()),
                ..NewSnapshot::default()
            };
            let plan = snapshot::plan_snapshot(request, shared.settings.default_resources)
                .map_err(Error::refused)?;
            match insert(shared, org, plan).await {
                // Somebody else came first.
                Ok(_) | Err(Error::Conflict { .. }) => is_fresh = true,
                Err(error) => return Err(error),
            }
            continue;
        };
        let mut state = found.state;
        // What failed before is tried once more.
        if state == SnapshotState::Error && !is_fresh && found.name == image {
            change_own(shared, &found.id, SnapshotEvent::Delete).await?;
            state = SnapshotState::Removing;
        }
        let mut last = found.clone();
        while matches!(
            state,
            SnapshotState::Pending | SnapshotState::Pulling | SnapshotState::Removing
        ) {
            tokio::select! {
                _ = written.changed() => {}
                () = &mut time_up => return Err(still_pulled()),
            }
            let now = shared.store.reader().snapshot_get(&found.id).await;
            match now.map_err(failed)? {
                Some(now) => {
                    state = now.state;
                    last = now;
                }
                None => break,
            }
        }
        match state {
            SnapshotState::Removing => {}
            SnapshotState::Error => {
                let reason = last.error_reason.unwrap_or_default();
                return Err(Error::refused(vec![Reason::invalid(format!(
                    "Image {image} cannot be pulled: {reason}"
                ))]));
            }
            // Whoever makes the sandbox refuses what is not active.
            _ => return Ok(found.id.to_string()),
        }
    }
    Err(still_pulled())
}

fn still_pulled() -> Error {
    Error::Unavailable {
        message: "The image is still being pulled; try again in a while",
        retry_after: Some(Duration::from_secs(10)),
        cause: None,
    }
}

impl From<SnapshotRefusal> for Error {
    fn from(refusal: SnapshotRefusal) -> Self {
        match refusal {
            SnapshotRefusal::BeingMade => Self::Conflict {
                message: refusal.to_string(),
                code: "SNAPSHOT_STATE_CHANGE_IN_PROGRESS",
                state: None,
            },
            SnapshotRefusal::NotInactive { .. }
            | SnapshotRefusal::NotActive { .. }
            | SnapshotRefusal::Stale => Self::refused(vec![Reason::invalid(refusal.to_string())]),
        }
    }
}
