//! Images that are made of a sandbox's files: a snapshot of it.

use std::sync::Arc;

use alcove_runner_api::{ImageDigest, ImageEntry};

use super::Driver;
use super::held::Held;
use super::inbox::Inbox;
use crate::disk_pool::{AttachedDisk, blocking};
use crate::faults::Step;
use crate::host::HostError;
use crate::image::{Capture, DISK_LAYERS_MAX, Image, entry};
use crate::mounts::{DiskView, MountError, MountedDisk, MountedLayers};

impl Driver {
    pub(super) async fn capture(
        &mut self,
        name: String,
        inbox: &mut Inbox,
    ) -> Result<ImageEntry, HostError> {
        let images = &self.host.images;
        if let Some(image) = images.get_by_name(&name) {
            return Ok(entry(&name, &image));
        }
        let base = self.image()?;
        let image = images.get(&base).ok_or_else(|| HostError::ImageMissing {
            digest: base.0.clone(),
        })?;
        let disks = image.layers.iter().filter_map(|layer| layer.disk()).count();
        let entry = if disks < DISK_LAYERS_MAX {
            self.capture_disk(name, base, inbox).await?
        } else {
            self.capture_files(name, &image, inbox).await?
        };
        self.hit(Step::Captured)?;
        Ok(entry)
    }

    /// A copy of the disk becomes a layer.
    async fn capture_disk(
        &mut self,
        name: String,
        base: ImageDigest,
        inbox: &mut Inbox,
    ) -> Result<ImageEntry, HostError> {
        let images = self.host.images.clone();
        let draft = images.draft_disk().map_err(HostError::Capture)?;
        let path = draft.path();
        // One that was held still is clean.
        let is_clean = matches!(self.held, Held::Running(_));
        self.copy_disk(&path, inbox).await?;
        if !is_clean {
            let pool = &self.host.disk_pool;
            pool.replay_journal(path).await.map_err(HostError::Disk)?;
        }
        blocking(move || images.capture_disk(&name, &base, draft))
            .await
            .map_err(HostError::Disk)?
            .map_err(HostError::Capture)
    }

    /// The files on a copy of the disk become a layer, and those of the layers below that are disks too.
    async fn capture_files(
        &mut self,
        name: String,
        image: &Arc<Image>,
        inbox: &mut Inbox,
    ) -> Result<ImageEntry, HostError> {
        let draft = self.host.disks.draft();
        self.copy_disk(draft.path(), inbox).await?;
        let (pool, layers) = (&self.host.disk_pool, &self.host.disk_layers);
        let below = layers.attach(&image.layers).await;
        let below = below.map_err(HostError::Disk)?;
        let disk = pool.attach(draft.name(), None).await;
        let AttachedDisk { mounted, number } = match disk {
            Ok(disk) => disk,
            Err(error) => {
                layers.release(&below).await;
                return Err(HostError::Disk(error));
            }
        };
        let views = self.views(image, &mounted, &below).await;
        // The views keep what is mounted for as long as it is needed.
        if let Err(error) = self.host.mounts.release_disk(mounted).await {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot unmount a disk that was captured");
        }
        layers.release(&below).await;
        let images = self.host.images.clone();
        let captured = match views {
            Ok((below, view)) => {
                let base = image.digest.clone();
                self.long(inbox, move |cancel| {
                    let capture = Capture {
                        base: &base,
                        below: &below,
                        view: &view,
                        cancel,
                    };
                    images.capture(&name, &capture).map_err(HostError::Capture)
                })
                .await
            }
            Err(error) => Err(HostError::Mount(error)),
        };
        if let Err(error) = pool.await_release(draft.name(), Some(number)).await {
            tracing::warn!(sandbox.id = %self.sandbox, %error, "a captured copy is slow to go");
        }
        captured
    }

    async fn views(
        &self,
        image: &Image,
        disk: &MountedDisk,
        mounted: &MountedLayers,
    ) -> Result<(Vec<(usize, DiskView)>, DiskView), MountError> {
        let mounts = &self.host.mounts;
        let mut below = Vec::new();
        for (index, layer) in image.layers.iter().enumerate() {
            let Some(disk) = layer.disk().and_then(|file| mounted.get(file)) else {
                continue;
            };
            let under = image.layers[..index].to_vec();
            let view = mounts.view(disk.clone(), under, mounted.clone()).await?;
            below.push((index, view));
        }
        let view = mounts
            .view(disk.clone(), image.layers.clone(), mounted.clone())
            .await?;
        Ok((below, view))
    }
}
