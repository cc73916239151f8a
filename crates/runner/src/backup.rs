//! The runner's part of a backup of the platform: images, disks, archives, volumes and logs of builds, while sandboxes run.
//!
//! It looks like the data folder. A sandbox that runs is copied as its snapshots are: its file system is held still, and its
//! record says that it is stopped. What is made while this is under way may be in it or not; what was there at its beginning
//! is, unless somebody removes it meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use alcove_domain::{SandboxId, VolumeId};
use alcove_runner_api::Observed;
use tokio::sync::oneshot;

use crate::build::SANDBOX_PREFIX;
use crate::cancel::Cancel;
use crate::driver::Message;
use crate::host::HostError;
use crate::image::copy_files;
use crate::runner::{Entry, Runner};
use crate::volumes::VolumeError;

pub use crate::image::restore as restore_images;

/// How often the copy of a sandbox is begun anew because an order for it comes in between. Then the backup fails.
const ATTEMPTS: usize = 20;

pub(crate) const DISKS: &str = "runner/disks";
pub(crate) const JOURNAL: &str = "runner/journal";
pub(crate) const ARCHIVE: &str = "archive";
const VOLUMES: &str = "runner/volumes";
const IMAGES: &str = "images";
const BUILDS: &str = "builds";

/// As long as it lives, no image and no layer is taken away from the host.
#[derive(Debug)]
pub struct ImagesHeld(
    #[expect(dead_code, reason = "lives as long as this")] tokio::sync::OwnedMutexGuard<()>,
);

/// What a backup has of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackedUp {
    /// It has gone.
    Nothing,
    Disk,
    Archive,
}

/// How much a backup has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupCounts {
    pub sandboxes: usize,
    pub volumes: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot copy the images")]
    Images(#[source] io::Error),
    #[error("cannot copy the disk of sandbox {sandbox}")]
    Sandbox {
        sandbox: SandboxId,
        #[source]
        source: HostError,
    },
    #[error("sandbox {sandbox} was given orders all the time")]
    Busy { sandbox: SandboxId },
    #[error("cannot copy the volume {volume}")]
    Volume {
        volume: VolumeId,
        #[source]
        source: VolumeError,
    },
    #[error("cannot {step}")]
    Io {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the runner stops")]
    Stopping,
}

/// Ends work on a thread when nobody waits for it any more.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Runner {
    /// Keeps images from being taken away. To be called before what names them is copied.
    pub async fn hold_images(&self) -> ImagesHeld {
        ImagesHeld(Arc::clone(self.collecting()).lock_owned().await)
    }

    /// Writes the runner's part into this folder. `note` is told how far it is.
    pub async fn back_up(
        &self,
        to: &Path,
        with_disks: bool,
        note: impl Fn(String),
    ) -> Result<BackupCounts, BackupError> {
        let cancel = CancelOnDrop(Cancel::default());
        for folder in [DISKS, JOURNAL, ARCHIVE, VOLUMES, BUILDS] {
            std::fs::create_dir_all(to.join(folder)).map_err(failed("make a folder"))?;
        }
        let (images, into) = (self.host().images.clone(), to.join(IMAGES));
        let flag = cancel.0.clone();
        let copied = tokio::task::spawn_blocking(move || images.back_up(&into, &flag));
        joined(copied.await).map_err(BackupError::Images)?;
        note("the images are copied".to_owned());
        let mut counts = BackupCounts::default();
        if with_disks {
            let sandboxes = self.to_back_up();
            let all = sandboxes.len();
            for sandbox in sandboxes {
                if self.back_up_one(&sandbox, to).await? != BackedUp::Nothing {
                    counts.sandboxes += 1;
                }
                note(format!(
                    "{} of {all} sandboxes are copied",
                    counts.sandboxes
                ));
            }
        }
        let into = to.join(VOLUMES);
        for volume in self.host().volumes.ids() {
            let copied = self.host().volumes.back_up(&volume, &into).await;
            let was_there = copied.map_err(|source| BackupError::Volume { volume, source })?;
            counts.volumes += usize::from(was_there);
        }
        note(format!("{} volumes are copied", counts.volumes));
        let (logs, into) = (self.host().data_dir.join(BUILDS), to.join(BUILDS));
        let flag = cancel.0.clone();
        let copied = tokio::task::spawn_blocking(move || copy_files(&logs, &into, &flag));
        joined(copied.await).map_err(failed("copy the logs of builds"))?;
        Ok(counts)
    }

    fn to_back_up(&self) -> Vec<SandboxId> {
        let entries = self.entries();
        let there = entries.iter().filter(|(sandbox, entry)| match entry {
            Entry::Driven { view, .. } => {
                let view = view.read().unwrap_or_else(PoisonError::into_inner);
                view.report.observed != Observed::Absent
                    && !sandbox.as_str().starts_with(SANDBOX_PREFIX)
            }
            Entry::Tombstone(_) => false,
        });
        there.map(|(sandbox, _)| sandbox.clone()).collect()
    }

    async fn back_up_one(&self, sandbox: &SandboxId, to: &Path) -> Result<BackedUp, BackupError> {
        for _ in 0..ATTEMPTS {
            let mailbox = match self.entries().get(sandbox) {
                Some(Entry::Driven { mailbox, .. }) => mailbox.clone(),
                _ => return Ok(BackedUp::Nothing),
            };
            let (answer, answered) = oneshot::channel();
            let to: PathBuf = to.to_owned();
            let sent = mailbox.send(Message::BackUp { to, answer }).await;
            sent.map_err(|_| BackupError::Stopping)?;
            drop(mailbox);
            match answered.await.map_err(|_| BackupError::Stopping)? {
                Err(error) if error.is_cancelled() => {}
                Ok(what) => return Ok(what),
                Err(source) => {
                    let sandbox = sandbox.clone();
                    return Err(BackupError::Sandbox { sandbox, source });
                }
            }
        }
        let sandbox = sandbox.clone();
        Err(BackupError::Busy { sandbox })
    }
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::Io { step, source }
}

fn joined(result: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    result.map_err(io::Error::other)?
}
