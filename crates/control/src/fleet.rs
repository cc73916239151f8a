//! Which hosts there are, in which regions, and what each may be given.
//!
//! All of it is in memory, since every create asks; what is written down is written first. The runner that is part of
//! the server has a row like the others, made at the first start. Others join from processes of their own: see
//! docs/adr/0044 and 0053.

mod drain;
mod gate;
mod jobs;
mod joined;
mod places;
mod placing;
mod regions;
mod runners;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use alcove_domain::reason::ReasonKind;
use alcove_domain::{
    Capacity, CustomRegion, Load, OrganizationId, Placing, Reason, RegionId, Runner, RunnerAddress,
    RunnerId, ServiceKeyHash,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};

use crate::Error;
use crate::rng::uuid_v4;
use crate::shared::Shared;

pub use self::drain::Draining;
pub use self::gate::Gate;
pub use self::jobs::{Job, JobEnd, JobKind, JobStatus, JobsPage};
pub(crate) use self::joined::Host;
pub use self::regions::{IssuedCredentials, ListedRegion, NewRegion, RegionKey};
pub use self::runners::{CreatedRunner, RunnerView};

/// How often hosts that are drained are looked at. Otherwise nothing is done here by itself: a server that is idle does
/// nothing.
const LOOK: Duration = Duration::from_secs(10);
/// The name of the runner that is part of the server.
const BUILT_IN_NAME: &str = "built-in";

#[derive(Default)]
pub(crate) struct Fleet {
    known: RwLock<Known>,
    /// Held from the look to the note, so that changes come one after the other.
    writing: tokio::sync::Mutex<()>,
    /// Runners were deleted.
    deleted: watch::Sender<()>,
    /// There is something to drain.
    drained: Notify,
    pub joined: joined::Joined,
    /// Held while a runner is chosen, until what it was chosen for is counted.
    placing: tokio::sync::Mutex<()>,
    pub jobs: jobs::Handed,
}

#[derive(Default)]
struct Known {
    regions: BTreeMap<RegionId, Arc<CustomRegion>>,
    runners: BTreeMap<RunnerId, Arc<Runner>>,
    /// What each last said of itself. Not written down: after a start it is said anew.
    loads: BTreeMap<RunnerId, Load>,
    /// How often in a row a runner that is drained was found empty.
    clean_looks: BTreeMap<RunnerId, u32>,
}

impl Fleet {
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// An organization and all that was its own is gone.
    pub fn forget(&self, org: &OrganizationId) {
        self.note(|known| {
            known
                .regions
                .retain(|_, region| region.organization_id != *org);
            known
                .runners
                .retain(|_, runner| runner.organization_id.as_ref() != Some(org));
        });
        self.deleted.send_replace(());
    }

    fn built_in(&self) -> Option<Arc<Runner>> {
        let known = self.read();
        let found = known.runners.values().find(|runner| runner.is_built_in);
        found.cloned()
    }

    /// Whether the operator's switches let the host do this.
    pub fn lets(&self, placing: Placing) -> bool {
        self.built_in().is_none_or(|runner| runner.lets(placing))
    }
}

impl Shared {
    /// # Errors
    /// [`Error::Invalid`] while the host is closed to this.
    pub fn check_placing(&self, placing: Placing) -> Result<(), Error> {
        if self.fleet.lets(placing) {
            return Ok(());
        }
        Err(closed(placing))
    }

    /// The region of this id or name that sandboxes of the organization can be made in.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not there or not the organization's, [`Error::Invalid`] for one of its own,
    /// where what it is for cannot be had.
    pub fn region_with_runner(
        &self,
        org: &OrganizationId,
        target: Option<&str>,
    ) -> Result<String, Error> {
        let found = crate::sandboxes::resolve_region(self, target);
        let (Err(Error::NotFound { .. }), Some(target)) = (&found, target) else {
            return found;
        };
        match self.fleet.find_region(org, target) {
            Some(region) => Err(no_runners(&format!(
                "this can be had in region {} of the server only, not in {}",
                self.settings.region.name, region.name
            ))),
            None => found,
        }
    }
}

fn closed(placing: Placing) -> Error {
    no_runners(match placing {
        Placing::Take => "the runner takes no new sandboxes now",
        Placing::Start => "the runner is being drained",
    })
}

/// The code of a refusal for want of a host.
pub(crate) const NO_AVAILABLE_RUNNERS: &str = "NO_AVAILABLE_RUNNERS";

fn no_runners(why: &str) -> Error {
    no_runners_because(Reason::invalid(format!("No available runners: {why}")))
}

fn no_runners_because(reason: Reason) -> Error {
    if reason.kind == ReasonKind::Unsupported {
        return Error::refused(vec![reason]);
    }
    Error::Invalid {
        reasons: vec![reason],
        code: NO_AVAILABLE_RUNNERS,
        sandbox: None,
        state: None,
        fault: None,
    }
}

/// What is kept of the key of a machine.
pub fn service_key_hash(text: &str) -> ServiceKeyHash {
    ServiceKeyHash(Sha256::digest(text.as_bytes()).into())
}

/// A new key with the hash that is kept of it. The prefix tells people what it is for.
fn new_key(shared: &Shared, prefix: &str) -> (String, ServiceKeyHash) {
    let mut bytes = [0; 32];
    shared.rng.fill(&mut bytes);
    let text = format!("{prefix}{}", hex::encode(bytes));
    let hash = service_key_hash(&text);
    (text, hash)
}

/// Reads all of it, once, and makes the row of the server's own runner at the first start.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let failed = |error| Error::store("reading runners and regions", error);
    let reader = shared.store.reader();
    let regions = reader.region_list_all().await.map_err(failed)?;
    let runners = reader.runner_list_all().await.map_err(failed)?;
    shared.fleet.note(|known| {
        known.regions = regions
            .into_iter()
            .map(|region| (region.id.clone(), Arc::new(region)))
            .collect();
        known.runners = runners
            .into_iter()
            .map(|runner| (runner.id.clone(), Arc::new(runner)))
            .collect();
    });
    let region = &shared.settings.region.id;
    let now = shared.clock.now();
    let tx = shared.store.begin().await.map_err(failed)?;
    let built_in = match shared.fleet.built_in() {
        Some(known) if known.region == *region => return Ok(()),
        // The operator has given the region another name.
        Some(known) => {
            let moved = Runner {
                region: region.clone(),
                updated_at: now,
                ..Runner::clone(&known)
            };
            tx.runner_update(&moved).await.map_err(failed)?;
            moved
        }
        None => {
            let made = Runner {
                id: RunnerId::from_uuid(uuid_v4(&*shared.rng)),
                region: region.clone(),
                organization_id: None,
                name: BUILT_IN_NAME.to_owned(),
                is_built_in: true,
                key: None,
                tags: Vec::new(),
                address: RunnerAddress::default(),
                is_unschedulable: false,
                is_draining: false,
                is_decommissioned: false,
                capacity: Capacity::default(),
                gpu_type: None,
                capabilities: None,
                app_version: None,
                fault: None,
                instance: None,
                heard_at: None,
                created_at: now,
                updated_at: now,
            };
            tx.runner_insert(&made).await.map_err(failed)?;
            made
        }
    };
    tx.commit().await.map_err(failed)?;
    shared.fleet.note(|known| {
        known
            .runners
            .insert(built_in.id.clone(), Arc::new(built_in));
    });
    Ok(())
}

/// Asks the host what it can do, and drains what is to be drained, until the control plane ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    // What the host can do is to be known before somebody asks for it.
    if let Err(error) = shared.look_at_host().await {
        tracing::debug!(%error, "the runner does not say what its host can do");
    }
    loop {
        if drain::look(&shared).await {
            shared.clock.sleep(LOOK).await;
        } else {
            shared.fleet.drained.notified().await;
        }
    }
}
