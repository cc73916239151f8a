//! Regions that organizations make, and what stands before them.

use std::sync::Arc;

use alcove_domain::region::{REGIONS_MAX, check_place_name, region_id};
use alcove_domain::{
    CustomRegion, ManagerLogin, OrganizationId, Permission, Reason, RegionChange, RegionId,
    RegionUrls,
};
use alcove_store::StoreError;
use jiff::Timestamp;

use super::{Fleet, new_key, service_key_hash};
use crate::shared::Shared;
use crate::{Caller, Error};

/// What keys of regions begin with.
const PROXY_PREFIX: &str = "rgp_";
const SSH_GATEWAY_PREFIX: &str = "rgs_";
const MANAGER_PREFIX: &str = "rgm_";
/// How often another id is tried.
const ID_TRIES: usize = 8;

/// A region as a caller asks for it. Nothing is checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRegion {
    pub name: String,
    pub urls: RegionUrls,
}

/// Credentials that were made just now, and are shown this once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuedCredentials {
    pub proxy_key: Option<String>,
    pub ssh_gateway_key: Option<String>,
    /// User name and password.
    pub snapshot_manager: Option<(String, String)>,
}

/// Which credential of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKey {
    Proxy,
    SshGateway,
    SnapshotManager,
}

/// A region that a caller may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedRegion {
    /// The server itself, since then.
    Own(Timestamp),
    Custom(Arc<CustomRegion>),
}

impl Fleet {
    fn regions_of(&self, org: &OrganizationId) -> Vec<Arc<CustomRegion>> {
        let known = self.read();
        let own = known.regions.values();
        let mut own: Vec<_> = own
            .filter(|region| region.organization_id == *org)
            .cloned()
            .collect();
        own.sort_by_key(|region| (region.created_at, region.id.clone()));
        own
    }

    /// By id or name.
    pub fn find_region(&self, org: &OrganizationId, target: &str) -> Option<Arc<CustomRegion>> {
        let mut own = self.regions_of(org).into_iter();
        own.find(|region| region.id.as_str() == target || region.name.eq_ignore_ascii_case(target))
    }

    pub fn get_region(&self, id: &str) -> Option<Arc<CustomRegion>> {
        let id: RegionId = id.parse().ok()?;
        self.read().regions.get(&id).cloned()
    }
}

impl Shared {
    /// The server's own, and those of the caller's organization.
    pub async fn list_regions(&self, caller: &Caller) -> Result<Vec<ListedRegion>, Error> {
        let mut all = vec![ListedRegion::Own(self.set_up_at().await?)];
        let own = self.fleet.regions_of(&caller.organization).into_iter();
        all.extend(own.map(ListedRegion::Custom));
        Ok(all)
    }

    pub async fn get_region(&self, caller: &Caller, id: &str) -> Result<ListedRegion, Error> {
        if id == self.settings.region.id {
            return Ok(ListedRegion::Own(self.set_up_at().await?));
        }
        self.own_region(caller, id).map(ListedRegion::Custom)
    }

    /// A region of the caller's organization.
    pub(super) fn own_region(&self, caller: &Caller, id: &str) -> Result<Arc<CustomRegion>, Error> {
        let found = self.fleet.get_region(id);
        let own = found.filter(|region| region.organization_id == caller.organization);
        own.ok_or_else(|| not_found(id))
    }

    /// One that can be changed: the server's own is what the operator says.
    fn changeable(&self, caller: &Caller, id: &str) -> Result<Arc<CustomRegion>, Error> {
        if id == self.settings.region.id {
            return Err(Error::forbidden(
                "This region is the server itself and is changed by its operator only",
            ));
        }
        self.own_region(caller, id)
    }

    pub async fn create_region(
        &self,
        caller: &Caller,
        request: NewRegion,
    ) -> Result<(Arc<CustomRegion>, IssuedCredentials), Error> {
        let failed = |error| Error::store("making a region", error);
        caller.require(Permission::WriteRegions)?;
        self.check_not_suspended(&caller.organization)?;
        let mut reasons = request.urls.check().err().unwrap_or_default();
        check_place_name(&request.name, &mut reasons);
        Error::check(reasons)?;
        let _writing = self.fleet.writing.lock().await;
        let own = &self.settings.region;
        let is_own = |name: &str| name.eq_ignore_ascii_case(&request.name);
        if is_own(&own.id)
            || is_own(&own.name)
            || self
                .fleet
                .find_region(&caller.organization, &request.name)
                .is_some()
        {
            return Err(name_taken(&request.name));
        }
        if self.fleet.regions_of(&caller.organization).len() >= REGIONS_MAX {
            return Err(Error::QuotaExceeded {
                message: format!("Region quota exceeded. Maximum allowed: {REGIONS_MAX}"),
            });
        }
        let now = self.clock.now();
        let mut issued = IssuedCredentials::default();
        let mut region = CustomRegion {
            id: self.new_region_id(&request.name)?,
            organization_id: caller.organization.clone(),
            name: request.name,
            urls: request.urls,
            proxy_key: None,
            ssh_gateway_key: None,
            snapshot_manager: None,
            created_at: now,
            updated_at: now,
        };
        self.settle_credentials(&mut region, &mut issued);
        let tx = self.store.begin().await.map_err(failed)?;
        tx.organization_hold(&caller.organization)
            .await
            .map_err(failed)?;
        tx.region_insert(&region)
            .await
            .map_err(|error| match error {
                StoreError::NameTaken => name_taken(&region.name),
                error => failed(error),
            })?;
        tx.commit().await.map_err(failed)?;
        Ok((self.note_region(region), issued))
    }

    /// Changes addresses. One that is there for the first time comes with a credential, and one that goes takes its own
    /// along.
    pub async fn update_region(
        &self,
        caller: &Caller,
        id: &str,
        change: RegionChange,
    ) -> Result<(Arc<CustomRegion>, IssuedCredentials), Error> {
        caller.require(Permission::WriteRegions)?;
        let _writing = self.fleet.writing.lock().await;
        let mut region = CustomRegion::clone(&*self.changeable(caller, id)?);
        region.urls = region.urls.changed(change);
        region.urls.check().map_err(Error::refused)?;
        let mut issued = IssuedCredentials::default();
        self.settle_credentials(&mut region, &mut issued);
        Ok((self.write_region(region).await?, issued))
    }

    /// Makes a new credential; the one before opens nothing any more.
    pub async fn regenerate_region_key(
        &self,
        caller: &Caller,
        id: &str,
        which: RegionKey,
    ) -> Result<IssuedCredentials, Error> {
        caller.require(Permission::WriteRegions)?;
        let _writing = self.fleet.writing.lock().await;
        let mut region = CustomRegion::clone(&*self.changeable(caller, id)?);
        let (has_url, what) = match which {
            RegionKey::Proxy => (region.urls.proxy.is_some(), "proxy"),
            RegionKey::SshGateway => (region.urls.ssh_gateway.is_some(), "SSH gateway"),
            RegionKey::SnapshotManager => {
                (region.urls.snapshot_manager.is_some(), "snapshot manager")
            }
        };
        if !has_url {
            let reason = Reason::invalid(format!("Region does not have a {what} URL configured"));
            return Err(Error::refused(vec![reason]));
        }
        match which {
            RegionKey::Proxy => region.proxy_key = None,
            RegionKey::SshGateway => region.ssh_gateway_key = None,
            RegionKey::SnapshotManager => region.snapshot_manager = None,
        }
        let mut issued = IssuedCredentials::default();
        self.settle_credentials(&mut region, &mut issued);
        self.write_region(region).await?;
        Ok(issued)
    }

    pub async fn delete_region(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let failed = |error| Error::store("deleting a region", error);
        caller.require(Permission::DeleteRegions)?;
        let _writing = self.fleet.writing.lock().await;
        let region = self.changeable(caller, id)?;
        if self.fleet.count_runners(region.id.as_str()) > 0 {
            return Err(Error::refused(vec![Reason::invalid(
                "Cannot delete region which has runners associated with it",
            )]));
        }
        let tx = self.store.begin().await.map_err(failed)?;
        if !tx.region_delete(&region.id).await.map_err(failed)? {
            return Err(not_found(id));
        }
        tx.commit().await.map_err(failed)?;
        self.fleet.note(|known| {
            known.regions.remove(&region.id);
        });
        Ok(())
    }

    async fn write_region(&self, region: CustomRegion) -> Result<Arc<CustomRegion>, Error> {
        let failed = |error| Error::store("changing a region", error);
        let region = CustomRegion {
            updated_at: self.clock.now(),
            ..region
        };
        let tx = self.store.begin().await.map_err(failed)?;
        if !tx.region_update(&region).await.map_err(failed)? {
            return Err(not_found(region.id.as_str()));
        }
        tx.commit().await.map_err(failed)?;
        Ok(self.note_region(region))
    }

    fn note_region(&self, region: CustomRegion) -> Arc<CustomRegion> {
        let region = Arc::new(region);
        self.fleet.note(|known| {
            known.regions.insert(region.id.clone(), Arc::clone(&region));
        });
        region
    }

    /// Makes the credentials that are missing, and takes away those that are for nothing.
    fn settle_credentials(&self, region: &mut CustomRegion, issued: &mut IssuedCredentials) {
        let urls = &region.urls;
        if urls.proxy.is_none() {
            region.proxy_key = None;
        } else if region.proxy_key.is_none() {
            let (text, hash) = new_key(self, PROXY_PREFIX);
            (region.proxy_key, issued.proxy_key) = (Some(hash), Some(text));
        }
        if urls.ssh_gateway.is_none() {
            region.ssh_gateway_key = None;
        } else if region.ssh_gateway_key.is_none() {
            let (text, hash) = new_key(self, SSH_GATEWAY_PREFIX);
            (region.ssh_gateway_key, issued.ssh_gateway_key) = (Some(hash), Some(text));
        }
        if urls.snapshot_manager.is_none() {
            region.snapshot_manager = None;
        } else if region.snapshot_manager.is_none() {
            let (text, hash) = new_key(self, MANAGER_PREFIX);
            let username = region.id.to_string();
            region.snapshot_manager = Some(ManagerLogin {
                username: username.clone(),
                password: hash,
            });
            issued.snapshot_manager = Some((username, text));
        }
    }

    fn new_region_id(&self, name: &str) -> Result<RegionId, Error> {
        for _ in 0..ID_TRIES {
            let mut random = [0; 4];
            self.rng.fill(&mut random);
            if let Ok(id) = region_id(name, random)
                && self.fleet.get_region(id.as_str()).is_none()
                && id.as_str() != self.settings.region.id
            {
                return Ok(id);
            }
        }
        Err(Error::Internal {
            doing: "choosing the id of a region",
            cause: None,
        })
    }

    /// The region whose proxy, or SSH gateway, comes with this.
    pub(super) fn region_by_key(&self, key: &str, which: RegionKey) -> Option<RegionId> {
        let hash = service_key_hash(key);
        let known = self.fleet.read();
        let found = known.regions.values().find(|region| {
            let own = match which {
                RegionKey::Proxy => region.proxy_key,
                RegionKey::SshGateway => region.ssh_gateway_key,
                RegionKey::SnapshotManager => None,
            };
            own == Some(hash)
        });
        found.map(|region| region.id.clone())
    }
}

fn name_taken(name: &str) -> Error {
    Error::conflict(
        "REGION_EXISTS",
        format!("Region with name {name} already exists"),
    )
}

pub(super) fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Region with ID {id} not found"),
    }
}
