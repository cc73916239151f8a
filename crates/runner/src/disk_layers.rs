//! Layers that are disks, on their loop devices.
//!
//! As with volumes, who uses one is written down nowhere: a sandbox's root keeps the file system, that keeps the device,
//! and the device's name tells the file. A killed server leaves nothing to take over, and nothing behind.

use std::path::PathBuf;

use tokio::sync::Mutex as Turn;

use crate::disk::{Access, LoopDevice};
use crate::disk_pool::{AttachError, blocking};
use crate::image::Layer;
use crate::mounts::{MountedDisk, MountedLayers, Mounts};

#[derive(Debug)]
pub struct DiskLayers {
    mounts: Mounts,
    /// One at a time: two at once on a file would find no device, and take two.
    turn: Turn<()>,
}

impl DiskLayers {
    pub fn new(mounts: Mounts) -> Self {
        Self {
            mounts,
            turn: Turn::default(),
        }
    }

    /// Mounts those of the layers that are disks in the scratch, for a root to be made with them. All or none.
    pub async fn attach<'a>(
        &self,
        layers: impl IntoIterator<Item = &'a Layer>,
    ) -> Result<MountedLayers, AttachError> {
        let mut mounted = MountedLayers::default();
        for file in layers.into_iter().filter_map(Layer::disk) {
            if mounted.get(file).is_some() {
                continue;
            }
            match self.attach_one(file.to_owned()).await {
                Ok(disk) => mounted.insert(file.to_owned(), disk),
                Err(error) => {
                    self.release(&mounted).await;
                    return Err(error);
                }
            }
        }
        Ok(mounted)
    }

    /// Takes layers out of the scratch again.
    pub async fn release(&self, layers: &MountedLayers) {
        for disk in layers.disks() {
            if let Err(error) = self.mounts.release_disk(disk.clone()).await {
                tracing::error!(%error, "cannot take a layer out of the scratch");
            }
        }
    }

    async fn attach_one(&self, file: PathBuf) -> Result<MountedDisk, AttachError> {
        let _turn = self.turn.lock().await;
        let device = blocking(move || LoopDevice::attach_shared(&file, Access::ReadOnly))
            .await?
            .map_err(AttachError::Loop)?;
        // From then on the mount keeps the device.
        self.mounts
            .mount_layer(device.number().path())
            .await
            .map_err(AttachError::Mount)
    }
}
