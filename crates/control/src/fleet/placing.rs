//! Where a new sandbox goes.

use std::sync::Arc;

use alcove_domain::runner::{Candidate, Needs, choose};
use alcove_domain::{
    Capability, CustomRegion, Intervals, NetworkPolicy, OrganizationId, Placing, Reason, Runner,
    RunnerId, Sandbox, Snapshot,
};
use tokio::sync::MutexGuard;

use super::no_runners_because;
use crate::Error;
use crate::shared::Shared;

/// A region that sandboxes can be made in.
pub(crate) enum Region {
    /// The server itself.
    Own(String),
    Custom(Arc<CustomRegion>),
}

impl Region {
    pub fn id(&self) -> &str {
        match self {
            Self::Own(id) => id,
            Self::Custom(region) => region.id.as_str(),
        }
    }
}

/// A runner for a new sandbox. No other is placed while this is held, so that what it is promised is counted for the next:
/// it is to be held until the sandbox is in the directory.
pub(crate) struct Place<'a> {
    /// None for the server's own.
    pub runner: Option<RunnerId>,
    _turn: Option<MutexGuard<'a, ()>>,
}

impl Shared {
    /// The region of this id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not there or not the organization's.
    pub fn region_of(&self, org: &OrganizationId, target: Option<&str>) -> Result<Region, Error> {
        let found = crate::sandboxes::resolve_region(self, target);
        let own = target.and_then(|target| self.fleet.find_region(org, target));
        match (found, own) {
            (Ok(id), _) => Ok(Region::Own(id)),
            (Err(_), Some(region)) => Ok(Region::Custom(region)),
            (Err(error), None) => Err(error),
        }
    }

    /// What a sandbox needs of its host.
    pub fn needs_of(
        &self,
        network: &NetworkPolicy,
        intervals: &Intervals,
        has_volumes: bool,
    ) -> Needs {
        let wanted = [
            (Capability::NetworkPolicies, !network.is_open()),
            (Capability::Pause, intervals.auto_pause_minutes > 0),
            (Capability::Volumes, has_volumes),
        ];
        // Images come to the server first, and are for its host.
        let own = self.fleet.built_in();
        let own = own.as_ref().and_then(|own| own.capabilities.as_ref());
        Needs {
            capabilities: wanted
                .into_iter()
                .filter_map(|(capability, is_wanted)| is_wanted.then_some(capability))
                .collect(),
            architecture: own.map(|own| own.architecture.clone()),
        }
    }

    /// Refuses what no runner of a region can do, before anything is looked up for it. Where there is none, placing says so.
    ///
    /// # Errors
    /// [`Error::Unprocessable`], which names it.
    pub fn check_needs(&self, region: &Region, needs: &Needs) -> Result<(), Error> {
        let there = self.fleet.list(|runner| runner.region == region.id());
        match needs.missing(there.iter().map(|runner| &**runner)) {
            Some(missing) => Err(Error::refused(vec![Reason::unsupported(format!(
                "No runner of region {} has {missing}",
                region.id()
            ))])),
            None => Ok(()),
        }
    }

    /// Chooses a runner of the region.
    ///
    /// # Errors
    /// [`Error::Invalid`] if none takes it, which says why.
    pub async fn place(
        &self,
        region: &Region,
        sandbox: &Sandbox,
        snapshot: &Snapshot,
        owner: Option<&Sandbox>,
    ) -> Result<Place<'_>, Error> {
        let region = match region {
            Region::Own(_) => {
                self.check_placing(Placing::Take)?;
                return Ok(Place {
                    runner: None,
                    _turn: None,
                });
            }
            Region::Custom(region) => region,
        };
        let turn = self.fleet.placing.lock().await;
        let there: Vec<Arc<Runner>> = {
            let known = self.fleet.read();
            let all = known.runners.values();
            all.filter(|runner| runner.region == region.id.as_str())
                // Two that are linked share a host.
                .filter(|runner| {
                    owner.is_none_or(|owner| owner.runner.as_ref() == Some(&runner.id))
                })
                .filter(|runner| self.fleet.joined.is_linked(&runner.id))
                .cloned()
                .collect()
        };
        let known: Vec<_> = there
            .iter()
            .filter_map(|runner| {
                let load = self.load_of_joined(&runner.id)?;
                Some((runner, load, self.promised_on(&runner.id).0))
            })
            .collect();
        let can_be_pulled = crate::snapshots::driver::can_be_pulled(snapshot);
        let candidates: Vec<Candidate<'_>> = known
            .iter()
            .map(|(runner, load, promised)| Candidate {
                runner,
                load,
                promised: *promised,
                gets_image: can_be_pulled
                    || self.fleet.joined.has_image(&runner.id, &snapshot.image),
            })
            .collect();
        let needs = self.needs_of(
            &sandbox.network.policy,
            &sandbox.intervals,
            !sandbox.volumes.is_empty(),
        );
        let rules = &self.settings.placing;
        let chosen = choose(
            &candidates,
            &sandbox.resources,
            &needs,
            rules,
            self.clock.now(),
        );
        let chosen = chosen.map_err(no_runners_because)?;
        Ok(Place {
            runner: Some(chosen.id.clone()),
            _turn: Some(turn),
        })
    }
}
