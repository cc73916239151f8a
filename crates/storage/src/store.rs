//! What a store of objects does, whatever it keeps them in.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use crate::{Bucket, ByteRange, Key, StorageError};

/// The bytes of an object, piece by piece.
pub type Body = BoxStream<'static, io::Result<Bytes>>;

/// A body that is in memory already.
pub fn body_of(bytes: impl Into<Bytes>) -> Body {
    stream::iter([Ok(bytes.into())]).boxed()
}

/// What is known of an object besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    pub modified: SystemTime,
    pub content_type: Option<String>,
    /// What the writer had to say about it.
    pub metadata: BTreeMap<String, String>,
}

impl Object {
    /// The hash as lower-case hex digits.
    pub fn sha256_hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

/// An object with (a range of) its bytes.
pub struct Content {
    pub object: Object,
    /// First byte of the body, and the one behind its last.
    pub range: (u64, u64),
    pub body: Body,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("object", &self.object)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// How an object is written.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    pub content_type: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// Refuses content with another hash.
    pub sha256: Option<[u8; 32]>,
    /// Refuses more, where that is less than what the store takes.
    pub max_bytes: Option<u64>,
    /// Refuses to take the place of an object.
    pub only_new: bool,
}

/// Which objects a list holds.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// How their paths begin.
    pub prefix: String,
    /// Only paths behind this one.
    pub after: Option<String>,
    /// At most so many entries and folders.
    pub max: usize,
    /// Whether paths that have a slash behind the prefix become one entry of [`Listing::folders`] each.
    pub by_folder: bool,
}

/// One page of a list, in the order of the paths' bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// Beginnings of paths, up to and with a slash.
    pub folders: Vec<String>,
    /// Where the next page begins ([`List::after`]); None on the last.
    pub next: Option<String>,
    /// Objects that cannot be read. They are not among the entries: a list must not end at them.
    pub damaged: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub object: Object,
}

/// An upload in parts that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = StorageError;

    /// Anything but 32 hex digits names no upload.
    fn from_str(text: &str) -> Result<Self, StorageError> {
        let is_hex = text.len() == 32
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        if is_hex {
            Ok(Self(text.to_owned()))
        } else {
            Err(StorageError::NoSuchUpload)
        }
    }
}

/// One part of an upload, by its number from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub object: Object,
}

/// A place for objects. What is acknowledged is on the disk.
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug + 'static {
    /// Writes an object, in the place of one that is there. Until this answers, there is the old one.
    async fn put(&self, key: &Key, body: Body, options: PutOptions)
    -> Result<Object, StorageError>;

    async fn head(&self, key: &Key) -> Result<Option<Object>, StorageError>;

    /// The object as it is now, to be read at any pace.
    ///
    /// # Errors
    /// [`StorageError::BadRange`] for a range that holds none of its bytes.
    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
    ) -> Result<Option<Content>, StorageError>;

    async fn list(&self, bucket: Bucket, list: List) -> Result<Listing, StorageError>;

    /// Whether there was one.
    async fn delete(&self, key: &Key) -> Result<bool, StorageError>;

    /// Makes an object count as written just now ([`Object::modified`]). Whether there is one.
    async fn refresh(&self, key: &Key) -> Result<bool, StorageError>;

    /// Removes an object that was last written or refreshed before this. Whether it did.
    async fn delete_older(&self, key: &Key, before: SystemTime) -> Result<bool, StorageError>;

    /// Begins an upload in parts. It stays until it is finished or aborted, or nothing was added for a day.
    /// `options` are those of the whole; [`PutOptions::sha256`] and [`PutOptions::only_new`] are looked at by
    /// [`ObjectStore::upload_finish`] and not here.
    async fn upload_begin(&self, key: &Key, options: PutOptions) -> Result<UploadId, StorageError>;

    /// Adds a part, or puts another in its place. Parts may come in any order and beside each other.
    async fn upload_part(
        &self,
        key: &Key,
        upload: &UploadId,
        number: u32,
        body: Body,
        options: PutOptions,
    ) -> Result<Part, StorageError>;

    /// The parts that are there, by number.
    async fn upload_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<Part>, StorageError>;

    /// Makes the object `into`, in the upload's own bucket and of its owner, out of these parts, in rising order,
    /// each as (number, SHA-256). Afterwards the upload is gone.
    async fn upload_finish(
        &self,
        key: &Key,
        upload: &UploadId,
        into: &Key,
        parts: &[(u32, [u8; 32])],
        options: PutOptions,
    ) -> Result<Object, StorageError>;

    /// # Errors
    /// [`StorageError::NoSuchUpload`] if there is none (any more).
    async fn upload_abort(&self, key: &Key, upload: &UploadId) -> Result<(), StorageError>;

    /// Removes uploads to which nothing was added since `before`, and what was begun and is nobody's any more. Tells how
    /// many there were.
    async fn remove_stale_uploads(&self, before: SystemTime) -> Result<usize, StorageError>;

    /// Bytes that are counted for an owner in a bucket, with those of open uploads.
    fn used_bytes(&self, bucket: Bucket, owner: &str) -> u64;
}
