//! Objects: bytes under a name, streamed in and out.
//!
//! [`ObjectStore`] is what others use; [`FolderStore`] keeps the objects in a folder, [`ForeignStore`] in a bucket of
//! another S3 store. An object is whole or not
//! there: it gets its name once all of it is on the disk, and one that is being read stays what it was. Names
//! are a [`Bucket`] and a path whose first part is the organization that the bytes are counted for.
//!
//! Two faces show some of them to clients: [`s3`] the build contexts, [`registry`] images. Who may come in is decided
//! elsewhere, and asked by a trait each.

mod error;
pub mod faults;
mod folder;
mod foreign;
mod key;
mod owner;
mod range;
pub mod registry;
pub mod s3;
mod store;

pub use error::StorageError;
pub use folder::{FolderStore, Limits};
pub use foreign::{ForeignSettings, ForeignStore, SettingsError};
pub use key::{Bucket, Key, KeyError};
pub use owner::remove_all_of;
pub use range::ByteRange;
pub use store::{
    Body, Content, Entry, List, Listing, Object, ObjectStore, Part, PutOptions, UploadId, body_of,
};
