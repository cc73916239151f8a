//! Disks that are made, attached and mounted ahead of need.
//!
//! A disk costs 2 to 3 ms on the way of a create. A few of the usual size therefore wait; an empty pool is a
//! normal create.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::disk::{DiskError, Disks, LoopDevice, LoopNumber};
use crate::mounts::{MountError, MountedDisk, Mounts};

/// Names of disks that belong to no sandbox. No sandbox's id starts with a plus sign.
pub const POOL_PREFIX: &str = "+ready-";

/// How long the kernel may take to unmount a disk of a sandbox that has ended, its dirty pages included.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("cannot make a disk")]
    Make(#[source] DiskError),
    #[error("cannot put the disk on a loop device")]
    Loop(#[source] std::io::Error),
    #[error("cannot mount the disk")]
    Mount(#[source] MountError),
    #[error("the disk is still in use by loop device {}", .0.0)]
    Busy(LoopNumber),
    #[error("a thread for blocking work ended early")]
    Ended,
}

impl AttachError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Make(error) => error.errno(),
            Self::Loop(error) => error.raw_os_error(),
            Self::Mount(error) => error.errno(),
            Self::Busy(_) | Self::Ended => None,
        }
    }
}

/// A disk on its device, mounted in the scratch.
#[derive(Debug, Clone)]
pub struct AttachedDisk {
    pub mounted: MountedDisk,
    pub number: LoopNumber,
}

#[derive(Debug)]
struct Ready {
    name: String,
    disk: AttachedDisk,
}

#[derive(Debug)]
pub struct DiskPool {
    disks: Arc<Disks>,
    mounts: Mounts,
    /// Size of the disks that wait.
    bytes: u64,
    ready: Mutex<Vec<Ready>>,
}

impl DiskPool {
    pub fn new(disks: Arc<Disks>, mounts: Mounts, bytes: u64) -> Self {
        Self {
            disks,
            mounts,
            bytes,
            ready: Mutex::default(),
        }
    }

    /// A new, empty disk under this name, from the pool where the size fits.
    pub async fn take(&self, name: &str, bytes: u64) -> Result<AttachedDisk, AttachError> {
        let ready = (bytes == self.bytes)
            .then(|| {
                self.ready
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop()
            })
            .flatten();
        if let Some(ready) = ready {
            return match self.disks.rename(&ready.name, name) {
                Ok(_) => Ok(ready.disk),
                Err(error) => {
                    self.discard(&ready.name, &ready.disk).await;
                    Err(AttachError::Make(error))
                }
            };
        }
        let disk = self.create(name, bytes).await;
        if disk.is_err()
            && let Err(error) = self.disks.remove(name)
        {
            tracing::error!(%error, disk = name, "a half-made disk is left behind");
        }
        disk
    }

    /// An existing disk, put on a device again. `before` is the device that it was on last.
    pub async fn attach(
        &self,
        name: &str,
        before: Option<LoopNumber>,
    ) -> Result<AttachedDisk, AttachError> {
        self.await_release(name, before).await?;
        self.attach_path(self.disks.path(name)).await
    }

    /// Waits until the kernel has let go of the disk, which also means that all of it is written.
    pub async fn await_release(
        &self,
        name: &str,
        device: Option<LoopNumber>,
    ) -> Result<(), AttachError> {
        let Some(number) = device else { return Ok(()) };
        let path = self.disks.path(name);
        if number.released(&path, RELEASE_LIMIT).await {
            Ok(())
        } else {
            Err(AttachError::Busy(number))
        }
    }

    /// Makes a file system clean that was not unmounted when its host lost its power. Nobody else may use the file.
    pub async fn replay_journal(&self, path: PathBuf) -> Result<(), AttachError> {
        let AttachedDisk { mounted, number } = self.attach_path(path.clone()).await?;
        self.mounts
            .release_disk(mounted)
            .await
            .map_err(AttachError::Mount)?;
        if number.released(&path, RELEASE_LIMIT).await {
            Ok(())
        } else {
            Err(AttachError::Busy(number))
        }
    }

    /// Makes one more disk for the pool, if fewer than `target` wait. `false` when there is nothing to do.
    pub async fn refill(&self, target: usize) -> Result<bool, AttachError> {
        if self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
            >= target
        {
            return Ok(false);
        }
        let name = format!("{POOL_PREFIX}{}", uuid::Uuid::new_v4().simple());
        match self.create(&name, self.bytes).await {
            Ok(disk) => {
                let ready = Ready { name, disk };
                self.ready
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(ready);
                Ok(true)
            }
            Err(error) => {
                if let Err(error) = self.disks.remove(&name) {
                    tracing::error!(%error, disk = name, "a half-made disk is left behind");
                }
                Err(error)
            }
        }
    }

    /// Removes all disks that wait.
    pub async fn drain(&self) {
        let ready = std::mem::take(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner));
        for ready in ready {
            self.discard(&ready.name, &ready.disk).await;
        }
    }

    async fn discard(&self, name: &str, disk: &AttachedDisk) {
        if let Err(error) = self.mounts.release_disk(disk.mounted.clone()).await {
            tracing::error!(%error, disk = name, "cannot unmount an unused disk");
        }
        if let Err(error) = self.disks.remove(name) {
            tracing::error!(%error, disk = name, "cannot remove an unused disk");
        }
    }

    async fn create(&self, name: &str, bytes: u64) -> Result<AttachedDisk, AttachError> {
        let (disks, name) = (self.disks.clone(), name.to_owned());
        let path = blocking(move || disks.create(&name, bytes))
            .await?
            .map_err(AttachError::Make)?;
        self.attach_path(path).await
    }

    async fn attach_path(&self, path: PathBuf) -> Result<AttachedDisk, AttachError> {
        let device = blocking(move || LoopDevice::attach(&path))
            .await?
            .map_err(AttachError::Loop)?;
        let number = device.number();
        let mounted = self
            .mounts
            .mount_disk(number.path())
            .await
            .map_err(AttachError::Mount)?;
        // From here on the mount alone keeps the device.
        drop(device);
        Ok(AttachedDisk { mounted, number })
    }
}

/// Runs blocking work on a thread for it.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AttachError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| AttachError::Ended)
}
