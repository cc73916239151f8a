//! Layers that are disks, mounted in the scratch for as long as a root is put together.
//!
//! The same file system may be mounted many times; what was mounted last keeps it, and with it the loop device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::{MountError, MountedDisk, Mounts, RootPlan, step};
use crate::disk::Access;
use crate::image::Layer;

/// Layers that are disks and where they are mounted, by their files.
#[derive(Debug, Clone, Default)]
pub struct MountedLayers(BTreeMap<PathBuf, MountedDisk>);

impl MountedLayers {
    pub fn insert(&mut self, file: PathBuf, disk: MountedDisk) {
        self.0.insert(file, disk);
    }

    pub fn get(&self, file: &Path) -> Option<&MountedDisk> {
        self.0.get(file)
    }

    pub fn disks(&self) -> impl Iterator<Item = &MountedDisk> {
        self.0.values()
    }

    /// The folder with the layer's files, as the mount thread sees it.
    pub(super) fn place(&self, layer: &Layer) -> Result<PathBuf, MountError> {
        match layer {
            Layer::Folder(path) => Ok(path.clone()),
            Layer::Disk(file) => {
                let disk = self.get(file).ok_or_else(|| {
                    step("find a layer")(std::io::Error::from(std::io::ErrorKind::NotFound))
                })?;
                Ok(PathBuf::from(format!("{:x}/upper", disk.0)))
            }
        }
    }
}

impl Mounts {
    /// Mounts the file system on a block device for reading. It must be clean: nothing is written to it.
    pub async fn mount_layer(&self, device: PathBuf) -> Result<MountedDisk, MountError> {
        self.run(move |scratch| scratch.mount_disk(&device, Access::ReadOnly))
            .await
    }
}

pub(super) fn note_tmp(plan: &RootPlan) -> Result<(), MountError> {
    for layer in &plan.layers {
        if plan
            .mounted
            .place(layer)?
            .join("tmp")
            .symlink_metadata()
            .is_ok()
        {
            return Ok(());
        }
    }
    let mut made = plan.made.lock().unwrap_or_else(PoisonError::into_inner);
    made.push((PathBuf::from("tmp"), true));
    Ok(())
}
