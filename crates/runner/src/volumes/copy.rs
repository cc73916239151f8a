//! A copy of a volume's image while sandboxes write to it, for a backup or as another volume.
//!
//! Its file system is held still meanwhile, which outlives a server that is killed. So a mark beside the image says it
//! first, and the next server lets go of those that are marked. There is one copy of a volume at a time: the first that is
//! done would let go of it for the others too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use alcove_domain::VolumeId;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};

use super::{VolumeError, Volumes};
use crate::cancel::Cancel;
use crate::disk::{self, Access, LoopDevice, backing_files, ranges};
use crate::disk_pool::blocking;
use crate::faults::Step;
use crate::mounts::MountedDisk;

const MARK: &str = "held";

/// Volumes that are copied at once, at most: each takes some threads, and what the host's disk can do.
pub(super) const COPIERS: usize = 2;

/// The only one that copies a volume, until it is dropped.
struct Copier {
    _turn: OwnedMutexGuard<()>,
    _permit: OwnedSemaphorePermit,
}

impl Volumes {
    /// Those that there are.
    pub fn ids(&self) -> Vec<VolumeId> {
        let names = self.disks.names().into_iter();
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Copies a volume into this folder. False if there is none.
    pub async fn back_up(&self, volume: &VolumeId, to: &Path) -> Result<bool, VolumeError> {
        self.copy_to(volume, to.join(format!("{volume}.ext4")))
            .await
    }

    /// Makes a volume with what another holds at this moment, unless it is there. It is on the host's disk for good when
    /// this returns.
    pub async fn ensure_copy(
        &self,
        volume: &VolumeId,
        source: &VolumeId,
    ) -> Result<(), VolumeError> {
        let turn = self.turn(volume).await?;
        let (disks, name) = (self.disks.clone(), volume.to_string());
        if disks.path(&name).exists() {
            return Ok(());
        }
        let draft = disks.draft();
        if !self.copy_to(source, draft.path().to_owned()).await? {
            let volume = source.clone();
            return Err(VolumeError::Missing { volume });
        }
        self.hit(Step::VolumeForked)?;
        blocking(move || {
            let settled = disks.settle(&draft, &name);
            drop(turn);
            settled
        })
        .await?
        .map_err(VolumeError::Image)?;
        self.hit(Step::VolumeMade)
    }

    /// Copies a volume to this file. False if there is none.
    async fn copy_to(&self, volume: &VolumeId, to: PathBuf) -> Result<bool, VolumeError> {
        let copier = self.copier(volume).await?;
        let turn = self.turn(volume).await?;
        let path = self.disks.path(volume.as_str());
        if !path.exists() {
            return Ok(false);
        }
        let image = path.clone();
        // Also where nobody uses it: else a sandbox could begin to, in the middle of the copy.
        let device = blocking(move || LoopDevice::attach_shared(&image, Access::ReadWrite))
            .await?
            .map_err(VolumeError::Loop)?;
        let mounted = self.mounts.mount_disk(device.number().path()).await;
        let mounted = mounted.map_err(VolumeError::Mount)?;
        drop(device);
        drop(turn);
        let outcome = self.copy_held(copier, mounted.clone(), path, to).await;
        self.release(vec![mounted]).await;
        outcome.map(|()| true)
    }

    /// Waits for as long as those before it copy this volume, and while too many copy others.
    async fn copier(&self, volume: &VolumeId) -> Result<Copier, VolumeError> {
        let turn = self.copying.of(volume).lock_owned().await;
        let permit = self.copiers.clone().acquire_owned().await;
        let permit = permit.map_err(|_| VolumeError::Ended)?;
        Ok(Copier {
            _turn: turn,
            _permit: permit,
        })
    }

    /// The thread goes on when nobody waits any more, and lets go of the file system.
    async fn copy_held(
        &self,
        copier: Copier,
        mounted: MountedDisk,
        path: PathBuf,
        to: PathBuf,
    ) -> Result<(), VolumeError> {
        let folder = self.mounts.open_disk(mounted).await;
        let folder = folder.map_err(VolumeError::Mount)?;
        let faults = self.faults.clone();
        let copying = blocking(move || {
            let mark = path.with_extension(MARK);
            fs::File::create(&mark)?;
            let outcome = disk::hold(&folder)
                .and_then(|()| faults.at(Step::VolumeHeld))
                .and_then(|()| ranges::copy(&path, &to, &Cancel::never()));
            // Also where it could not be held, as with one that somebody else holds.
            disk::let_go(&folder)?;
            fs::remove_file(&mark)?;
            drop(copier);
            outcome
        });
        copying.await?.map_err(VolumeError::Copy)
    }

    /// Lets go of volumes that a killed server held still.
    pub async fn let_go(&self) -> Result<(), VolumeError> {
        let marks = self.marks().map_err(VolumeError::Copy)?;
        if marks.is_empty() {
            return Ok(());
        }
        let devices = backing_files();
        for mark in marks {
            let image = mark.with_extension("ext4");
            if let Some(number) = devices.get(&image) {
                let mounted = self.mounts.mount_disk(number.path()).await;
                let mounted = mounted.map_err(VolumeError::Mount)?;
                let opened = self.mounts.open_disk(mounted.clone()).await;
                let let_go = match opened {
                    Ok(folder) => blocking(move || disk::let_go(&folder))
                        .await?
                        .map_err(VolumeError::Copy),
                    Err(error) => Err(VolumeError::Mount(error)),
                };
                self.release(vec![mounted]).await;
                let_go?;
            }
            fs::remove_file(&mark).map_err(VolumeError::Copy)?;
        }
        Ok(())
    }

    fn marks(&self) -> io::Result<Vec<PathBuf>> {
        let folder = self.disks.path("x");
        let folder = folder.parent().unwrap_or(&folder).to_owned();
        let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let paths = paths.collect::<io::Result<Vec<_>>>()?;
        let is_mark = |path: &PathBuf| path.extension().is_some_and(|found| found == MARK);
        Ok(paths.into_iter().filter(is_mark).collect())
    }
}
