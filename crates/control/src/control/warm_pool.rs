//! Warm pools, from the one door.

use alcove_domain::WarmPoolView;

use crate::{Caller, Control, Error, NewWarmPool};

impl Control {
    /// Asks for sandboxes of a snapshot to be made ahead of need. Answers at once; they come by and by.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the organization has a pool of the snapshot, [`Error::Unprocessable`] where warm pools are
    /// turned off.
    pub async fn create_warm_pool(
        &self,
        caller: &Caller,
        request: NewWarmPool,
    ) -> Result<WarmPoolView, Error> {
        self.shared.create_warm_pool(caller, request).await
    }

    /// Those of the caller's organization, the oldest first.
    pub async fn list_warm_pools(&self, caller: &Caller) -> Result<Vec<WarmPoolView>, Error> {
        self.shared.list_warm_pools(caller).await
    }

    /// Changes how many are to wait; 0 drains the pool.
    pub async fn update_warm_pool(
        &self,
        caller: &Caller,
        id: &str,
        size: Option<i64>,
    ) -> Result<WarmPoolView, Error> {
        self.shared.update_warm_pool(caller, id, size).await
    }

    /// Its members go; sandboxes that were members stay.
    pub async fn delete_warm_pool(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.shared.delete_warm_pool(caller, id).await
    }
}
