//! A file that is not an object yet. Dropped, it is gone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Limits;
use super::header::{self, HEADER_BYTES, Said};
use super::inner::free_disk_bytes;
use super::ledger::Hold;
use crate::StorageError;
use crate::error::failed;

#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    name: DraftName,
    hash: Sha256,
    size: u64,
    max_bytes: u64,
    disk_reserve_bytes: u64,
    hold: Hold,
}

/// A draft with all of its content and its header, on the disk.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub name: DraftName,
    pub hold: Hold,
    pub size: u64,
    pub sha256: [u8; 32],
    pub file: File,
}

/// A name in the folder of drafts. Dropped, it is gone, unless the file got another one.
#[derive(Debug)]
pub(crate) struct DraftName(PathBuf);

impl DraftName {
    /// A second name for a file that is on the disk already.
    pub fn link(file: &Path, name: PathBuf) -> Result<Self, StorageError> {
        fs::hard_link(file, &name).map_err(failed("give a file a second name"))?;
        Ok(Self(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DraftName {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            // It has another name now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "cannot remove a draft of an object"),
        }
    }
}

impl Draft {
    /// Makes the file `path`, which must not be there.
    pub fn create(path: PathBuf, limits: &Limits, hold: Hold) -> Result<Self, StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("make a draft of an object"))?;
        Ok(Self {
            file,
            name: DraftName(path),
            hash: Sha256::new(),
            size: 0,
            max_bytes: limits.object_bytes,
            disk_reserve_bytes: limits.disk_reserve_bytes,
            hold,
        })
    }

    /// Takes at most so many bytes, where that is less than before.
    pub fn bound(&mut self, max_bytes: u64) {
        self.max_bytes = self.max_bytes.min(max_bytes);
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > self.max_bytes {
            return Err(StorageError::TooLarge {
                max: self.max_bytes,
            });
        }
        if self.hold.cover(size)? && free_disk_bytes(&self.file)? < self.disk_reserve_bytes {
            return Err(StorageError::DiskFull);
        }
        self.file
            .write_all_at(bytes, HEADER_BYTES + self.size)
            .map_err(failed("write an object"))?;
        self.hash.update(bytes);
        self.size = size;
        Ok(())
    }

    /// Writes the header and has all of it on the disk.
    pub fn seal(self, said: &Said, wanted: Option<[u8; 32]>) -> Result<Sealed, StorageError> {
        let sha256: [u8; 32] = self.hash.finalize().into();
        if wanted.is_some_and(|wanted| wanted != sha256) {
            return Err(StorageError::WrongHash);
        }
        let header = header::encode(self.size, sha256, said)?;
        self.file
            .write_all_at(&header, 0)
            .map_err(failed("write the header of an object"))?;
        self.file
            .sync_all()
            .map_err(failed("sync an object to the disk"))?;
        Ok(Sealed {
            name: self.name,
            hold: self.hold,
            size: self.size,
            sha256,
            file: self.file,
        })
    }
}

/// Drafts of one folder, each with a name that no other has.
#[derive(Debug, Clone)]
pub(crate) struct Drafts {
    folder: Arc<Path>,
}

impl Drafts {
    /// Empties the folder: nobody finishes what an earlier process began.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(failed("remove old drafts"))?,
        }
        fs::create_dir_all(folder).map_err(failed("make the folder of drafts"))?;
        Ok(Self {
            folder: folder.into(),
        })
    }

    pub fn name(&self) -> PathBuf {
        self.folder.join(uuid::Uuid::new_v4().simple().to_string())
    }
}
