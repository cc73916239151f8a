//! Uploads in parts: a folder each, with what the upload is for and a file a part.
//!
//! Part files look like objects. Their bytes count for the owner until the upload is finished or gone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::header;
use super::header::{HEADER_BYTES, Said};
use super::inner::sync_folder;
use super::ledger::{Ledger, Use};
use crate::error::failed;
use crate::{Bucket, Key, Object, Part, StorageError, UploadId};

/// Highest number of a part: as in S3.
pub(crate) const PART_NUMBER_MAX: u32 = 10_000;
const RECORD: &str = "upload.json";
const VERSION: u32 = 1;

/// What an upload is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    bucket: String,
    path: String,
    #[serde(flatten)]
    said: Said,
}

/// The folder of all uploads.
#[derive(Debug)]
pub(crate) struct Uploads {
    root: PathBuf,
}

impl Uploads {
    /// Counts what is there; what a killed process left unusable goes.
    pub fn open(root: PathBuf, ledger: &Ledger) -> Result<Self, StorageError> {
        fs::create_dir_all(&root).map_err(failed("make the folder of uploads"))?;
        let uploads = Self { root };
        for id in uploads.all()? {
            if let Ok((key, _)) = uploads.record(&id) {
                let found = Use {
                    bytes: uploads.sum(&id)?,
                    uploads: 1,
                    ..Use::default()
                };
                ledger.found(key.bucket(), key.owner(), found);
            } else {
                tracing::warn!(
                    upload = id.as_str(),
                    "removing an upload that says not what it is for"
                );
                fs::remove_dir_all(uploads.folder(&id)).map_err(failed("remove an upload"))?;
            }
        }
        Ok(uploads)
    }

    fn folder(&self, id: &UploadId) -> PathBuf {
        self.root.join(id.as_str())
    }

    pub fn part_file(&self, id: &UploadId, number: u32) -> PathBuf {
        self.folder(id).join(format!("{number:05}"))
    }

    fn all(&self) -> Result<Vec<UploadId>, StorageError> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed("list the uploads"))? {
            let name = entry.map_err(failed("list the uploads"))?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            } else {
                tracing::warn!(?name, "a file among the uploads is none");
            }
        }
        Ok(ids)
    }

    /// Makes the upload's folder, whole: the record is in it before it has its name.
    pub fn begin(&self, key: &Key, said: Said, draft: &Path) -> Result<UploadId, StorageError> {
        let id = UploadId::random();
        let record = Record {
            version: VERSION,
            bucket: key.bucket().as_str().to_owned(),
            path: key.path().to_owned(),
            said,
        };
        let text = serde_json::to_vec(&record).map_err(|_| StorageError::Damaged {
            what: "an upload's record cannot be written",
        })?;
        fs::create_dir(draft).map_err(failed("make the folder of an upload"))?;
        let made = File::create_new(draft.join(RECORD))
            .and_then(|mut file| {
                io::Write::write_all(&mut file, &text)?;
                file.sync_all()
            })
            .and_then(|()| sync_folder(draft))
            .and_then(|()| fs::rename(draft, self.folder(&id)))
            .and_then(|()| sync_folder(&self.root));
        if let Err(error) = made {
            let _ = fs::remove_dir_all(draft);
            return Err(failed("write down what an upload is for")(error));
        }
        Ok(id)
    }

    fn record(&self, id: &UploadId) -> Result<(Key, Said), StorageError> {
        let text = match fs::read(self.folder(id).join(RECORD)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StorageError::NoSuchUpload);
            }
            Err(error) => return Err(failed("read what an upload is for")(error)),
        };
        let damaged = || StorageError::Damaged {
            what: "what an upload is for cannot be read",
        };
        let record: Record = serde_json::from_slice(&text).map_err(|_| damaged())?;
        let bucket = Bucket::parse(&record.bucket).ok_or_else(damaged)?;
        if record.version != VERSION {
            return Err(damaged());
        }
        let key = Key::new(bucket, record.path).map_err(|_| damaged())?;
        Ok((key, record.said))
    }

    /// What was said at the beginning of an upload of this key.
    pub fn find(&self, key: &Key, id: &UploadId) -> Result<Said, StorageError> {
        let (own, said) = self.record(id)?;
        if own == *key {
            Ok(said)
        } else {
            Err(StorageError::NoSuchUpload)
        }
    }

    fn numbers(&self, id: &UploadId) -> Result<Vec<u32>, StorageError> {
        let entries = match fs::read_dir(self.folder(id)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StorageError::NoSuchUpload);
            }
            Err(error) => return Err(failed("list the parts of an upload")(error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list the parts of an upload"))?;
            let name = entry.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub fn parts(&self, id: &UploadId) -> Result<Vec<Part>, StorageError> {
        let mut parts = Vec::new();
        for number in self.numbers(id)? {
            if let Some((_, object)) = self.open_part(id, number)? {
                parts.push(Part { number, object });
            }
        }
        Ok(parts)
    }

    pub fn open_part(
        &self,
        id: &UploadId,
        number: u32,
    ) -> Result<Option<(File, Object)>, StorageError> {
        match File::open(self.part_file(id, number)) {
            Ok(file) => {
                let object = header::read(&file)?;
                Ok(Some((file, object)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open a part of an upload")(error)),
        }
    }

    fn sum(&self, id: &UploadId) -> Result<u64, StorageError> {
        let mut sum = 0;
        for number in self.numbers(id)? {
            sum += part_bytes(&self.part_file(id, number))?;
        }
        Ok(sum)
    }

    /// Takes the upload away and tells how many bytes its parts had. What is taken away is at `grave` now.
    pub fn bury(&self, id: &UploadId, grave: &Path) -> Result<u64, StorageError> {
        let bytes = self.sum(id)?;
        match fs::rename(self.folder(id), grave) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StorageError::NoSuchUpload)
            }
            Err(error) => Err(failed("take an upload away")(error)),
        }
    }

    pub fn sync(&self) -> Result<(), StorageError> {
        sync_folder(&self.root).map_err(failed("sync the folder of uploads"))
    }

    pub fn sync_parts(&self, id: &UploadId) -> Result<(), StorageError> {
        match sync_folder(&self.folder(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StorageError::NoSuchUpload)
            }
            synced => synced.map_err(failed("sync the folder of an upload")),
        }
    }

    /// Uploads to which nothing was added since `before`, with what they are for.
    pub fn stale(&self, before: SystemTime) -> Result<Vec<(UploadId, Key)>, StorageError> {
        let mut stale = Vec::new();
        for id in self.all()? {
            // A part that comes in changes the folder.
            let changed = fs::metadata(self.folder(&id)).and_then(|metadata| metadata.modified());
            let Ok(changed) = changed else { continue };
            if changed < before
                && let Ok((key, _)) = self.record(&id)
            {
                stale.push((id, key));
            }
        }
        Ok(stale)
    }
}

/// The bytes that count for the part in a file; none if there is no such file.
pub(crate) fn part_bytes(file: &Path) -> Result<u64, StorageError> {
    match fs::metadata(file) {
        Ok(metadata) => Ok(metadata.len().saturating_sub(HEADER_BYTES)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failed("look at a part of an upload")(error)),
    }
}
