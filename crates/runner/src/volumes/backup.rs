//! A volume's part of a backup: a copy of its image while sandboxes write to it.
//!
//! Its file system is held still meanwhile, which outlives a server that is killed. So a mark beside the image says it
//! first, and the next server lets go of those that are marked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use alcove_domain::VolumeId;

use super::{VolumeError, Volumes};
use crate::cancel::Cancel;
use crate::disk::{self, Access, LoopDevice, backing_files, ranges};
use crate::disk_pool::blocking;
use crate::faults::Step;
use crate::mounts::MountedDisk;

const MARK: &str = "held";

impl Volumes {
    /// Those that there are.
    pub fn ids(&self) -> Vec<VolumeId> {
        let names = self.disks.names().into_iter();
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Copies a volume into this folder. False if there is none.
    pub async fn back_up(&self, volume: &VolumeId, to: &Path) -> Result<bool, VolumeError> {
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
        let to = to.join(format!("{volume}.ext4"));
        let copied = self.copy_held(mounted.clone(), path, to).await;
        self.release(vec![mounted]).await;
        copied.map(|()| true)
    }

    /// The thread goes on when nobody waits any more, and lets go of the file system.
    async fn copy_held(
        &self,
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
            let copied = disk::hold(&folder)
                .and_then(|()| faults.at(Step::VolumeHeld))
                .and_then(|()| ranges::copy(&path, &to, &Cancel::never()));
            // Also where it could not be held, as with one that somebody else holds.
            disk::let_go(&folder)?;
            fs::remove_file(&mark)?;
            copied
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
