//! What callers do with volumes.

use alcove_domain::{OrganizationId, Permission, Volume};

use super::Control;
use crate::volumes::{self, NewVolume};
use crate::{Caller, Error};

impl Control {
    /// Makes a volume and waits until sandboxes can mount it. After the wait it is given as it is then.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is taken, [`Error::QuotaExceeded`] if there are as many as there may be.
    pub async fn create_volume(
        &self,
        caller: &Caller,
        name: Option<String>,
    ) -> Result<Volume, Error> {
        let new = NewVolume {
            name,
            ..NewVolume::default()
        };
        volumes::create(&self.shared, caller, new).await
    }

    /// Volumes of the caller's organization, newest first.
    pub async fn list_volumes(
        &self,
        caller: &Caller,
        with_deleted: bool,
    ) -> Result<Vec<Volume>, Error> {
        caller.require(Permission::ReadVolumes)?;
        let reader = self.shared.store.reader();
        reader
            .volume_list(&caller.organization, with_deleted)
            .await
            .map_err(|error| Error::store("listing volumes", error))
    }

    /// A volume by its id, deleted or not.
    pub async fn get_volume(&self, caller: &Caller, id: &str) -> Result<Volume, Error> {
        caller.require(Permission::ReadVolumes)?;
        volumes::find(&self.shared, &caller.organization, id).await
    }

    /// The volume that holds the name.
    pub async fn get_volume_by_name(&self, caller: &Caller, name: &str) -> Result<Volume, Error> {
        caller.require(Permission::ReadVolumes)?;
        let reader = self.shared.store.reader();
        reader
            .volume_find_by_name(&caller.organization, name)
            .await
            .map_err(|error| Error::store("looking for a volume", error))?
            .ok_or_else(|| Error::NotFound {
                message: format!("Volume with name {name} not found"),
            })
    }

    /// Deletes a volume with all that is in it, and waits until it is gone from the host, as long as a call may take.
    /// The name is free at once.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a sandbox that is not deleted mounts it, whatever its state.
    pub async fn delete_volume(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        volumes::delete(&self.shared, caller, id).await
    }

    /// How many volumes the caller's organization may have, and how many it has that count.
    pub async fn volume_use(&self, caller: &Caller) -> Result<(u64, u64), Error> {
        let failed = |error| Error::store("counting volumes", error);
        let reader = self.shared.store.reader();
        let org = &caller.organization;
        let quota = reader.volume_quota(org).await.map_err(failed)?;
        let count = reader.volume_count(org).await.map_err(failed)?;
        Ok((quota.unwrap_or(self.shared.settings.volume_quota), count))
    }

    /// Changes how many volumes an organization may have, as the administrator of the server; None is the operator's
    /// number. `change` gets what holds now. What is there stays.
    pub async fn set_volume_quota(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: impl FnOnce(&mut Option<u64>) + Send,
    ) -> Result<(), Error> {
        let failed = |error| Error::store("writing a quota", error);
        if !self.shared.is_admin(caller).await? {
            return Err(Error::access_denied());
        }
        let tx = self.shared.store.begin().await.map_err(failed)?;
        let mut quota = tx.volume_quota(organization).await.map_err(failed)?;
        change(&mut quota);
        let is_known = tx.volume_quota_put(organization, quota).await;
        if !is_known.map_err(failed)? {
            return Err(Error::NotFound {
                message: format!("Organization with ID {organization} not found"),
            });
        }
        tx.commit().await.map_err(failed)
    }
}
