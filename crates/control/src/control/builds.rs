//! Images that are built from a Dockerfile.

use std::sync::Arc;

use alcove_domain::{ImageBuild, NewBuiltSnapshot, Sandbox, Snapshot};

use super::Control;
use crate::builds::{self, BuildLog};
use crate::{Caller, Error, sandboxes};

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
        let (snapshot, _) = self.find_build(caller, id_or_name).await?;
        Ok(snapshot)
    }

    /// What the build of a snapshot said. With `follows` it ends when the build does, else with what there is.
    pub async fn snapshot_build_log(
        &self,
        caller: &Caller,
        id_or_name: &str,
        follows: bool,
    ) -> Result<BuildLog, Error> {
        let (_, build) = self.find_build(caller, id_or_name).await?;
        Ok(builds::log(&self.shared, build, follows))
    }

    async fn find_build(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<(Snapshot, ImageBuild), Error> {
        let snapshot = self.get_snapshot(caller, id_or_name).await?;
        // What a snapshot of others was built of is theirs.
        if !snapshot.is_of(&caller.organization) {
            return Err(builds::no_build(&snapshot));
        }
        let build = builds::of(&self.shared, &snapshot).await?;
        Ok((snapshot, build))
    }

    /// A sandbox, and the build of its image where it was built for it. With `right_after_a_delete` also one that is gone
    /// since not more than [`sandboxes::KNOWN_AFTER_DELETE`], by its id.
    pub async fn get_sandbox_and_build(
        &self,
        caller: &Caller,
        id_or_name: &str,
        right_after_a_delete: bool,
    ) -> Result<(Arc<Sandbox>, Option<ImageBuild>), Error> {
        let found = self.get_sandbox(caller, id_or_name).await;
        let sandbox = match found {
            Err(error @ Error::NotFound { .. }) if right_after_a_delete => {
                let deleted = sandboxes::find_deleted(&self.shared, caller, id_or_name);
                deleted.await?.ok_or(error)?
            }
            found => found?,
        };
        let build = builds::of_sandbox(&self.shared, &sandbox).await?;
        Ok((sandbox, build))
    }

    /// A sandbox whose image was built for it, or is being built, and the build.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for one that was made otherwise.
    pub async fn get_built_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<(Arc<Sandbox>, ImageBuild), Error> {
        let (sandbox, build) = self
            .get_sandbox_and_build(caller, id_or_name, false)
            .await?;
        let build = build.ok_or_else(|| Error::NotFound {
            message: format!("Sandbox {} was not built from a Dockerfile", sandbox.name),
        })?;
        Ok((sandbox, build))
    }

    /// What the build of a sandbox's image said. With `follows` it ends when the build does, else with what there is.
    pub async fn sandbox_build_log(
        &self,
        caller: &Caller,
        id_or_name: &str,
        follows: bool,
    ) -> Result<BuildLog, Error> {
        let (_, build) = self.get_built_sandbox(caller, id_or_name).await?;
        Ok(builds::log(&self.shared, build, follows))
    }
}
