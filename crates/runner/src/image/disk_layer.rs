//! Layers that are disks.
//!
//! A snapshot of a sandbox keeps a copy of its disk as a layer: the folder that overlayfs wrote to in the sandbox is a
//! lower one in others, with its marks for what was removed or renamed. What is on the disk is neither read nor hashed,
//! so a snapshot takes as long as the copy, which is nothing where the host's file system shares extents. The id of such
//! a layer is made up: it says that it is this layer, and nothing about its content. It never leaves the host.
//!
//! Only the kernel has written these file systems, on a disk that a sandbox had. A sandbox chooses names and contents;
//! the marks are attributes that nobody inside can set.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use alcove_runner_api::v1::{ImageDigest, ImageEntry};

use super::capture::identity;
use super::content::Sha256Digest;
use super::error::ImageError;
use super::record::{DISK_LAYER_VERSION, ImageRecord, LayerKind, LayerRecord, VERSION};
use super::store::{ImageStore, entry, fail};

/// The file in the folder of a layer that is a disk.
const DISK: &str = "disk.ext4";

/// Most layers of an image that are disks. While a sandbox runs, each of its image takes a loop device and what the
/// kernel keeps of a file system, shared with all other sandboxes of that layer.
pub const DISK_LAYERS_MAX: usize = 8;

/// Where the files of a layer are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// In this folder.
    Folder(PathBuf),
    /// In the writable layer on the disk in this file.
    Disk(PathBuf),
}

impl Layer {
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Disk(path) => path,
        }
    }

    /// The file of one that is a disk.
    pub fn disk(&self) -> Option<&Path> {
        match self {
            Self::Folder(_) => None,
            Self::Disk(path) => Some(path),
        }
    }
}

/// A layer that is being made: where its disk is to be written. Removed with this value.
#[derive(Debug)]
pub struct DiskDraft(tempfile::TempDir);

impl DiskDraft {
    pub fn path(&self) -> PathBuf {
        self.0.path().join(DISK)
    }
}

impl ImageStore {
    /// Where to copy a disk to that is to become a layer.
    pub fn draft_disk(&self) -> Result<DiskDraft, ImageError> {
        self.new_folder().map(DiskDraft)
    }

    /// Makes an image of `base` and this disk, whose file system must be clean. An image that has the name already is
    /// the one.
    pub fn capture_disk(
        &self,
        name: &str,
        base: &ImageDigest,
        draft: DiskDraft,
    ) -> Result<ImageEntry, ImageError> {
        if let Some(image) = self.get_by_name(name) {
            return Ok(entry(name, &image));
        }
        let base = self.record(base)?;
        let id = Sha256Digest::of(uuid::Uuid::new_v4().as_bytes());
        let mut layers = base.layers;
        layers.push(id);
        if layers.len() > self.limits().layers {
            return Err(ImageError::TooLarge {
                what: "layers",
                limit: self.limits().layers as u64,
            });
        }
        // Nobody takes the layer away before its image is there.
        let _pin = self.pin(layers.iter().copied());
        let size_bytes = self.keep_disk(draft, id)?;
        let record = ImageRecord {
            version: VERSION,
            digest: identity(&base.config, &layers),
            layers,
            config: base.config,
            size_bytes: base.size_bytes + size_bytes,
        };
        self.keep_image(record, name)
    }

    /// Gives a disk its name as a layer once it is on the host's disk, and tells what it takes there.
    fn keep_disk(&self, draft: DiskDraft, id: Sha256Digest) -> Result<u64, ImageError> {
        let path = draft.path();
        let found = fs::metadata(&path).map_err(fail("look at", &path))?;
        let record = LayerRecord {
            version: DISK_LAYER_VERSION,
            size_bytes: found.blocks() * 512,
            kind: LayerKind::Disk,
        };
        let size_bytes = record.size_bytes;
        self.name_layer(draft.0, id, &record, |folder| {
            for file in [folder.join(DISK), folder.join("layer.json")] {
                File::open(file)?.sync_all()?;
            }
            File::open(folder)?.sync_all()
        })?;
        tracing::info!(
            layer.digest = %id,
            layer.size_bytes = size_bytes,
            "kept a disk as layer {id}"
        );
        Ok(size_bytes)
    }

    /// Where the files of a layer are.
    pub fn layer(&self, id: Sha256Digest) -> Layer {
        let folder = self.layer_path(id);
        let disk = folder.join(DISK);
        if disk.exists() {
            Layer::Disk(disk)
        } else {
            Layer::Folder(folder.join("fs"))
        }
    }

    pub(super) fn new_folder(&self) -> Result<tempfile::TempDir, ImageError> {
        let tmp = self.tmp();
        let make = || -> io::Result<tempfile::TempDir> {
            use std::os::unix::fs::PermissionsExt;
            tempfile::Builder::new()
                .prefix("layer-")
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir_in(&tmp)
        };
        make().map_err(fail("make a folder in", &tmp))
    }
}

#[cfg(test)]
#[path = "disk_layer_tests.rs"]
mod tests;
