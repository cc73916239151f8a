//! The images that sandboxes start from: a store in a folder, filled from OCI layouts.
//!
//! An image comes in as an OCI layout (a folder, or a tar archive of one) or from a registry, is checked byte for byte
//! against its digests, and each of its layers is unpacked once per content. What goes out is a list of layers that
//! overlayfs can stack, folders and disks, and the configuration. Nothing here knows mounts or sandboxes.
//!
//! Layers are hostile input. `tar_stream` says what an entry may be, `tree` is the only code that touches the disk
//! with names out of a layer, and it never leaves the folder of the layer: each name is resolved by the
//! kernel with that folder as root.

mod backup;
pub mod build;
mod capture;
mod collect;
mod content;
mod disk_layer;
mod downloads;
mod error;
mod guard;
mod holes;
mod layer;
mod layout;
mod limits;
mod manifest;
mod pax;
mod pull;
mod record;
mod steps;
mod store;
mod tar_stream;
mod tar_writer;
mod tree;
mod tree_file;

#[cfg(test)]
mod testing;

pub(crate) use backup::copy_files;
pub use backup::restore;
pub use capture::Capture;
pub use content::Sha256Digest;
pub use disk_layer::{DISK_LAYERS_MAX, DiskDraft, Layer};
pub use error::{EntryError, ImageError, LayerError};
pub use limits::Limits;
pub use pull::{Progress, PullError, PullParts};
pub use record::{BuiltConfig, ImageConfig};
pub use steps::{BUILD_PREFIX, topmost};
pub(crate) use store::entry;
pub use store::{Image, ImageStore};
