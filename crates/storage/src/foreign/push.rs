//! Bytes of a sealed draft on their way into the bucket.
//!
//! Small ones go in one request. A larger one goes in parts, which the store keeps until they are joined or given up; a
//! file says which upload it is before the first part is sent, so that what a killed process has begun is given up by the
//! next one.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::multipart::MultipartStore as _;
use object_store::path::Path as Name;
use object_store::{Error, ObjectStoreExt as _, PutPayload};
use serde::{Deserialize, Serialize};

use super::remote::Remote;
use crate::StorageError;
use crate::error::failed;
use crate::faults::{Faults, Step};
use crate::folder::on_disk;

/// Sent in one request, and held in memory meanwhile.
pub(super) const PIECE_BYTES: u64 = 16 << 20;

/// Uploads in parts that we have begun in the bucket, a file each.
#[derive(Debug)]
pub(super) struct Pushes {
    folder: PathBuf,
    /// Names of the files that a task of this process looks after.
    under_way: Mutex<HashSet<String>>,
}

/// Why an object did not get into the bucket, as far as anybody knows.
#[derive(Debug)]
pub(super) struct PushError {
    pub error: StorageError,
    /// The store had all that it needs, and did not refuse it: the object may be there, or come to be.
    pub may_be_there: bool,
}

impl PushError {
    /// Of the request after which the object is there.
    fn of_last(remote: &Remote, step: &'static str, error: Error) -> Self {
        let is_refused = matches!(
            error,
            Error::NotFound { .. }
                | Error::Precondition { .. }
                | Error::AlreadyExists { .. }
                | Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
        );
        Self {
            error: remote.failed(step)(error),
            may_be_there: !is_refused,
        }
    }
}

impl From<StorageError> for PushError {
    fn from(error: StorageError) -> Self {
        Self {
            error,
            may_be_there: false,
        }
    }
}

/// What the file of an upload says.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    id: String,
}

/// An upload that a task looks after. Dropped, the file says that nobody does any more.
struct UnderWay<'a> {
    pushes: &'a Pushes,
    file: String,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.pushes.lock().remove(&self.file);
    }
}

impl Pushes {
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(failed("make the folder of pushes"))?;
        Ok(Self {
            folder: folder.to_owned(),
            under_way: Mutex::default(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &str, id: &str) -> Result<UnderWay<'_>, StorageError> {
        let file = uuid::Uuid::new_v4().simple().to_string();
        let record = Record {
            name: name.to_owned(),
            id: id.to_owned(),
        };
        let text = serde_json::to_vec(&record).map_err(|_| StorageError::Damaged {
            what: "the record of a push cannot be written",
        })?;
        self.lock().insert(file.clone());
        let noted = UnderWay { pushes: self, file };
        File::create_new(self.folder.join(&noted.file))
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .map_err(failed("note what is being pushed"))?;
        Ok(noted)
    }

    fn forget(&self, noted: &UnderWay<'_>) {
        if let Err(error) = fs::remove_file(self.folder.join(&noted.file)) {
            tracing::warn!(%error, "cannot remove the note of a push");
        }
    }

    /// Gives up what no task looks after. Tells how many there were.
    pub async fn give_up_left(&self, remote: &Remote) -> Result<usize, StorageError> {
        let mut count = 0;
        for entry in fs::read_dir(&self.folder).map_err(failed("list the pushes"))? {
            let entry = entry.map_err(failed("list the pushes"))?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if self.lock().contains(&file) {
                continue;
            }
            let text = match fs::read(entry.path()) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("read the note of a push")(error)),
            };
            // One that was cut off names an upload without a part.
            if let Ok(record) = serde_json::from_slice::<Record>(&text)
                && let Ok(name) = Name::parse(&record.name)
            {
                match remote.store.abort_multipart(&name, &record.id).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(remote.failed("give up an upload")(error)),
                }
            }
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove the note of a push")(error));
                }
                _ => count += 1,
            }
        }
        Ok(count)
    }

    /// Makes the file the object `name`, in the place of one that is there.
    pub async fn push(
        &self,
        remote: &Remote,
        faults: &dyn Faults,
        name: &Name,
        file: Arc<File>,
    ) -> Result<(), PushError> {
        let size = file
            .metadata()
            .map_err(failed("look at a draft of an object"))?
            .len();
        if size <= PIECE_BYTES {
            let piece = read(&file, 0, size).await?;
            let put = remote.store.put(name, PutPayload::from_bytes(piece)).await;
            put.map_err(|error| PushError::of_last(remote, "put an object", error))?;
            return Ok(());
        }
        let id = remote.store.create_multipart(name).await;
        let id = id.map_err(remote.failed("begin an upload"))?;
        let noted = self.note(name.as_ref(), &id)?;
        match push_parts(remote, faults, name, &id, &file, size).await {
            Ok(()) => {
                self.forget(&noted);
                Ok(())
            }
            Err(error) => {
                // If that fails too, the note stays, and the upload is given up later.
                match remote.store.abort_multipart(name, &id).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => self.forget(&noted),
                    Err(_) => {}
                }
                Err(error)
            }
        }
    }
}

async fn push_parts(
    remote: &Remote,
    faults: &dyn Faults,
    name: &Name,
    id: &String,
    file: &Arc<File>,
    size: u64,
) -> Result<(), PushError> {
    let hit = |step| faults.at(step).map_err(failed("pass a fault point"));
    hit(Step::PushBegun)?;
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size {
        let piece = read(file, at, (size - at).min(PIECE_BYTES)).await?;
        at += piece.len() as u64;
        let payload = PutPayload::from_bytes(piece);
        let part = remote.store.put_part(name, id, parts.len(), payload).await;
        parts.push(part.map_err(remote.failed("put a part of an upload"))?);
        hit(Step::PartPushed)?;
    }
    let joined = remote.store.complete_multipart(name, id, parts).await;
    joined.map_err(|error| PushError::of_last(remote, "join the parts of an upload", error))?;
    Ok(())
}

async fn read(file: &Arc<File>, at: u64, size: u64) -> Result<Bytes, StorageError> {
    let file = Arc::clone(file);
    on_disk(move || {
        let mut piece = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut piece, at)
            .map_err(failed("read a draft of an object"))?;
        Ok(piece.into())
    })
    .await
}
