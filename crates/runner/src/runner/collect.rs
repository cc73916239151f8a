//! Images that nothing on this host and nobody in the control plane needs any more.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use alcove_runner_api::{Collected, ImageDigest, Needed};

use super::{Entry, Runner};
use crate::image::ImageError;
use crate::journal::JournalError;

/// Why images were not taken away.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Images(#[from] ImageError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the task that does it broke off")]
    Task(#[source] tokio::task::JoinError),
}

impl Runner {
    /// Gives up the pull for this name and takes the name away from its image. The image itself stays for as long as
    /// something needs it.
    pub async fn release_image(&self, name: &str) -> Result<(), CollectError> {
        self.inner.pulls.give_up(name);
        let (images, name) = (self.inner.host.images.clone(), name.to_owned());
        let forgotten = tokio::task::spawn_blocking(move || images.forget_name(&name));
        Ok(forgotten.await.map_err(CollectError::Task)??)
    }

    /// Removes images and layers that have no name, that the control plane does not need, and that no sandbox here,
    /// running, stopped or archived, was made of.
    pub async fn collect(&self, needed: Needed) -> Result<Collected, CollectError> {
        // A backup is under way; there will be another time.
        let Ok(_turn) = self.collecting().try_lock() else {
            return Ok(Collected::default());
        };
        let mut needed = needed.images;
        // Drivers know of archives; of what is being made only the journal knows.
        needed.extend(self.images_of_drivers());
        let host = self.inner.host.clone();
        let collected = tokio::task::spawn_blocking(move || {
            needed.extend(host.journal.images()?);
            Ok(host.images.collect(&needed)?)
        });
        collected.await.map_err(CollectError::Task)?
    }

    fn images_of_drivers(&self) -> BTreeSet<ImageDigest> {
        let entries = self.entries();
        let images = entries.values().filter_map(|entry| match entry {
            Entry::Driven { view, .. } => {
                let view = view.read().unwrap_or_else(PoisonError::into_inner);
                view.image.clone()
            }
            Entry::Tombstone(_) => None,
        });
        images.collect()
    }
}
