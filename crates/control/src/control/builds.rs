//! Snapshots that are built from a Dockerfile.

use alcove_domain::{NewBuiltSnapshot, Snapshot};

use super::Control;
use crate::builds::{self, BuildLog};
use crate::{Caller, Error};

impl Control {
    /// Orders the build of an image, and gives the snapshot that it will be, `building`.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the organization has a snapshot of this name; [`Error::Invalid`] with the line where the
    /// Dockerfile is wrong, or asks for something that is not supported.
    pub async fn build_snapshot(
        &self,
        caller: &Caller,
        request: NewBuiltSnapshot,
    ) -> Result<Snapshot, Error> {
        builds::create(&self.shared, caller, request).await
    }

    /// A snapshot that was built, or is being built.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for one that was made otherwise.
    pub async fn get_built_snapshot(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Snapshot, Error> {
        let snapshot = self.get_snapshot(caller, id_or_name).await?;
        builds::of(&self.shared, &snapshot).await?;
        Ok(snapshot)
    }

    /// What the build of a snapshot said. With `follows` it ends when the build does, else with what there is.
    pub async fn snapshot_build_log(
        &self,
        caller: &Caller,
        id_or_name: &str,
        follows: bool,
    ) -> Result<BuildLog, Error> {
        let snapshot = self.get_snapshot(caller, id_or_name).await?;
        builds::log(&self.shared, &snapshot, follows).await
    }
}
