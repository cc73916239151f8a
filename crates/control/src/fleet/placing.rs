//! Where a new sandbox goes.

use std::sync::Arc;

use alcove_domain::runner::{Candidate, choose};
use alcove_domain::{
    CustomRegion, OrganizationId, Placing, Resources, Runner, RunnerId, Sandbox, Snapshot,
};
use tokio::sync::MutexGuard;

use super::{joined::only_here, no_runners_because};
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

    /// Chooses a runner of the region.
    ///
    /// # Errors
    /// [`Error::Invalid`] if none takes it, which says why.
    pub async fn place(
        &self,
        region: &Region,
        wanted: &Resources,
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
        let rules = &self.settings.placing;
        let chosen = choose(&candidates, wanted, rules, self.clock.now());
        let chosen = chosen.map_err(no_runners_because)?;
        Ok(Place {
            runner: Some(chosen.id.clone()),
            _turn: Some(turn),
        })
    }
}

/// Refuses what a new sandbox asks for that only the server's own host has.
pub(crate) fn check_custom(region: &Region, has_volumes: bool) -> Result<(), Error> {
    match region {
        Region::Custom(_) if has_volumes => Err(only_here("volumes")),
        _ => Ok(()),
    }
}
