//! What callers do with snapshots.

use alcove_domain::{NewSnapshot, OffsetPage, Permission, Snapshot, SnapshotState, SortOrder};

use super::Control;
use crate::snapshots::general;
use crate::snapshots::tree::{self, SnapshotTree};
use crate::snapshots::wishes;
use crate::{Caller, Error, ListSnapshots};

impl Control {
    pub async fn list_snapshots(
        &self,
        caller: &Caller,
        list: ListSnapshots,
    ) -> Result<OffsetPage<Snapshot>, Error> {
        self.shared.list_snapshots(&caller.organization, list).await
    }

    pub async fn get_snapshot(&self, caller: &Caller, id_or_name: &str) -> Result<Snapshot, Error> {
        let org = &caller.organization;
        let reader = self.shared.store.reader();
        let found = reader.snapshot_find(org, id_or_name).await;
        let found = found.map_err(|error| Error::store("looking for a snapshot", error))?;
        let found = found.ok_or_else(|| Error::NotFound {
            message: format!("Snapshot with ID or name {id_or_name} not found"),
        })?;
        Ok(found.seen_by(org))
    }

    /// Lets every organization see and use a snapshot, or its own alone again, as the administrator of the server. A general
    /// one is for the others to read; its own organization neither changes nor deletes it either, and it is neither
    /// deactivated nor deleted by time.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another general snapshot has the name.
    pub async fn set_snapshot_general(
        &self,
        caller: &Caller,
        id: &str,
        is_general: bool,
    ) -> Result<Snapshot, Error> {
        self.shared.require_admin(caller).await?;
        general::set(&self.shared, id, is_general).await
    }

    /// What a snapshot was made after, the nearest first, or what was made after it; at most so many, a page at a time.
    pub async fn snapshot_tree(
        &self,
        caller: &Caller,
        id: &str,
        order: SortOrder,
        limit: Option<i64>,
    ) -> Result<SnapshotTree, Error> {
        let anchor = self.get_snapshot(caller, id).await?;
        tree::walk(&self.shared, &caller.organization, anchor, order, limit).await
    }

    /// Makes a snapshot of an image in a registry. It is answered at once; the image comes in the background, and
    /// the snapshot is `active` or in `error` then.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the organization has a snapshot of this name.
    pub async fn create_snapshot(
        &self,
        caller: &Caller,
        request: NewSnapshot,
    ) -> Result<Snapshot, Error> {
        wishes::create(&self.shared, caller, request).await
    }

    /// Makes an inactive snapshot active again, which fetches its image anew where it comes from a registry.
    pub async fn activate_snapshot(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Snapshot, Error> {
        wishes::activate(&self.shared, caller, id_or_name).await
    }

    /// No sandbox can be made of it then, and its image goes where it can be fetched again. Sandboxes that were made of
    /// it keep it.
    pub async fn deactivate_snapshot(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<(), Error> {
        wishes::deactivate(&self.shared, caller, id_or_name).await
    }

    /// Makes a snapshot active or inactive, whichever it was.
    pub async fn enable_snapshot(
        &self,
        caller: &Caller,
        id_or_name: &str,
        is_enabled: bool,
    ) -> Result<Snapshot, Error> {
        caller.require(Permission::WriteSnapshots)?;
        let found = self.get_snapshot(caller, id_or_name).await?;
        match (found.state == SnapshotState::Inactive, is_enabled) {
            (true, true) => self.activate_snapshot(caller, id_or_name).await,
            (false, false) => {
                self.deactivate_snapshot(caller, id_or_name).await?;
                self.get_snapshot(caller, id_or_name).await
            }
            (true, false) | (false, true) => Ok(found),
        }
    }

    /// Removes a snapshot, in the background. Sandboxes that were made of it stay whole.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a general one.
    pub async fn delete_snapshot(&self, caller: &Caller, id_or_name: &str) -> Result<(), Error> {
        wishes::delete(&self.shared, caller, id_or_name).await
    }

    /// Snapshots of the organization that count, and how many it may have.
    pub async fn snapshot_use(&self, caller: &Caller) -> Result<(u64, Option<u64>), Error> {
        let reader = self.shared.store.reader();
        let used = reader.snapshot_count(&caller.organization).await;
        let used = used.map_err(|error| Error::store("counting snapshots", error))?;
        Ok((used, self.shared.settings.snapshots.quota))
    }
}
