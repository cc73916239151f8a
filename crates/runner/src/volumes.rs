//! Volumes: sparse ext4 images as the disks of sandboxes are, mounted by any number of sandboxes at once.
//!
//! Who uses a volume is written down nowhere: a sandbox's mount keeps the file system, the file system keeps the loop
//! device, and the device's name tells the file. A start that finds a device on the file mounts that one, which gives
//! the same file system; the last sandbox that ends lets it go. So a server that is killed leaves nothing to be taken
//! over, and nothing behind.
//!
//! What is in a volume was written by sandboxes and is hostile. Looking for a folder in it is done by a thread of its
//! own, so that a volume that is slow holds up nobody but those who want it.

mod copy;
mod folder;

use std::collections::HashMap;
use std::fs::{File, FileTimes};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use alcove_domain::VolumeId;
use alcove_runner_api::{FaultCode, VolumeMount};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, Semaphore, oneshot};

use crate::disk::{Access, DiskError, Disks, LoopDevice, backing_files};
use crate::disk_pool::{AttachError, blocking};
use crate::faults::{Faults, Step};
use crate::mounts::{MountError, MountedDisk, Mounts, VolumePlan};

/// How long a volume may take to be found, and to be let go of by a sandbox that has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Unit of a file's blocks, in bytes.
const BLOCK: u64 = 512;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("volume {volume} is not on this runner")]
    Missing { volume: VolumeId },
    #[error("cannot change the image of a volume")]
    Image(#[source] DiskError),
    #[error("cannot put a volume on a loop device")]
    Loop(#[source] io::Error),
    #[error("cannot mount a volume")]
    Mount(#[source] MountError),
    #[error("cannot open the folder {subpath:?} of a volume")]
    Folder {
        subpath: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot copy the volume")]
    Copy(#[source] io::Error),
    #[error("volume {volume} is in use")]
    InUse { volume: VolumeId },
    #[error("a volume does not answer")]
    Slow,
    #[error("cannot start a thread for a volume")]
    Thread(#[source] io::Error),
    #[error("a thread for blocking work ended early")]
    Ended,
    #[error("cannot pass a fault point")]
    Fault(#[source] io::Error),
}

impl VolumeError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Image(error) => error.errno(),
            Self::Mount(error) => error.errno(),
            Self::Loop(error) | Self::Thread(error) | Self::Fault(error) | Self::Copy(error) => {
                error.raw_os_error()
            }
            Self::Folder { .. }
            | Self::Missing { .. }
            | Self::InUse { .. }
            | Self::Slow
            | Self::Ended => None,
        }
    }

    /// The code of those that are about the volume and not about the host.
    pub fn fault_code(&self) -> Option<FaultCode> {
        match self {
            Self::Missing { .. } | Self::Folder { .. } => Some(FaultCode::VolumeUnusable),
            _ => None,
        }
    }
}

impl From<AttachError> for VolumeError {
    fn from(_: AttachError) -> Self {
        Self::Ended
    }
}

/// One at a time for each volume.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<VolumeId, Arc<Turn<()>>>>);

impl Turns {
    fn of(&self, volume: &VolumeId) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds or waits for are forgotten.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(volume.clone()).or_default().clone()
    }
}

#[derive(Debug)]
pub struct Volumes {
    disks: Arc<Disks>,
    mounts: Mounts,
    /// What changes a volume on this host, or finds it, takes its turn.
    turns: Turns,
    /// What copies it takes its turn as well.
    copying: Turns,
    copiers: Arc<Semaphore>,
    faults: Arc<dyn Faults>,
}

impl Volumes {
    /// Opens the folder of images and removes what an earlier server left half-made.
    pub fn open(
        folder: PathBuf,
        mounts: Mounts,
        faults: Arc<dyn Faults>,
    ) -> Result<Self, DiskError> {
        let disks = Disks::open(folder)?;
        for name in disks.names() {
            // No volume's id starts with a plus sign.
            if name.starts_with('+') {
                disks.remove(&name)?;
            }
        }
        Ok(Self {
            disks: Arc::new(disks),
            mounts,
            turns: Turns::default(),
            copying: Turns::default(),
            copiers: Arc::new(Semaphore::new(copy::COPIERS)),
            faults,
        })
    }

    /// Makes an empty volume, and tells whether it was not there. It is on the host's disk for good when this returns.
    pub async fn ensure(&self, volume: &VolumeId, bytes: u64) -> Result<bool, VolumeError> {
        let turn = self.turn(volume).await?;
        let (disks, name) = (self.disks.clone(), volume.to_string());
        let is_new = blocking(move || {
            let is_new = !disks.path(&name).exists();
            let made = disks.ensure(&name, bytes);
            drop(turn);
            made.map(|()| is_new)
        })
        .await?
        .map_err(VolumeError::Image)?;
        self.hit(Step::VolumeMade)?;
        Ok(is_new)
    }

    /// All that there are: names, bytes on the host's disk, and when each was last noted as used.
    pub fn images(&self) -> Vec<(String, u64, SystemTime)> {
        let names = self.disks.names().into_iter();
        names
            .filter_map(|name| {
                let found = std::fs::metadata(self.disks.path(&name)).ok()?;
                Some((name, found.blocks() * BLOCK, found.accessed().ok()?))
            })
            .collect()
    }

    /// Notes that a volume is used now. Reading and writing do not: the loop device goes past the file's times.
    #[expect(
        clippy::disallowed_methods,
        reason = "decides only which cache of builds goes first"
    )]
    pub fn note_use(&self, volume: &VolumeId) {
        let path = self.disks.path(volume.as_str());
        let times = FileTimes::new().set_accessed(SystemTime::now());
        let noted = File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_times(times));
        if let Err(error) = noted {
            tracing::warn!(%volume, %error, "cannot note the use of a volume");
        }
    }

    /// Removes a volume that no sandbox mounts; those that have just ended are waited for.
    pub async fn remove(&self, volume: &VolumeId) -> Result<(), VolumeError> {
        let path = self.disks.path(volume.as_str());
        let turn = self.turn(volume).await?;
        if let Some(number) = backing_files().get(&path)
            && !number.released(&path, PATIENCE).await
        {
            let volume = volume.clone();
            return Err(VolumeError::InUse { volume });
        }
        let (disks, name) = (self.disks.clone(), volume.to_string());
        blocking(move || {
            let removed = disks.remove_for_good(&name);
            drop(turn);
            removed
        })
        .await?
        .map_err(VolumeError::Image)?;
        self.hit(Step::VolumeRemoved)
    }

    fn hit(&self, step: Step) -> Result<(), VolumeError> {
        self.faults.at(step).map_err(VolumeError::Fault)
    }

    /// Mounts volumes in the scratch, for a root to be made with them. All or none.
    pub async fn attach(&self, wanted: &[VolumeMount]) -> Result<Vec<VolumePlan>, VolumeError> {
        let mut plans = Vec::with_capacity(wanted.len());
        for mount in wanted {
            match self.attach_one(mount).await {
                Ok(plan) => plans.push(plan),
                Err(error) => {
                    let disks = plans.into_iter().map(|plan: VolumePlan| plan.disk);
                    self.release(disks.collect()).await;
                    return Err(error);
                }
            }
        }
        Ok(plans)
    }

    /// Takes volumes out of the scratch that did not become part of a root.
    pub async fn release(&self, disks: Vec<MountedDisk>) {
        for disk in disks {
            if let Err(error) = self.mounts.release_disk(disk).await {
                tracing::error!(%error, "cannot take a volume out of the scratch");
            }
        }
    }

    async fn attach_one(&self, mount: &VolumeMount) -> Result<VolumePlan, VolumeError> {
        let volume = &mount.volume;
        let turn = self.turn(volume).await?;
        let path = self.disks.path(volume.as_str());
        if !path.exists() {
            let volume = volume.clone();
            return Err(VolumeError::Missing { volume });
        }
        let device = blocking(move || LoopDevice::attach_shared(&path, Access::ReadWrite))
            .await?
            .map_err(VolumeError::Loop)?;
        self.hit(Step::VolumeAttached)?;
        let device_path = device.number().path();
        let disk = self
            .mounts
            .mount_disk(device_path)
            .await
            .map_err(VolumeError::Mount)?;
        // From here on the mount keeps the device.
        drop(device);
        let found = match self.mounts.open_disk(disk.clone()).await {
            Ok(top) => find(turn, top, mount.subpath.clone()).await,
            Err(error) => Err(VolumeError::Mount(error)),
        };
        match found {
            Ok(folder) => Ok(VolumePlan {
                disk,
                folder,
                mount_path: mount.mount_path.clone(),
                is_read_only: mount.is_read_only,
            }),
            Err(error) => {
                self.release(vec![disk]).await;
                Err(error)
            }
        }
    }

    async fn turn(&self, volume: &VolumeId) -> Result<OwnedMutexGuard<()>, VolumeError> {
        let turn = self.turns.of(volume).lock_owned();
        tokio::time::timeout(PATIENCE, turn)
            .await
            .map_err(|_| VolumeError::Slow)
    }
}

/// Opens a folder of a mounted volume. The turn is held for as long as that takes, also when nobody waits any more: so
/// at most one thread a volume can hang.
async fn find(
    turn: OwnedMutexGuard<()>,
    top: OwnedFd,
    subpath: Option<String>,
) -> Result<OwnedFd, VolumeError> {
    let (done, found) = oneshot::channel();
    let told = subpath.clone().unwrap_or_default();
    std::thread::Builder::new()
        .name("volume".to_owned())
        .spawn(move || {
            // Who asked may have gone; the folder is closed again then.
            let _ = done.send(folder::find(&top, subpath.as_deref()));
            drop(turn);
        })
        .map_err(VolumeError::Thread)?;
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(Ok(found)) => found.map_err(|source| VolumeError::Folder {
            subpath: told,
            source,
        }),
        Ok(Err(_)) => Err(VolumeError::Ended),
        Err(_) => Err(VolumeError::Slow),
    }
}
