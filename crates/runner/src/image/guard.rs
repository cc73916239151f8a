//! What stands before each step of the store: its lock, bounds, room on the disk, and tests that make steps fail.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::ImageError;
use super::limits::Limits;
use super::store::{ImageStore, fail};
use crate::cancel::Cancel;
use crate::faults::{Faults, Step};

/// Of all inodes of the file system, this part is left to the host: one in fifty.
const INODES_KEPT_SHARE: u64 = 50;

impl ImageStore {
    /// Lets somebody make its steps fail.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = faults;
        self
    }

    pub(super) fn hit(&self, step: Step) -> Result<(), ImageError> {
        self.faults
            .at(step)
            .map_err(fail("pass a fault point of", &self.dir))
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// For work that writes a layer out of what somebody else has made: whether it may go on.
    pub(super) fn may_write(&self, cancel: &Cancel) -> io::Result<()> {
        if cancel.is_cancelled() {
            // Not `Interrupted`, which readers take for a reason to try again.
            return Err(io::Error::other("nobody wants it any more"));
        }
        self.room_for(0)
    }

    /// Makes sure that the host keeps its reserve when so much more is written.
    pub(super) fn room_for(&self, bytes: u64) -> io::Result<()> {
        let space = rustix::fs::statvfs(&self.dir)?;
        // Empty files take no space. Some file systems do not count them, and say zero.
        if space.f_favail < space.f_files / INODES_KEPT_SHARE {
            return Err(Errno::NOSPC.into());
        }
        let left = space.f_bavail.saturating_mul(space.f_frsize);
        if left < self.limits.disk_reserve_bytes.saturating_add(bytes) {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }
}

/// How long whoever holds the lock may take to go. What a killed server was about to start keeps its files for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Keeps other processes off the folder for as long as the file is open.
pub(super) fn lock(path: &Path) -> Result<File, ImageError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(fail("open", path))?;
    let since = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if since.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_RETRY),
            Err(Errno::WOULDBLOCK) => {
                return Err(ImageError::Locked {
                    path: path.parent().unwrap_or(path).to_owned(),
                });
            }
            Err(errno) => return Err(fail("lock", path)(errno.into())),
        }
    }
}
