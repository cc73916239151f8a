//! Organizations that the administrator of the server has suspended: they make and start nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use alcove_domain::{Command, OrganizationId, SnapshotEvent, Suspension};

use crate::Error;
use crate::driver::Wish;
use crate::sandboxes;
use crate::shared::Shared;
use crate::snapshots::wishes;

/// Snapshots of an organization that are made inactive in one look.
const SNAPSHOTS_BATCH: u64 = 100;

/// Suspended organizations, in memory: every create asks.
#[derive(Debug, Default)]
pub(crate) struct Suspended {
    by_organization: RwLock<HashMap<OrganizationId, Suspension>>,
    /// Held from the write to the note, so that both come in one order.
    pub writing: tokio::sync::Mutex<()>,
}

impl Suspended {
    pub fn note(&self, org: &OrganizationId, suspension: Option<Suspension>) {
        let mut suspended = self
            .by_organization
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match suspension {
            Some(suspension) => suspended.insert(org.clone(), suspension),
            None => suspended.remove(org),
        };
    }

    fn all(&self) -> Vec<(OrganizationId, Suspension)> {
        let suspended = self
            .by_organization
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        suspended
            .iter()
            .map(|(org, suspension)| (org.clone(), suspension.clone()))
            .collect()
    }
}

impl Shared {
    /// # Errors
    /// [`Error::Forbidden`] while the organization is suspended.
    pub fn check_not_suspended(&self, org: &OrganizationId) -> Result<(), Error> {
        let suspended = self.suspended.by_organization.read();
        let suspended = suspended.unwrap_or_else(PoisonError::into_inner);
        match suspended.get(org) {
            Some(suspension) if suspension.holds(self.clock.now()) => {
                Err(Error::forbidden(suspension.message()))
            }
            _ => Ok(()),
        }
    }
}

/// Reads them once, at the start.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let barred = shared.store.reader().organization_list_barred().await;
    for org in barred.map_err(|error| Error::store("reading organizations", error))? {
        shared.suspended.note(&org.id, org.suspension);
    }
    Ok(())
}

/// Stops what runs of organizations whose time for that has come, and makes their snapshots inactive, but for those that every
/// organization uses. Safe to repeat; works however late it comes.
pub(crate) async fn clean_up(shared: &Arc<Shared>) {
    let now = shared.clock.now();
    let mut due = shared.suspended.all();
    due.retain(|(_, suspension)| suspension.stops_what_runs(now));
    if due.is_empty() {
        return;
    }
    for (org, _) in &due {
        if let Err(error) = deactivate_snapshots(shared, org).await {
            tracing::error!(
                organization.id = %org, %error,
                "snapshots of suspended organization {org} are still active"
            );
        }
    }
    for entry in shared.directory.entries() {
        let sandbox = entry.sandbox();
        let is_due = due.iter().any(|(org, _)| *org == sandbox.organization_id);
        if !is_due || !sandbox.lifecycle.may_have_processes() {
            continue;
        }
        let stop = Wish::Plain(Command::Stop { force: false });
        match sandboxes::wish(shared, &entry, stop).await {
            Ok(_) => tracing::info!(
                sandbox.id = %entry.id,
                "sandbox {} is stopped: its organization is suspended", entry.id
            ),
            // On its way somewhere: the next look finds it.
            Err(error) => tracing::debug!(
                sandbox.id = %entry.id, %error,
                "sandbox {} of a suspended organization is not stopped yet", entry.id
            ),
        }
    }
}

async fn deactivate_snapshots(shared: &Arc<Shared>, org: &OrganizationId) -> Result<(), Error> {
    let reader = shared.store.reader();
    let active = reader.snapshot_list_active_of(org, SNAPSHOTS_BATCH).await;
    let active = active.map_err(|error| Error::store("looking for active snapshots", error))?;
    for id in active {
        match wishes::change(shared, &id, SnapshotEvent::Deactivate).await {
            Ok(snapshot) => tracing::info!(
                snapshot.id = %id,
                "snapshot {} is inactive: its organization is suspended", snapshot.name
            ),
            // It has changed meanwhile.
            Err(Error::NotFound { .. } | Error::Invalid { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
