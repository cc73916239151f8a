//! The end of an organization.
//!
//! Nobody is a member from the moment on at which it is given up; that is one transaction with its mark, so no key of it
//! opens any more. Then a task takes apart what it has, over and over until nothing is left, in this process or the next:
//! sandboxes, volumes, snapshots, and at last every row. What a request that was let in before still makes is found by it, and
//! after its last look nothing can be written (`Tx::organization_hold`).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{Command, OrganizationId, SnapshotEvent};
use jiff::SignedDuration;

use crate::driver::Wish;
use crate::sandboxes;
use crate::shared::{Shared, lock};
use crate::snapshots::wishes;
use crate::volumes;
use crate::{Caller, Error};

/// How long the task waits before it looks again.
const AGAIN: Duration = Duration::from_secs(1);

/// Organizations that a task takes apart.
#[derive(Debug, Default)]
pub(crate) struct Closing(Mutex<HashSet<OrganizationId>>);

/// How long after its end an organization's credentials for objects may still let somebody in: twice as long as they are
/// good.
const CREDENTIALS_END: SignedDuration = SignedDuration::from_hours(2);

/// An organization that is gone, whose objects may still be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    pub organization: OrganizationId,
    /// Whether nobody can put objects there any more.
    pub can_be_forgotten: bool,
}

pub(crate) async fn departed(shared: &Shared) -> Result<Vec<Departed>, Error> {
    let found = shared.store.reader().organization_list_departed().await;
    let found = found.map_err(|error| Error::store("reading departed organizations", error))?;
    let now = shared.clock.now();
    let departed = found.into_iter().map(|(organization, since)| Departed {
        organization,
        can_be_forgotten: now.duration_since(since) >= CREDENTIALS_END,
    });
    Ok(departed.collect())
}

pub(crate) async fn forget(shared: &Shared, org: &OrganizationId) -> Result<(), Error> {
    let failed = |error| Error::store("forgetting an organization", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    tx.organization_forget(org).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}

/// Gives the caller's organization up. Once this has returned, nobody acts for it, and what it has is on its way out.
pub(crate) async fn delete(shared: &Arc<Shared>, caller: &Caller) -> Result<(), Error> {
    let failed = |error| Error::store("deleting an organization", error);
    let organization = shared.current_organization(caller).await?;
    if organization.is_personal {
        return Err(Error::forbidden(
            "A personal organization cannot be deleted",
        ));
    }
    let org = organization.id;
    let task = {
        let (shared, org) = (Arc::clone(shared), org.clone());
        async move {
            let sessions = shared.store.reader().ssh_key_list_of(&org).await;
            let sessions = sessions.map_err(failed)?;
            let tx = shared.store.begin().await.map_err(failed)?;
            let is_first = tx.organization_close(&org, shared.clock.now()).await;
            if !is_first.map_err(failed)? {
                return Err(Error::NotFound {
                    message: "Organization not found".to_owned(),
                });
            }
            tx.organization_empty(&org).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            shared.keys.clear();
            shared.known_settings.forget(&org);
            shared.sso.forget(&org);
            shared.fleet.forget(&org);
            for key in sessions {
                shared.ssh_sessions.end_of_key(&key);
            }
            take_apart(&shared, org);
            Ok(())
        }
    };
    shared.finish("deleting an organization", task).await?;
    tracing::info!(
        organization.id = %org,
        user.id = %caller.user,
        "organization {org} is being deleted, by user {}", caller.user
    );
    Ok(())
}

/// Takes up what an earlier process left.
pub(crate) async fn take_up(shared: &Arc<Shared>) -> Result<(), Error> {
    let barred = shared.store.reader().organization_list_barred().await;
    for org in barred.map_err(|error| Error::store("reading organizations", error))? {
        if org.closing_since.is_some() {
            take_apart(shared, org.id);
        }
    }
    Ok(())
}

/// Starts the task, unless it runs.
fn take_apart(shared: &Arc<Shared>, org: OrganizationId) {
    if !lock(&shared.closing.0).insert(org.clone()) {
        return;
    }
    let task = {
        let shared = Arc::clone(shared);
        async move {
            loop {
                match step(&shared, &org).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => tracing::error!(
                        organization.id = %org, %error,
                        "cannot go on deleting organization {org}; it is tried again"
                    ),
                }
                shared.clock.sleep(AGAIN).await;
            }
            shared.suspended.note(&org, None);
            lock(&shared.closing.0).remove(&org);
            tracing::info!(organization.id = %org, "organization {org} is gone");
        }
    };
    shared.spawn(task);
}

/// Asks for the end of all that is there. True when nothing was, and the organization is gone.
async fn step(shared: &Arc<Shared>, org: &OrganizationId) -> Result<bool, Error> {
    let failed = |error| Error::store("deleting an organization", error);
    let reader = shared.store.reader();
    let mut is_empty = true;
    for entry in shared.directory.entries() {
        let sandbox = entry.sandbox();
        if sandbox.organization_id != *org {
            continue;
        }
        is_empty = false;
        // One that is on its way out stays so; any other refusal ends by itself.
        let deleted = sandboxes::wish(shared, &entry, Wish::Plain(Command::Delete)).await;
        log_refusal(org, "a sandbox", deleted.map(drop));
    }
    for volume in reader.volume_list(org, false).await.map_err(failed)? {
        is_empty = false;
        log_refusal(
            org,
            "a volume",
            volumes::accept_delete(shared, org, &volume.id).await,
        );
    }
    for snapshot in reader.snapshot_list_of(org).await.map_err(failed)? {
        is_empty = false;
        let deleted = wishes::change(shared, &snapshot, SnapshotEvent::Delete).await;
        log_refusal(org, "a snapshot", deleted.map(drop));
    }
    if !is_empty {
        return Ok(false);
    }
    let tx = shared.store.begin().await.map_err(failed)?;
    if !tx
        .organization_delete(org, shared.clock.now())
        .await
        .map_err(failed)?
    {
        return Ok(false);
    }
    tx.commit().await.map_err(failed)?;
    Ok(true)
}

fn log_refusal(org: &OrganizationId, what: &str, outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        tracing::debug!(
            organization.id = %org, %error,
            "{what} of organization {org} cannot be deleted yet"
        );
    }
}
