//! What sandboxes may reach, as their owners set it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use alcove_domain::{NetworkSettings, OrganizationId, Permission, Reason, Sandbox};
use alcove_runner_api::{NetworkSpec, Peer};

use crate::directory::Entry;
use crate::driver::{self, Ask, Change};
use crate::sandboxes::find;
use crate::shared::{Shared, lock};
use crate::{Caller, Error};

/// The organizations whose sandboxes' traffic is marked, so that the host can limit it. A sandbox is marked when it is
/// made or started.
#[derive(Debug, Default)]
pub(crate) struct LimitedEgress {
    organizations: Mutex<HashSet<OrganizationId>>,
}

impl LimitedEgress {
    pub fn is_limited(&self, organization: &OrganizationId) -> bool {
        lock(&self.organizations).contains(organization)
    }

    fn note(&self, organization: &OrganizationId, is_limited: bool) {
        let mut organizations = lock(&self.organizations);
        if is_limited {
            organizations.insert(organization.clone());
        } else {
            organizations.remove(organization);
        }
    }
}

/// Reads the organizations once, at the start.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let found = shared.store.reader().organization_list_limited().await;
    for organization in found.map_err(|error| Error::store("reading organizations", error))? {
        shared.limited_egress.note(&organization, true);
    }
    Ok(())
}

/// Writes whether an organization is limited. Its sandboxes learn of it when they are made or started.
pub(crate) async fn limit_egress(
    shared: &Arc<Shared>,
    caller: &Caller,
    organization: &OrganizationId,
    is_limited: bool,
) -> Result<(), Error> {
    shared
        .check_organization_rights(caller, organization)
        .await?;
    let organization = organization.clone();
    let task = |shared: Arc<Shared>| async move {
        let failed = |error| Error::store("writing an organization", error);
        let tx = shared.store.begin().await.map_err(failed)?;
        tx.organization_limit_egress(&organization, is_limited)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        shared.limited_egress.note(&organization, is_limited);
        Ok(())
    };
    // A caller that goes away must not leave a limit that nobody heeds.
    shared.finish_shared("writing an organization", task).await
}

/// What a runner is told of a sandbox's network.
pub(crate) fn spec(shared: &Shared, sandbox: &Sandbox) -> NetworkSpec {
    NetworkSpec {
        version: sandbox.network.version,
        policy: sandbox.network.policy.clone(),
        is_limited: shared.limited_egress.is_limited(&sandbox.organization_id),
        peer: Some(Peer {
            sandbox: sandbox.id.clone(),
            name: sandbox.name.clone(),
        }),
        linked_to: sandbox.linked_to.clone(),
    }
}

/// Writes the policy and waits until it is in force where the sandbox runs.
pub(crate) async fn set(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    settings: NetworkSettings,
) -> Result<Arc<Sandbox>, Error> {
    caller.require(Permission::WriteSandboxes)?;
    let entry = find(shared, caller, id_or_name)?;
    if shared.limited_egress.is_limited(&caller.organization) {
        return Err(Error::refused(vec![Reason::invalid(
            "Network settings cannot be changed: the organization has limited network egress",
        )]));
    }
    let change = Change::Network(settings);
    let asked = driver::ask_for(shared, &entry, |reply| Ask::Change { change, reply }).await?;
    Ok(wait(shared, &entry, asked.network.version).await)
}

/// Holds the call until the policy is in force, or nothing runs that it is for, at most the settled time. The sandbox
/// says itself when it is not.
async fn wait(shared: &Shared, entry: &Entry, version: u64) -> Arc<Sandbox> {
    let mut watch = entry.watch();
    let time_up = shared.clock.sleep(shared.settings.settle_wait);
    tokio::pin!(time_up);
    loop {
        let sandbox = Arc::clone(&watch.borrow_and_update());
        let is_applied = sandbox.network.applied.is_some_and(|it| it >= version);
        if is_applied || !sandbox.lifecycle.may_have_processes() {
            return entry.current();
        }
        tokio::select! {
            changed = watch.changed() => {
                if changed.is_err() {
                    return entry.current();
                }
            }
            () = &mut time_up => return entry.current(),
        }
    }
}
