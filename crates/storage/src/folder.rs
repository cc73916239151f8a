//! Objects in a folder of the host.
//!
//! ```text
//! objects/BUCKET/dOWNER/…/oNAME   an object: header and content
//! uploads/ID/                     an upload in parts
//! drafts/                         what has no name yet; emptied at each start
//! ```
//!
//! A draft is on the disk before it gets its name, and the name before anybody is told. A kill at any moment leaves
//! the old object or the new one. Names change under one lock, so that what is counted is what is there.

pub(crate) mod draft;
pub(crate) mod header;
mod inner;
pub(crate) mod ledger;
mod uploads;
mod walk;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use crate::faults::{Faults, NoFaults, Step};
use crate::{
    Body, Bucket, ByteRange, Content, Key, List, Listing, Object, ObjectStore, Part, PutOptions,
    StorageError, UploadId,
};
use draft::{Draft, Sealed};
use header::{HEADER_BYTES, Said};
use inner::Inner;
use ledger::{Hold, Ledger};
use uploads::PART_NUMBER_MAX;

/// Work on the disk at the same time. The process has few threads for it, and sandboxes need them too.
const DISK_TASKS: usize = 4;
/// Collected before it is written.
const WRITE_BYTES: usize = 1 << 20;
/// Read at a time.
const READ_BYTES: u64 = 256 << 10;
/// A writer that sends nothing for so long is gone.
const SILENT_FOR: Duration = Duration::from_mins(1);

/// How much is taken.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest object.
    pub object_bytes: u64,
    /// All objects and open uploads of an owner in a bucket together.
    pub bytes_per_owner: u64,
    pub objects_per_owner: u64,
    /// Open uploads in parts of an owner in a bucket.
    pub uploads_per_owner: u64,
    /// Disk space that is left to the host.
    pub disk_reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            object_bytes: 5 << 30,
            bytes_per_owner: 20 << 30,
            objects_per_owner: 100_000,
            uploads_per_owner: 100,
            disk_reserve_bytes: 256 << 20,
        }
    }
}

/// Objects in a folder. Clones are the same one. One process at a time may have it open.
#[derive(Debug, Clone)]
pub struct FolderStore {
    inner: Arc<Inner>,
    disk_tasks: Arc<Semaphore>,
}

impl FolderStore {
    /// Opens the folder, makes it where it is not there, and counts what is in it.
    pub async fn open(folder: &Path, limits: Limits) -> Result<Self, StorageError> {
        Self::open_with_faults(folder, limits, Arc::new(NoFaults)).await
    }

    /// Like [`FolderStore::open`], with somebody who can make steps fail. For tests.
    pub async fn open_with_faults(
        folder: &Path,
        limits: Limits,
        faults: Arc<dyn Faults>,
    ) -> Result<Self, StorageError> {
        let folder = folder.to_owned();
        let inner = on_disk(move || Inner::open(&folder, limits, faults)).await?;
        Ok(Self {
            inner: Arc::new(inner),
            disk_tasks: Arc::new(Semaphore::new(DISK_TASKS)),
        })
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    /// Takes content in as a sealed draft, which is no object yet.
    pub(crate) async fn take_in(
        &self,
        key: &Key,
        body: Body,
        options: PutOptions,
    ) -> Result<(Sealed, Said, bool), StorageError> {
        let hold = Hold::new(&self.inner.ledger, key);
        let draft = self.draft(hold, options.max_bytes).await?;
        let draft = self.fill(draft, body).await?;
        self.run(move |inner| {
            let said = Said {
                content_type: options.content_type,
                metadata: options.metadata,
            };
            inner.hit(Step::Filled)?;
            let sealed = draft.seal(&said, options.sha256)?;
            inner.hit(Step::Sealed)?;
            Ok((sealed, said, options.only_new))
        })
        .await
    }

    /// Makes a sealed draft out of the parts of an upload, which stays.
    pub(crate) async fn join(
        &self,
        key: &Key,
        upload: &UploadId,
        into: &Key,
        parts: &[(u32, [u8; 32])],
        options: &PutOptions,
    ) -> Result<(Sealed, Said), StorageError> {
        if (into.bucket(), into.owner()) != (key.bucket(), key.owner()) {
            return Err(StorageError::NoSuchUpload);
        }
        if !parts.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(StorageError::PartOrder);
        }
        let (key, id, parts) = (key.clone(), upload.clone(), parts.to_vec());
        let options = options.clone();
        self.run(move |inner| {
            let said = inner.uploads.find(&key, &id)?;
            let sealed = match parts.as_slice() {
                [only] => inner.take_part(&key, &id, *only, &options)?,
                parts => inner.join_parts(&key, &id, parts, &said, &options)?,
            };
            Ok((sealed, said))
        })
        .await
    }

    /// An object as if it were still to be published elsewhere; None if there is none.
    pub(crate) async fn sealed(&self, key: &Key) -> Result<Option<(Sealed, Object)>, StorageError> {
        let key = key.clone();
        self.run(move |inner| inner.sealed(&key)).await
    }

    /// Removes an upload that is not needed any more, unless it is gone.
    pub(crate) async fn bury(&self, key: &Key, upload: &UploadId) -> Result<(), StorageError> {
        let (key, id) = (key.clone(), upload.clone());
        self.run(move |inner| match inner.bury_upload(&key, &id) {
            Ok(()) | Err(StorageError::NoSuchUpload) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    /// Runs a step on the disk when it is its turn.
    async fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Inner) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        run(&self.disk_tasks, &self.inner, step).await
    }

    /// Writes what comes in to a new draft.
    async fn fill(&self, mut draft: Draft, mut body: Body) -> Result<Draft, StorageError> {
        let mut collected = Vec::new();
        loop {
            let next = tokio::time::timeout(SILENT_FOR, body.next())
                .await
                .map_err(|_| StorageError::Body {
                    source: io::Error::from(io::ErrorKind::TimedOut),
                })?;
            let is_over = next.is_none();
            if let Some(bytes) = next {
                let bytes = bytes.map_err(|source| StorageError::Body { source })?;
                collected.extend_from_slice(&bytes);
            }
            if collected.len() >= WRITE_BYTES || (is_over && !collected.is_empty()) {
                let mut piece = std::mem::take(&mut collected);
                (draft, piece) = self
                    .run(move |_| {
                        draft.write(&piece)?;
                        piece.clear();
                        Ok((draft, piece))
                    })
                    .await?;
                collected = piece;
            }
            if is_over {
                return Ok(draft);
            }
        }
    }

    async fn draft(&self, hold: Hold, max_bytes: Option<u64>) -> Result<Draft, StorageError> {
        self.run(move |inner| {
            let mut draft = Draft::create(inner.drafts.name(), &inner.limits, hold)?;
            if let Some(max) = max_bytes {
                draft.bound(max);
            }
            Ok(draft)
        })
        .await
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put(
        &self,
        key: &Key,
        body: Body,
        options: PutOptions,
    ) -> Result<Object, StorageError> {
        let (sealed, said, only_new) = self.take_in(key, body, options).await?;
        let key = key.clone();
        self.run(move |inner| inner.publish(&key, sealed, said, only_new))
            .await
    }

    async fn head(&self, key: &Key) -> Result<Option<Object>, StorageError> {
        let key = key.clone();
        self.run(move |inner| Ok(inner.open_object(&key)?.map(|(_, object)| object)))
            .await
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
    ) -> Result<Option<Content>, StorageError> {
        let key = key.clone();
        let opened = self.run(move |inner| inner.open_object(&key)).await?;
        let Some((file, object)) = opened else {
            return Ok(None);
        };
        let range = match range {
            None => (0, object.size),
            Some(range) => range
                .within(object.size)
                .ok_or(StorageError::BadRange { size: object.size })?,
        };
        Ok(Some(Content {
            object,
            range,
            body: read(Arc::clone(&self.disk_tasks), file, range),
        }))
    }

    async fn list(&self, bucket: Bucket, list: List) -> Result<Listing, StorageError> {
        self.run(move |inner| walk::list(&inner.objects.join(bucket.as_str()), &list))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StorageError> {
        let key = key.clone();
        self.run(move |inner| inner.delete(&key, |_| true)).await
    }

    async fn refresh(&self, key: &Key) -> Result<bool, StorageError> {
        let key = key.clone();
        self.run(move |inner| inner.refresh(&key)).await
    }

    async fn delete_older(&self, key: &Key, before: SystemTime) -> Result<bool, StorageError> {
        let key = key.clone();
        self.run(move |inner| {
            inner.delete(&key, |found| {
                found.modified().is_ok_and(|modified| modified < before)
            })
        })
        .await
    }

    async fn upload_begin(&self, key: &Key, options: PutOptions) -> Result<UploadId, StorageError> {
        let key = key.clone();
        self.run(move |inner| {
            let said = Said {
                content_type: options.content_type,
                metadata: options.metadata,
            };
            // What does not fit must be told now and not after all the parts.
            header::encode(u64::MAX, [0; 32], &said)?;
            inner.ledger.upload_began(&key)?;
            let begun = inner.uploads.begin(&key, said, &inner.drafts.name());
            if begun.is_err() {
                inner.ledger.upload_ended(&key, 0);
            }
            let id = begun?;
            inner.hit(Step::UploadBegun)?;
            Ok(id)
        })
        .await
    }

    async fn upload_part(
        &self,
        key: &Key,
        upload: &UploadId,
        number: u32,
        body: Body,
        options: PutOptions,
    ) -> Result<Part, StorageError> {
        if !(1..=PART_NUMBER_MAX).contains(&number) {
            return Err(StorageError::BadPart { number });
        }
        let (own, id) = (key.clone(), upload.clone());
        let said = self.run(move |inner| inner.uploads.find(&own, &id)).await?;
        let hold = Hold::new(&self.inner.ledger, key);
        let draft = self.draft(hold, options.max_bytes).await?;
        let draft = self.fill(draft, body).await?;
        let id = upload.clone();
        let object = self
            .run(move |inner| {
                inner.hit(Step::Filled)?;
                let sealed = draft.seal(&said, options.sha256)?;
                inner.hit(Step::Sealed)?;
                inner.publish_part(&id, number, sealed)
            })
            .await?;
        Ok(Part { number, object })
    }

    async fn upload_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<Part>, StorageError> {
        let (key, id) = (key.clone(), upload.clone());
        self.run(move |inner| {
            inner.uploads.find(&key, &id)?;
            inner.uploads.parts(&id)
        })
        .await
    }

    async fn upload_finish(
        &self,
        key: &Key,
        upload: &UploadId,
        into: &Key,
        parts: &[(u32, [u8; 32])],
        options: PutOptions,
    ) -> Result<Object, StorageError> {
        let (sealed, said) = self.join(key, upload, into, parts, &options).await?;
        let into = into.clone();
        let object = self
            .run(move |inner| {
                let object = inner.publish(&into, sealed, said, options.only_new)?;
                inner.hit(Step::UploadJoined)?;
                Ok(object)
            })
            .await?;
        // Killed before this, the upload is there still, and finishing it again does the same.
        self.bury(key, upload).await?;
        Ok(object)
    }

    async fn upload_abort(&self, key: &Key, upload: &UploadId) -> Result<(), StorageError> {
        let (key, id) = (key.clone(), upload.clone());
        self.run(move |inner| {
            inner.uploads.find(&key, &id)?;
            inner.bury_upload(&key, &id)
        })
        .await
    }

    async fn remove_stale_uploads(&self, before: SystemTime) -> Result<usize, StorageError> {
        self.run(move |inner| {
            let stale = inner.uploads.stale(before)?;
            for (id, key) in &stale {
                match inner.bury_upload(key, id) {
                    Ok(()) | Err(StorageError::NoSuchUpload) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(stale.len())
        })
        .await
    }

    fn used_bytes(&self, bucket: Bucket, owner: &str) -> u64 {
        self.inner.ledger.of(bucket, owner).bytes
    }
}

/// The content of an object's file from one byte to another, read as it is asked for.
fn read(tasks: Arc<Semaphore>, file: File, (start, end): (u64, u64)) -> Body {
    let file = Arc::new(file);
    stream::try_unfold(start, move |at| {
        let (tasks, file) = (Arc::clone(&tasks), Arc::clone(&file));
        async move {
            if at >= end {
                return Ok(None);
            }
            let wanted = (end - at).min(READ_BYTES);
            let _turn = tasks.acquire().await.map_err(io::Error::other)?;
            let piece = tokio::task::spawn_blocking(move || read_piece(&file, at, wanted))
                .await
                .map_err(io::Error::other)??;
            let next = at + piece.len() as u64;
            Ok(Some((piece, next)))
        }
    })
    .boxed()
}

fn read_piece(file: &File, at: u64, wanted: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
    let count = file.read_at(&mut piece, HEADER_BYTES + at)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    piece.truncate(count);
    Ok(piece.into())
}

async fn run<T: Send + 'static>(
    tasks: &Semaphore,
    inner: &Arc<Inner>,
    step: impl FnOnce(&Inner) -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let _turn = tasks.acquire().await.map_err(|error| StorageError::Io {
        step: "wait for the disk",
        source: io::Error::other(error),
    })?;
    let inner = Arc::clone(inner);
    on_disk(move || step(&inner)).await
}

pub(crate) async fn on_disk<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(step)
        .await
        .map_err(|error| StorageError::Io {
            step: "work on the disk",
            source: io::Error::other(error),
        })?
}
