//! What can go wrong with an image, sorted by whose fault it is.

use std::io;
use std::path::PathBuf;

use super::content::Sha256Digest;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    #[error("cannot {doing} {}", path.display())]
    Store {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another process has the image store {} open", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not a record of the image store", path.display())]
    BadRecord {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} has format {found}, and this version knows formats up to {known}", path.display())]
    NewerRecord {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    #[error("an image name has 1 to 255 characters and no control characters")]
    BadName,

    #[error("cannot read the image {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not an OCI layout: it has no {missing}", path.display())]
    NotALayout {
        path: PathBuf,
        missing: &'static str,
    },
    #[error("the OCI layout has version {found}, not 1.x")]
    LayoutVersion { found: String },
    #[error("the image holds more than {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("the {what} of the image is not what the OCI specification says")]
    BadJson {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{text:?} is not a sha256 digest")]
    BadDigest { text: String },
    #[error("there is no image for linux on the processor of this host")]
    NoPlatform,
    #[error("the layout does not hold the {what} {digest}")]
    MissingBlob {
        what: &'static str,
        digest: Sha256Digest,
    },
    #[error("cannot read the {what} {digest}")]
    Blob {
        what: &'static str,
        digest: Sha256Digest,
        #[source]
        source: io::Error,
    },
    #[error("the image has {layers} layers and {diff_ids} names for their contents")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("layers of type {media_type} are not supported")]
    LayerType { media_type: String },
    #[error("the variable {text:?} of the image's configuration is not of the form NAME=value")]
    BadVariable { text: String },
    #[error("cannot read the files of the sandbox")]
    Capture(#[source] io::Error),
    #[error("cannot make a layer of the files of the sandbox")]
    CaptureLayer(#[source] LayerError),
    #[error("cannot unpack a part of the build's context")]
    Context(#[source] LayerError),
    #[error("cannot unpack layer {digest}")]
    Layer {
        digest: Sha256Digest,
        #[source]
        source: LayerError,
    },
}

impl ImageError {
    /// True if the host ran out of space or of inodes.
    pub fn is_disk_full(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<io::Error>()
                && matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            {
                return true;
            }
            source = error.source();
        }
        false
    }
}

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The blob is damaged, shorter or longer than the manifest says, or cannot be decompressed.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    #[error("the content of the layer is {found}, not {expected}")]
    WrongContent {
        expected: Sha256Digest,
        found: Sha256Digest,
    },
    #[error("the tar archive ends in the middle of an entry")]
    Truncated,
    #[error("a header of the tar archive is damaged")]
    BadHeader,
    #[error("the layer holds more than {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("the entry {path:?} is refused")]
    Entry {
        path: String,
        #[source]
        source: EntryError,
    },
    #[error("cannot {doing} the unpacked layer")]
    Finish {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Why one entry of a layer is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    #[error("its path is absolute")]
    Absolute,
    #[error("its path has a '..'")]
    ParentFolder,
    #[error("its path is empty or has a zero byte")]
    BadPath,
    #[error("its path or target is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("it is below more than {limit} folders")]
    TooDeep { limit: usize },
    #[error("its name marks the removal of something that cannot be removed")]
    BadWhiteout,
    #[error("its owner {id} is above {limit}")]
    Owner { id: u64, limit: u64 },
    #[error("its extended header is damaged or too large")]
    BadExtension,
    #[error("the number in its field {field} cannot be read")]
    BadNumber { field: &'static str },
    #[error("sparse files are not supported")]
    Sparse,
    #[error("entries of type {kind:?} are not supported")]
    Kind { kind: char },
    #[error("the root of the layer must be a folder")]
    RootNotFolder,
    #[error("it lies below something that is not a folder of this layer")]
    NotBelowFolder,
    #[error("it would replace a folder")]
    ReplacesFolder,
    #[error("it is a hard link to something that is not a file of this layer")]
    LinkTarget,
    #[error("cannot {doing}")]
    Write {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}
