//! Volumes: from a caller's wish to what the host has, and from a create's words to what a sandbox mounts.
//!
//! The row comes first: in `pending_create` or `pending_delete` it promises the caller that the work is done, by this
//! process or the next. One task a volume does it, and is the only one that writes the row meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{
    MountRequest, OrganizationId, Permission, Reason, Sandbox, TooManyVolumes, Volume, VolumeEvent,
    VolumeId, VolumeMount, VolumePhase, VolumeState, text,
};
use alcove_runner_api::{VolumeGoal, VolumeOrder, VolumeOutcome};
use alcove_store::{StoreError, Tx};
use tokio::sync::watch;

use crate::probe::Step;
use crate::rng::uuid_v4;
use crate::shared::{Shared, lock};
use crate::{Caller, Error};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Which volumes are being worked on.
pub(crate) struct VolumeWork {
    busy: Mutex<HashSet<VolumeId>>,
    /// Grows whenever a volume has changed.
    changes: watch::Sender<u64>,
}

impl Default for VolumeWork {
    fn default() -> Self {
        Self {
            busy: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

/// The code of a refusal.
pub(crate) const NAME_TAKEN: &str = "VOLUME_NAME_TAKEN";

/// A volume as it is asked for.
#[derive(Debug, Default)]
pub(crate) struct NewVolume {
    /// The id, if there is none.
    pub name: Option<String>,
    /// As much as the operator gives, if there is none.
    pub bytes: Option<u64>,
    pub project: Option<String>,
    /// A volume of the same organization, with whose content it begins.
    pub source: Option<VolumeId>,
}

pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    new: NewVolume,
) -> Result<Volume, Error> {
    caller.require(Permission::WriteVolumes)?;
    shared.check_not_suspended(&caller.organization)?;
    let id = VolumeId::from_uuid(uuid_v4(&*shared.rng));
    let name = match new.name.filter(|name| !name.is_empty()) {
        None => id.to_string(),
        Some(name) => {
            let mut reasons = Vec::new();
            text::check_name(&name, &mut reasons);
            Error::check(reasons)?;
            name
        }
    };
    let bytes = new.bytes.unwrap_or(shared.settings.volume_bytes);
    let org = caller.organization.clone();
    let volume = Volume {
        project: new.project,
        source: new.source,
        ..Volume::new(id.clone(), org, name, bytes, shared.clock.now())
    };
    let task = {
        let shared = Arc::clone(shared);
        async move { insert(&shared, volume).await }
    };
    // A caller that goes away must not leave a row that nobody works on.
    shared.finish("creating a volume", task).await?;
    let volume = settled(shared, &caller.organization, &id).await?;
    match &volume.phase {
        VolumePhase::Error { reason } => Err(Error::Invalid {
            reasons: vec![Reason::invalid(format!(
                "Volume could not be created: {reason}"
            ))],
            code: "VOLUME_CREATE_FAILED",
            sandbox: None,
            state: None,
            fault: None,
        }),
        _ => Ok(volume),
    }
}

async fn insert(shared: &Arc<Shared>, volume: Volume) -> Result<(), Error> {
    let failed = |error| match error {
        StoreError::NameTaken => invalid(
            NAME_TAKEN,
            format!("Volume with name {} already exists", volume.name),
        ),
        other => Error::store("creating a volume", other),
    };
    let org = &volume.organization_id;
    let tx = shared.store.begin().await.map_err(failed)?;
    tx.organization_hold(org).await.map_err(failed)?;
    if let Some(source) = &volume.source {
        let found = tx.volume_find(org, source).await.map_err(failed)?;
        check_ready(&found.ok_or_else(|| not_found(source.as_str()))?)?;
    }
    tx.volume_insert(&volume).await.map_err(failed)?;
    let own = tx.volume_quota(org).await.map_err(failed)?;
    let limit = own.unwrap_or(shared.settings.volume_quota);
    // With the one that has just been written.
    if tx.volume_count(org).await.map_err(failed)? > limit {
        return Err(Error::QuotaExceeded {
            message: TooManyVolumes { limit }.to_string(),
        });
    }
    let settings = &shared.settings;
    tx.host_hold_volume(volume.size_bytes, &settings.region.id, &settings.host_bound)
        .await
        .map_err(failed)?;
    let told = tx.commit_events().await.map_err(failed)?;
    shared.reached(Step::WishWritten).await;
    shared.events.wake(told);
    work_on(shared, volume);
    Ok(())
}

pub(crate) async fn delete(shared: &Arc<Shared>, caller: &Caller, id: &str) -> Result<(), Error> {
    caller.require(Permission::DeleteVolumes)?;
    let volume = find(shared, &caller.organization, id).await?;
    let (org, id) = (volume.organization_id, volume.id);
    let task = {
        let (shared, org, id) = (Arc::clone(shared), org.clone(), id.clone());
        async move { accept_delete(&shared, &org, &id).await }
    };
    shared.finish("deleting a volume", task).await?;
    settled(shared, &org, &id).await.map(drop)
}

pub(crate) async fn accept_delete(
    shared: &Arc<Shared>,
    org: &OrganizationId,
    id: &VolumeId,
) -> Result<(), Error> {
    let failed = |error| Error::store("deleting a volume", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let found = tx.volume_find(org, id).await.map_err(failed)?;
    let volume = found.ok_or_else(|| not_found(id.as_str()))?;
    let now = shared.clock.now();
    let next = volume
        .apply(VolumeEvent::Delete, now)
        .map_err(|refusal| invalid("VOLUME_NOT_DELETABLE", refusal.to_string()))?;
    // Sandboxes are written with what they mount, one transaction after the other: none comes in between.
    if let Some((user, name)) = tx.volume_user(id).await.map_err(failed)? {
        // A sandbox without a name of its own is called by its id.
        let user = match name {
            name if name == user.as_str() => name,
            name => format!("{name}, {user}"),
        };
        return Err(Error::Conflict {
            message: format!(
                "Volume cannot be deleted because it is in use by one or more sandboxes (e.g. {user})"
            ),
            code: "VOLUME_IN_USE",
            state: None,
        });
    }
    if let Some(heir) = tx.volume_heir(id).await.map_err(failed)? {
        return Err(Error::Conflict {
            message: format!("Volume cannot be deleted while it is copied to {heir}"),
            code: "VOLUME_IN_USE",
            state: None,
        });
    }
    tx.volume_update(&next).await.map_err(failed)?;
    let told = tx.commit_events().await.map_err(failed)?;
    shared.reached(Step::WishWritten).await;
    shared.events.wake(told);
    work_on(shared, next);
    Ok(())
}

/// Takes up what an earlier process left unfinished, and what a task of this one could not write.
pub(crate) async fn take_up(shared: &Arc<Shared>) -> Result<(), Error> {
    let unsettled = shared.store.reader().volume_list_unsettled().await;
    for volume in
        unsettled.map_err(|error| Error::store("looking for unfinished volumes", error))?
    {
        work_on(shared, volume);
    }
    Ok(())
}

/// Starts the task of a volume, unless it runs.
fn work_on(shared: &Arc<Shared>, volume: Volume) {
    if !lock(&shared.volumes.busy).insert(volume.id.clone()) {
        return;
    }
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let (org, id) = (volume.organization_id, volume.id);
            loop {
                let worked = work(&shared, &org, &id).await;
                lock(&shared.volumes.busy).remove(&id);
                if let Err(error) = worked {
                    // The safety net takes it up again.
                    tracing::error!(
                        volume.id = %id, %error,
                        "cannot write down what became of volume {id}"
                    );
                    return;
                }
                // A wish that was written while the task ended has found it busy.
                let found = shared.store.reader().volume_find(&org, &id).await;
                let has_more = found
                    .is_ok_and(|found| found.is_some_and(|volume| volume.state().is_unsettled()));
                if !has_more || !lock(&shared.volumes.busy).insert(id.clone()) {
                    return;
                }
            }
        }
    };
    shared.spawn(task);
}

/// Brings a volume from where it is to where the host has done all.
async fn work(shared: &Shared, org: &OrganizationId, id: &VolumeId) -> Result<(), StoreError> {
    loop {
        let found = shared.store.reader().volume_find(org, id).await?;
        let Some(volume) = found else { return Ok(()) };
        let event = match volume.phase {
            VolumePhase::PendingCreate | VolumePhase::PendingDelete => VolumeEvent::Begin,
            VolumePhase::Creating => {
                let (bytes, source) = (volume.size_bytes, volume.source.clone());
                match order(shared, id, VolumeGoal::Present { bytes, source }).await {
                    VolumeOutcome::Done => VolumeEvent::Made,
                    VolumeOutcome::Failed { fault } => VolumeEvent::Failed {
                        reason: fault.message,
                    },
                }
            }
            VolumePhase::Deleting => {
                while let VolumeOutcome::Failed { .. } = order(shared, id, VolumeGoal::Absent).await
                {
                    shared.clock.sleep(RETRY_MAX).await;
                }
                VolumeEvent::Gone
            }
            VolumePhase::Ready | VolumePhase::Deleted | VolumePhase::Error { .. } => return Ok(()),
        };
        let Ok(next) = volume.apply(event, shared.clock.now()) else {
            return Ok(());
        };
        let tx = shared.store.begin().await?;
        tx.volume_update(&next).await?;
        let told = tx.commit_events().await?;
        if !next.state().is_unsettled() {
            shared.reached(Step::OutcomeWritten).await;
        }
        // Before anybody sees the state: whoever waits for it answers once its events are told.
        shared.events.wake(told);
        shared.volumes.changes.send_modify(|count| *count += 1);
    }
}

/// Orders from the runner until it answers.
async fn order(shared: &Shared, volume: &VolumeId, goal: VolumeGoal) -> VolumeOutcome {
    let mut pause = RETRY_FIRST;
    loop {
        shared.reached(Step::OrderReady).await;
        let order = VolumeOrder {
            volume: volume.clone(),
            goal: goal.clone(),
        };
        match shared.runner.apply_volume(order).await {
            Ok(outcome) => {
                shared.reached(Step::AnswerHeard).await;
                return outcome;
            }
            Err(error) => {
                tracing::warn!(volume.id = %volume, %error, "an order for a volume is repeated");
            }
        }
        shared.clock.sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Holds the call until nothing is left to do for the volume, at most the settled time; then it is given as it is.
async fn settled(shared: &Shared, org: &OrganizationId, id: &VolumeId) -> Result<Volume, Error> {
    let mut changes = shared.volumes.changes.subscribe();
    let time_up = shared.clock.sleep(shared.settings.settle_wait);
    tokio::pin!(time_up);
    loop {
        // Subscribed before the first read: what comes later wakes us.
        changes.borrow_and_update();
        let volume = find(shared, org, id.as_str()).await?;
        if !volume.state().is_unsettled() {
            return Ok(volume);
        }
        tokio::select! {
            // The sender lives as long as what is borrowed here.
            _ = changes.changed() => {}
            () = &mut time_up => return Ok(volume),
        }
    }
}

pub(crate) async fn find(shared: &Shared, org: &OrganizationId, id: &str) -> Result<Volume, Error> {
    // What is no id is nobody's id.
    let parsed: VolumeId = id.parse().map_err(|_| not_found(id))?;
    let found = shared.store.reader().volume_find(org, &parsed).await;
    found
        .map_err(|error| Error::store("looking for a volume", error))?
        .ok_or_else(|| not_found(id))
}

/// The volumes that a create means, by id or by name.
pub(crate) async fn resolve(
    shared: &Shared,
    org: &OrganizationId,
    requests: &[MountRequest],
) -> Result<Vec<VolumeMount>, Error> {
    let mut known: HashMap<&str, VolumeId> = HashMap::new();
    let mut mounts = Vec::with_capacity(requests.len());
    for request in requests {
        let asked = request.volume.as_str();
        let id = if let Some(id) = known.get(asked) {
            id.clone()
        } else {
            let volume = by_id_or_name(shared, org, asked).await?;
            check_ready(&volume)?;
            known.insert(asked, volume.id.clone());
            volume.id
        };
        mounts.push(request.resolve(id));
    }
    Ok(mounts)
}

pub(crate) async fn by_id_or_name(
    shared: &Shared,
    org: &OrganizationId,
    asked: &str,
) -> Result<Volume, Error> {
    let failed = |error| Error::store("looking for a volume", error);
    let reader = shared.store.reader();
    let by_id = match asked.parse::<VolumeId>() {
        Ok(id) => reader.volume_find(org, &id).await.map_err(failed)?,
        Err(_) => None,
    };
    // A deleted one has no part in anything any more.
    let by_id = by_id.filter(|volume| volume.state() != VolumeState::Deleted);
    let by_name = reader.volume_find_by_name(org, asked).await;
    match (by_id, by_name.map_err(failed)?) {
        (Some(one), Some(other)) if one.id != other.id => Err(invalid(
            "VOLUME_AMBIGUOUS",
            format!("{asked} is the id of one volume and the name of another"),
        )),
        (Some(volume), _) | (None, Some(volume)) => Ok(volume),
        (None, None) => Err(Error::NotFound {
            message: format!("Volume with ID or name {asked} not found"),
        }),
    }
}

/// Makes sure, in the transaction that writes a new sandbox, that its volumes are still there, and notes their use.
pub(crate) async fn hold(tx: &Tx, sandbox: &Sandbox) -> Result<(), Error> {
    check_all(tx, sandbox).await?;
    tx.volume_touch(sandbox, sandbox.created_at)
        .await
        .map_err(|error| Error::store("looking for a volume", error))
}

/// Makes sure, in the transaction that writes what a sandbox mounts, that its volumes are still there.
pub(crate) async fn check_all(tx: &Tx, sandbox: &Sandbox) -> Result<(), Error> {
    let failed = |error| Error::store("looking for a volume", error);
    for mount in &sandbox.volumes {
        let found = tx
            .volume_find(&sandbox.organization_id, &mount.volume)
            .await;
        let volume = found
            .map_err(failed)?
            .ok_or_else(|| not_found(mount.volume.as_str()))?;
        check_ready(&volume)?;
    }
    Ok(())
}

fn check_ready(volume: &Volume) -> Result<(), Error> {
    if volume.state() == VolumeState::Ready {
        return Ok(());
    }
    Err(invalid(
        "VOLUME_NOT_READY",
        format!(
            "Volume {} is not ready: it is {}",
            volume.name,
            volume.state()
        ),
    ))
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Volume with ID {id} not found"),
    }
}

fn invalid(code: &'static str, message: String) -> Error {
    Error::Invalid {
        reasons: vec![Reason::invalid(message)],
        code,
        sandbox: None,
        state: None,
        fault: None,
    }
}
