//! Images that nothing on this host and nobody in the control plane needs any more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;

use alcove_runner_api::{Collected, ImageDigest, Needed};

use super::{Entry, Runner};
use crate::disk::Disks;
use crate::image::ImageError;
use crate::journal::{Journal, JournalError};

/// Why images were not taken away.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Images(#[from] ImageError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{} does not tell of which image the sandbox is whose disk is kept", path.display())]
    SetAside { path: PathBuf },
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
            needed.extend(images_of_kept(&host.journal, &host.disks)?);
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

/// What the disks belong to whose records are set aside. One whose image is not known may be of any image.
fn images_of_kept(journal: &Journal, disks: &Disks) -> Result<BTreeSet<ImageDigest>, CollectError> {
    let aside = journal.set_aside()?.into_iter();
    aside
        .filter(|aside| disks.path(&aside.name).exists())
        .map(|aside| {
            let path = aside.path;
            aside.image.ok_or(CollectError::SetAside { path })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;

    use super::*;

    #[test]
    fn the_image_of_a_disk_that_is_kept_is_needed_and_one_that_is_not_known_may_be_any() {
        let folder = tempfile::tempdir().unwrap();
        let sub = |name| folder.path().join(name);
        let (journal, _) = Journal::open(sub("journal")).unwrap();
        let disks = Disks::open(sub("disks")).unwrap();
        fs::write(sub("journal/a.unreadable"), r#"{"image":"sha256:00"}"#).unwrap();
        fs::write(sub("journal/b.unreadable"), "").unwrap();
        fs::write(disks.path("a"), "").unwrap();
        let needed = images_of_kept(&journal, &disks).unwrap();
        assert_eq!(needed, [ImageDigest("sha256:00".to_owned())].into());
        fs::write(disks.path("b"), "").unwrap();
        let error = images_of_kept(&journal, &disks).unwrap_err();
        assert!(matches!(error, CollectError::SetAside { .. }), "{error}");
    }
}
