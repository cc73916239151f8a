//! Regions, from the one door. A caller that goes away must not leave one in the store that memory does not know.

use std::sync::Arc;

use alcove_domain::{CustomRegion, RegionChange};

use super::Control;
use crate::shared::Shared;
use crate::{Caller, Error, IssuedCredentials, ListedRegion, NewRegion, RegionKey};

impl Control {
    /// The server's own region, then those of the caller's organization, the oldest first.
    pub async fn list_regions(&self, caller: &Caller) -> Result<Vec<ListedRegion>, Error> {
        self.shared.list_regions(caller).await
    }

    /// # Errors
    /// [`Error::NotFound`] for a region of another organization too.
    pub async fn get_region(&self, caller: &Caller, id: &str) -> Result<ListedRegion, Error> {
        self.shared.get_region(caller, id).await
    }

    /// Makes a region of the caller's organization, with a credential for each part that has an address.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the organization has one of this name.
    pub async fn create_region(
        &self,
        caller: &Caller,
        request: NewRegion,
    ) -> Result<(Arc<CustomRegion>, IssuedCredentials), Error> {
        let caller = caller.clone();
        let task =
            |shared: Arc<Shared>| async move { shared.create_region(&caller, request).await };
        self.shared.finish_shared("making a region", task).await
    }

    /// Changes addresses. One that is there for the first time comes with a credential, and one that goes takes its own
    /// along.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for the server's own region.
    pub async fn update_region(
        &self,
        caller: &Caller,
        id: &str,
        change: RegionChange,
    ) -> Result<(Arc<CustomRegion>, IssuedCredentials), Error> {
        let (caller, id) = (caller.clone(), id.to_owned());
        let task =
            |shared: Arc<Shared>| async move { shared.update_region(&caller, &id, change).await };
        self.shared.finish_shared("changing a region", task).await
    }

    /// Makes a new credential of a region; the one before opens nothing any more.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the region has no address of that part.
    pub async fn regenerate_region_key(
        &self,
        caller: &Caller,
        id: &str,
        which: RegionKey,
    ) -> Result<IssuedCredentials, Error> {
        let (caller, id) = (caller.clone(), id.to_owned());
        let task = |shared: Arc<Shared>| async move {
            shared.regenerate_region_key(&caller, &id, which).await
        };
        self.shared.finish_shared("changing a region", task).await
    }

    /// # Errors
    /// [`Error::Invalid`] while it has runners.
    pub async fn delete_region(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let (caller, id) = (caller.clone(), id.to_owned());
        let task = |shared: Arc<Shared>| async move { shared.delete_region(&caller, &id).await };
        self.shared.finish_shared("deleting a region", task).await
    }
}
