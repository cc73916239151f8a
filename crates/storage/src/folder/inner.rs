//! The folder itself, worked on by one step after another; nothing here waits for a client.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use rustix::io::Errno;

use super::draft::{Draft, DraftName, Drafts, Sealed};
use super::header::{self, HEADER_BYTES, Said};
use super::ledger::{Hold, Ledger, Settled};
use super::uploads::{self, Uploads};
use super::{Limits, walk};
use crate::error::failed;
use crate::faults::{Faults, Step};
use crate::{Bucket, Key, Object, PutOptions, StorageError, UploadId};

/// Copied at a time.
const COPY_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Inner {
    pub objects: PathBuf,
    pub drafts: Drafts,
    pub uploads: Uploads,
    pub ledger: Arc<Ledger>,
    pub limits: Limits,
    faults: Arc<dyn Faults>,
    /// Held while files get and lose names.
    names: Mutex<()>,
}

impl Inner {
    pub fn open(
        folder: &Path,
        limits: Limits,
        faults: Arc<dyn Faults>,
    ) -> Result<Self, StorageError> {
        let ledger = Arc::new(Ledger::new(limits.clone()));
        let objects = folder.join("objects");
        for bucket in Bucket::ALL {
            let owners = objects.join(bucket.as_str());
            fs::create_dir_all(&owners).map_err(failed("make the folder of a bucket"))?;
            for owner in walk::owners(&owners)? {
                ledger.found(*bucket, &owner.name, owner.used);
            }
        }
        Ok(Self {
            objects,
            drafts: Drafts::open(&folder.join("drafts"))?,
            uploads: Uploads::open(folder.join("uploads"), &ledger)?,
            ledger,
            limits,
            faults,
            names: Mutex::new(()),
        })
    }

    pub fn hit(&self, step: Step) -> Result<(), StorageError> {
        self.faults.at(step).map_err(failed("pass a fault point"))
    }

    pub fn open_object(&self, key: &Key) -> Result<Option<(File, Object)>, StorageError> {
        match File::open(self.objects.join(key.file())) {
            Ok(file) => {
                let object = header::read(&file)?;
                Ok(Some((file, object)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open an object")(error)),
        }
    }

    /// The file of an object under a second name, as a draft. Its bytes are counted already.
    pub fn sealed(&self, key: &Key) -> Result<Option<(Sealed, Object)>, StorageError> {
        let Some((file, object)) = self.open_object(key)? else {
            return Ok(None);
        };
        let name = DraftName::link(&self.objects.join(key.file()), self.drafts.name())?;
        let sealed = Sealed {
            name,
            hold: Hold::free(&self.ledger, key),
            size: object.size,
            sha256: object.sha256,
            file,
        };
        Ok(Some((sealed, object)))
    }

    /// Gives a sealed draft its name.
    pub fn publish(
        &self,
        key: &Key,
        sealed: Sealed,
        said: Said,
        only_new: bool,
    ) -> Result<Object, StorageError> {
        let path = self.objects.join(key.file());
        let folder = path.parent().unwrap_or(&self.objects);
        let changed = {
            let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let replaced = match fs::metadata(&path) {
                Ok(metadata) => Some(metadata.len().saturating_sub(HEADER_BYTES)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(failed("look for an object")(error)),
            };
            if only_new && replaced.is_some() {
                return Err(StorageError::Exists);
            }
            // Dropped on the way, the old object counts again.
            let settled = Settled::new(&self.ledger, key, sealed.hold, sealed.size, replaced)?;
            let changed = make_folders(&self.objects, folder)
                .and_then(|changed| fs::rename(sealed.name.path(), &path).map(|()| changed))
                .map_err(failed("name an object"))?;
            settled.keep();
            changed
        };
        self.hit(Step::Named)?;
        for folder in changed {
            sync_folder(&folder).map_err(failed("sync a folder of objects"))?;
        }
        Ok(Object {
            size: sealed.size,
            sha256: sealed.sha256,
            modified: sealed
                .file
                .metadata()
                .and_then(|metadata| metadata.modified())
                .map_err(failed("read when an object was written"))?,
            content_type: said.content_type,
            metadata: said.metadata,
        })
    }

    pub fn publish_part(
        &self,
        id: &UploadId,
        number: u32,
        sealed: Sealed,
    ) -> Result<Object, StorageError> {
        let path = self.uploads.part_file(id, number);
        {
            let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let replaced = uploads::part_bytes(&path)?;
            match fs::rename(sealed.name.path(), &path) {
                Ok(()) => {}
                // Finished or aborted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(StorageError::NoSuchUpload);
                }
                Err(error) => return Err(failed("name a part of an upload")(error)),
            }
            sealed.hold.settle_part(sealed.size, replaced);
        }
        self.hit(Step::PartNamed)?;
        self.uploads.sync_parts(id)?;
        header::read(&sealed.file)
    }

    /// The only part of an upload as the whole: it looks the same, so the file gets a second name.
    pub fn take_part(
        &self,
        key: &Key,
        id: &UploadId,
        only: (u32, [u8; 32]),
        options: &PutOptions,
    ) -> Result<Sealed, StorageError> {
        let (number, sha256) = only;
        let part = self.uploads.open_part(id, number)?;
        let Some((file, object)) = part.filter(|(_, object)| object.sha256 == sha256) else {
            return Err(StorageError::BadPart { number });
        };
        if options.sha256.is_some_and(|wanted| wanted != sha256) {
            return Err(StorageError::WrongHash);
        }
        let max = options.max_bytes.unwrap_or(u64::MAX);
        if object.size > max {
            return Err(StorageError::TooLarge { max });
        }
        let name = DraftName::link(&self.uploads.part_file(id, number), self.drafts.name())?;
        Ok(Sealed {
            name,
            hold: Hold::free(&self.ledger, key),
            size: object.size,
            sha256,
            file,
        })
    }

    pub fn join_parts(
        &self,
        key: &Key,
        id: &UploadId,
        parts: &[(u32, [u8; 32])],
        said: &Said,
        options: &PutOptions,
    ) -> Result<Sealed, StorageError> {
        let hold = Hold::free(&self.ledger, key);
        let mut draft = Draft::create(self.drafts.name(), &self.limits, hold)?;
        if let Some(max) = options.max_bytes {
            draft.bound(max);
        }
        self.copy_parts(id, parts, &mut draft)?;
        draft.seal(said, options.sha256)
    }

    pub fn copy_parts(
        &self,
        id: &UploadId,
        parts: &[(u32, [u8; 32])],
        draft: &mut Draft,
    ) -> Result<(), StorageError> {
        let mut buffer = vec![0; COPY_BYTES];
        for (number, sha256) in parts {
            let part = self.uploads.open_part(id, *number)?;
            let Some((file, object)) = part.filter(|(_, object)| object.sha256 == *sha256) else {
                return Err(StorageError::BadPart { number: *number });
            };
            let (mut at, end) = (HEADER_BYTES, HEADER_BYTES + object.size);
            while at < end {
                let wanted =
                    usize::try_from(end - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
                let count = file
                    .read_at(&mut buffer[..wanted], at)
                    .map_err(failed("read a part of an upload"))?;
                if count == 0 {
                    return Err(StorageError::BadPart { number: *number });
                }
                draft.write(&buffer[..count])?;
                at += count as u64;
            }
        }
        Ok(())
    }

    /// Makes an object young.
    pub fn refresh(&self, key: &Key) -> Result<bool, StorageError> {
        let path = self.objects.join(key.file());
        let omit = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let times = Timestamps {
            last_access: omit,
            last_modification: Timespec {
                tv_nsec: UTIME_NOW,
                ..omit
            },
        };
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(failed("note the use of an object")(error.into())),
        }
    }

    /// Removes an object that is to go by what the file system says of it.
    pub fn delete(
        &self,
        key: &Key,
        is_to_go: impl FnOnce(&Metadata) -> bool,
    ) -> Result<bool, StorageError> {
        let path = self.objects.join(key.file());
        let bucket = self.objects.join(key.bucket().as_str());
        let changed = {
            let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = match fs::metadata(&path) {
                Ok(metadata) if !is_to_go(&metadata) => return Ok(false),
                Ok(metadata) => metadata.len().saturating_sub(HEADER_BYTES),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(failed("look for an object")(error)),
            };
            fs::remove_file(&path).map_err(failed("remove an object"))?;
            self.ledger.removed(key, bytes);
            let mut folder = path.parent().unwrap_or(&bucket).to_owned();
            // Until one that is not empty.
            while folder != bucket && fs::remove_dir(&folder).is_ok() {
                folder.pop();
            }
            folder
        };
        self.hit(Step::Deleted)?;
        sync_folder(&changed).map_err(failed("sync a folder of objects"))?;
        Ok(true)
    }

    pub fn bury_upload(&self, key: &Key, id: &UploadId) -> Result<(), StorageError> {
        let grave = self.drafts.name();
        {
            let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = self.uploads.bury(id, &grave)?;
            self.ledger.upload_ended(key, bytes);
        }
        self.hit(Step::UploadBuried)?;
        self.uploads.sync()?;
        fs::remove_dir_all(&grave).map_err(failed("remove an upload"))
    }
}

/// Makes `folder` and those above it below `root`. Tells which folders have something new in them, `folder`
/// itself among them, since the caller is about to put a file there.
fn make_folders(root: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut changed = vec![folder.to_owned()];
    let mut missing = Vec::new();
    let mut at = folder;
    while at != root && !at.is_dir() {
        missing.push(at);
        let Some(parent) = at.parent() else { break };
        changed.push(parent.to_owned());
        at = parent;
    }
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder)?;
    }
    Ok(changed)
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn free_disk_bytes(file: impl AsFd) -> Result<u64, StorageError> {
    let found = rustix::fs::fstatvfs(file)
        .map_err(|error| failed("ask for free disk space")(error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
