//! Objects in a bucket of another S3 store.
//!
//! ```text
//! PREFIX/objects/BUCKET/=OWNER/=…   an object, as the folder has it: header and content
//! PREFIX/marks/BUCKET/=OWNER/=…     when it was refreshed
//! ```
//!
//! What comes in is collected and hashed in a folder of this host first, where uploads in parts stay until they are
//! finished. Then the whole goes into the bucket, and only after that it is acknowledged. A kill at any moment leaves the
//! old object or the new one. Names change under a lock each, so one process at a time may use a prefix.
//!
//! Nothing is asked of the store before there is something to do with it, so a store that is away holds up no start.

mod client;
mod doubts;
mod list;
mod move_in;
mod names;
mod push;
mod remote;
mod settings;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::{Error, ObjectMeta};
use tokio::sync::{MutexGuard, OnceCell, Semaphore};
use tracing::Instrument as _;

use crate::faults::{Faults, NoFaults, Step};
use crate::folder::draft::Sealed;
use crate::folder::header::{HEADER_BYTES, Said};
use crate::folder::ledger::Settled;
use crate::{
    Body, Bucket, ByteRange, Content, FolderStore, Key, Limits, List, Listing, Object, ObjectStore,
    Part, PutOptions, StorageError, UploadId,
};
use doubts::{Doubts, LATE};
use push::{PushError, Pushes};
use remote::{Remote, modified};

pub use settings::{ForeignSettings, SettingsError};

/// How often, and for how long, a request is made again that the store did not answer.
const RETRY: Retry = Retry {
    times: 3,
    longest: Duration::from_secs(15),
};
/// Objects that go into the bucket beside each other; each has a piece in memory.
const PUSHES: usize = 4;
/// Locks for names. Two names may share one.
const TURNS: usize = 64;
/// An object that is replaced while a range of it is read is looked at again, so often.
const READ_ATTEMPTS: usize = 3;

struct Retry {
    times: usize,
    longest: Duration,
}

/// Whether an owner's objects in a bucket have been counted.
type Counted = HashMap<(Bucket, String), Arc<OnceCell<()>>>;

/// Objects in a bucket of another store. Clones are the same one.
#[derive(Debug, Clone)]
pub struct ForeignStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    remote: Remote,
    /// Holds drafts and uploads in parts, and no object.
    staging: FolderStore,
    faults: Arc<dyn Faults>,
    pushes: Pushes,
    pushers: Arc<Semaphore>,
    counted: Mutex<Counted>,
    doubts: Doubts,
    turns: [tokio::sync::Mutex<()>; TURNS],
}

impl ForeignStore {
    /// Opens the bucket, with a folder for what is on its way there.
    pub async fn open(
        settings: ForeignSettings,
        folder: &Path,
        limits: Limits,
    ) -> Result<Self, StorageError> {
        Self::open_with_faults(settings, folder, limits, Arc::new(NoFaults)).await
    }

    /// Like [`ForeignStore::open`], with somebody who can make steps fail. For tests.
    pub async fn open_with_faults(
        settings: ForeignSettings,
        folder: &Path,
        limits: Limits,
        faults: Arc<dyn Faults>,
    ) -> Result<Self, StorageError> {
        let remote = Remote::new(settings)?;
        let staging = FolderStore::open_with_faults(folder, limits, Arc::clone(&faults)).await?;
        let pushes = Pushes::open(&folder.join("pushes"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                remote,
                staging,
                faults,
                pushes,
                pushers: Arc::new(Semaphore::new(PUSHES)),
                counted: Mutex::default(),
                doubts: Doubts::default(),
                turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            }),
        })
    }
}

impl Shared {
    /// Nobody else changes what this name stands for meanwhile.
    async fn turn(&self, key: &Key) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        let number = usize::try_from(hash % TURNS as u64).unwrap_or_default();
        self.turns[number].lock().await
    }

    /// Counts what an owner has before the first change of it.
    async fn count(&self, key: &Key) -> Result<(), StorageError> {
        let (bucket, owner) = (key.bucket(), key.owner());
        let cell = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(counted.entry((bucket, owner.to_owned())).or_default())
        };
        cell.get_or_try_init(|| async {
            let found = self.remote.count(bucket, owner).await?;
            self.staging.ledger().found(bucket, owner, found);
            Ok::<(), StorageError>(())
        })
        .await?;
        let due = self.doubts.due(Some((bucket, owner)));
        self.look_again(due).await
    }

    /// Counts what these names stand for by now.
    async fn look_again(&self, names: Vec<Key>) -> Result<(), StorageError> {
        for key in names {
            let name = self.remote.object(&key)?;
            let _turn = self.turn(&key).await;
            let found = self
                .remote
                .look(&name)
                .await?
                .map(|meta| content_bytes(&meta));
            self.doubts.settle(self.staging.ledger(), &key, found);
        }
        Ok(())
    }

    /// Brings a sealed draft into the bucket. Once that has begun, it ends: whoever goes away meanwhile has sent all of
    /// the object, and what the bucket takes counts.
    async fn publish(
        self: &Arc<Self>,
        key: &Key,
        sealed: Sealed,
        said: Said,
        only_new: bool,
    ) -> Result<Object, StorageError> {
        // Waited for here, so that of those who go away at most as many are left behind.
        let pusher = Arc::clone(&self.pushers).acquire_owned().await;
        let (shared, key) = (Arc::clone(self), key.clone());
        let push = async move {
            let _pusher = pusher;
            shared.push(&key, sealed, said, only_new).await
        };
        let done = tokio::spawn(push.in_current_span()).await;
        done.unwrap_or_else(|error| Err(StorageError::foreign("put an object", error)))
    }

    async fn push(
        &self,
        key: &Key,
        sealed: Sealed,
        said: Said,
        only_new: bool,
    ) -> Result<Object, StorageError> {
        let name = self.remote.object(key)?;
        let _turn = self.turn(key).await;
        let replaced = self.remote.look(&name).await?;
        let replaced = replaced.map(|meta| content_bytes(&meta));
        let ledger = self.staging.ledger();
        self.doubts.settle(ledger, key, replaced);
        if only_new && replaced.is_some() {
            return Err(StorageError::Exists);
        }
        let (size, sha256) = (sealed.size, sealed.sha256);
        // Dropped on the way, the old object counts again.
        let settled = Settled::new(ledger, key, sealed.hold, size, replaced)?;
        let file = Arc::new(sealed.file);
        let faults = self.faults.as_ref();
        let pushed = self.pushes.push(&self.remote, faults, &name, file).await;
        if let Err(PushError {
            error,
            may_be_there,
        }) = pushed
        {
            if !may_be_there {
                return Err(error);
            }
            let found = self.remote.header(&name).await;
            return match found.map(|found| found.map(|(object, _)| object)) {
                // Only the answer was lost.
                Ok(Some(object)) if is_it(&object, size, sha256, &said) => {
                    settled.keep();
                    self.hit(Step::Pushed)?;
                    Ok(object)
                }
                Ok(_) => {
                    drop(settled);
                    self.doubts.note(key, replaced, LATE);
                    Err(error)
                }
                Err(_) => {
                    settled.keep();
                    self.doubts.note(key, Some(size), Duration::ZERO);
                    Err(error)
                }
            };
        }
        settled.keep();
        self.hit(Step::Pushed)?;
        let meta = self.remote.look(&name).await?;
        Ok(Object {
            size,
            sha256,
            // Removed by somebody else already, it is as old as the store is for us.
            modified: meta.map_or(SystemTime::UNIX_EPOCH, |meta| modified(&meta)),
            content_type: said.content_type,
            metadata: said.metadata,
        })
    }

    fn hit(&self, step: Step) -> Result<(), StorageError> {
        self.faults
            .at(step)
            .map_err(crate::error::failed("pass a fault point"))
    }

    /// Removes an object, if that is to be once it is looked at.
    async fn delete(&self, key: &Key, before: Option<SystemTime>) -> Result<bool, StorageError> {
        let (name, mark) = (self.remote.object(key)?, self.remote.mark(key)?);
        self.count(key).await?;
        let _turn = self.turn(key).await;
        let found = self.remote.look(&name).await?;
        let bytes = found.as_ref().map(content_bytes);
        self.doubts.settle(self.staging.ledger(), key, bytes);
        let Some(meta) = found else {
            return Ok(false);
        };
        let marked = self.remote.look(&mark).await?;
        if let Some(before) = before {
            let newest = marked.as_ref().map(modified).max(Some(modified(&meta)));
            if newest >= Some(before) {
                return Ok(false);
            }
        }
        self.remote.delete(&name).await?;
        self.staging.ledger().removed(key, content_bytes(&meta));
        self.hit(Step::Deleted)?;
        if marked.is_some() {
            self.remote.delete(&mark).await?;
        }
        Ok(true)
    }

    /// A range of an object, all of it of the same one.
    async fn range(&self, key: &Key, range: ByteRange) -> Result<Option<Content>, StorageError> {
        let name = self.remote.object(key)?;
        for _ in 0..READ_ATTEMPTS {
            let Some((object, e_tag)) = self.remote.header(&name).await? else {
                return Ok(None);
            };
            let range = range
                .within(object.size)
                .ok_or(StorageError::BadRange { size: object.size })?;
            let stored = (HEADER_BYTES + range.0, HEADER_BYTES + range.1);
            match self.remote.get(&name, Some(stored), e_tag).await {
                Ok(Some(got)) => {
                    return Ok(Some(Content {
                        object,
                        range,
                        body: self.remote.body(got),
                    }));
                }
                // Replaced or removed since.
                Ok(None) | Err(Error::Precondition { .. }) => {}
                Err(error) => return Err(self.remote.failed("read an object")(error)),
            }
        }
        Err(StorageError::foreign(
            "read an object",
            std::io::Error::from(std::io::ErrorKind::ResourceBusy),
        ))
    }
}

/// Without its header.
fn content_bytes(meta: &ObjectMeta) -> u64 {
    meta.size.saturating_sub(HEADER_BYTES)
}

/// Whether this is the object that was pushed, or one that does not differ from it.
fn is_it(object: &Object, size: u64, sha256: [u8; 32], said: &Said) -> bool {
    (object.size, object.sha256) == (size, sha256)
        && object.content_type == said.content_type
        && object.metadata == said.metadata
}

#[async_trait]
impl ObjectStore for ForeignStore {
    async fn put(
        &self,
        key: &Key,
        body: Body,
        options: PutOptions,
    ) -> Result<Object, StorageError> {
        // Before anything is taken in: the store may be away.
        self.shared.count(key).await?;
        let (sealed, said, only_new) = self.shared.staging.take_in(key, body, options).await?;
        self.shared.publish(key, sealed, said, only_new).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Object>, StorageError> {
        let name = self.shared.remote.object(key)?;
        let found = self.shared.remote.header(&name).await?;
        Ok(found.map(|(object, _)| object))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
    ) -> Result<Option<Content>, StorageError> {
        if let Some(range) = range {
            return self.shared.range(key, range).await;
        }
        let name = self.shared.remote.object(key)?;
        let found = self.shared.remote.whole(&name).await?;
        Ok(found.map(|(object, body)| Content {
            range: (0, object.size),
            object,
            body,
        }))
    }

    async fn list(&self, bucket: Bucket, list: List) -> Result<Listing, StorageError> {
        self.shared.remote.list(bucket, &list).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StorageError> {
        self.shared.delete(key, None).await
    }

    async fn refresh(&self, key: &Key) -> Result<bool, StorageError> {
        let remote = &self.shared.remote;
        let (name, mark) = (remote.object(key)?, remote.mark(key)?);
        let _turn = self.shared.turn(key).await;
        if remote.look(&name).await?.is_none() {
            return Ok(false);
        }
        remote.put_mark(&mark).await?;
        Ok(true)
    }

    async fn delete_older(&self, key: &Key, before: SystemTime) -> Result<bool, StorageError> {
        self.shared.delete(key, Some(before)).await
    }

    async fn upload_begin(&self, key: &Key, options: PutOptions) -> Result<UploadId, StorageError> {
        self.shared.count(key).await?;
        self.shared.staging.upload_begin(key, options).await
    }

    async fn upload_part(
        &self,
        key: &Key,
        upload: &UploadId,
        number: u32,
        body: Body,
        options: PutOptions,
    ) -> Result<Part, StorageError> {
        // An upload may have been begun by an earlier process.
        self.shared.count(key).await?;
        let staging = &self.shared.staging;
        staging
            .upload_part(key, upload, number, body, options)
            .await
    }

    async fn upload_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<Part>, StorageError> {
        self.shared.staging.upload_parts(key, upload).await
    }

    async fn upload_finish(
        &self,
        key: &Key,
        upload: &UploadId,
        into: &Key,
        parts: &[(u32, [u8; 32])],
        options: PutOptions,
    ) -> Result<Object, StorageError> {
        self.shared.count(key).await?;
        let staging = &self.shared.staging;
        let (sealed, said) = staging.join(key, upload, into, parts, &options).await?;
        let published = self.shared.publish(into, sealed, said, options.only_new);
        let object = published.await?;
        self.shared.hit(Step::UploadJoined)?;
        // Killed before this, the upload is there still, and finishing it again does the same.
        staging.bury(key, upload).await?;
        Ok(object)
    }

    async fn upload_abort(&self, key: &Key, upload: &UploadId) -> Result<(), StorageError> {
        self.shared.staging.upload_abort(key, upload).await
    }

    async fn remove_stale_uploads(&self, before: SystemTime) -> Result<usize, StorageError> {
        let stale = self.shared.staging.remove_stale_uploads(before).await?;
        let left = self.shared.pushes.give_up_left(&self.shared.remote).await?;
        self.shared.look_again(self.shared.doubts.due(None)).await?;
        Ok(stale + left)
    }

    fn used_bytes(&self, bucket: Bucket, owner: &str) -> u64 {
        self.shared.staging.used_bytes(bucket, owner)
    }
}
