//! Taking away images and layers that nothing needs any more.
//!
//! What is needed is what has a name, what the caller names (images of sandboxes, of archives, of snapshots), and layers
//! of an image that is being made, which are pinned. An image goes before its layers, and a layer is renamed into `tmp`
//! before its files go: a kill at any point leaves a store whose images are whole, and the next start removes the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alcove_runner_api::{Collected, ImageDigest};

use super::content::Sha256Digest;
use super::error::ImageError;
use super::store::{ImageStore, fail, sync_folder};
use crate::faults::Step;

/// Layers of images that are being made, and how many makers each has.
#[derive(Debug, Default)]
pub struct Pins(Mutex<BTreeMap<Sha256Digest, usize>>);

impl Pins {
    fn layers(&self) -> MutexGuard<'_, BTreeMap<Sha256Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps layers from being taken away for as long as it lives.
#[derive(Debug)]
pub struct Pin<'a> {
    pins: &'a Pins,
    layers: Vec<Sha256Digest>,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut pinned = self.pins.layers();
        for layer in &self.layers {
            if let Some(count) = pinned.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    pinned.remove(layer);
                }
            }
        }
    }
}

impl ImageStore {
    /// Keeps these layers, there or yet to come, until the pin is dropped. To be taken before the first look at whether
    /// they are there.
    pub(super) fn pin(&self, layers: impl Iterator<Item = Sha256Digest>) -> Pin<'_> {
        let layers: Vec<_> = layers.collect();
        // With the lock of the collector, which must not be between its decision and the renames.
        let _known = self.known();
        let mut pinned = self.pins().layers();
        for layer in &layers {
            *pinned.entry(*layer).or_default() += 1;
        }
        drop(pinned);
        Pin {
            pins: self.pins(),
            layers,
        }
    }

    /// Takes a name away from its image. One that nobody has is no error.
    pub fn forget_name(&self, name: &str) -> Result<(), ImageError> {
        let mut known = self.known();
        if !known.names.contains_key(name) {
            return Ok(());
        }
        let mut names = known.names.clone();
        names.remove(name);
        self.write_names(&mut known, names)?;
        self.hit(Step::NameForgotten)
    }

    /// Removes every image that has no name and is not needed, and every layer that is of no image then.
    pub fn collect(&self, needed: &BTreeSet<ImageDigest>) -> Result<Collected, ImageError> {
        let mut collected = Collected::default();
        let layers = {
            let mut known = self.known();
            let named: BTreeSet<Sha256Digest> = known.names.values().copied().collect();
            let removed: Vec<Sha256Digest> = known
                .images
                .iter()
                .filter(|(digest, image)| {
                    !named.contains(*digest) && !needed.contains(&image.digest)
                })
                .map(|(digest, _)| *digest)
                .collect();
            for digest in removed {
                let path = self.image_path(digest);
                fs::remove_file(&path).map_err(fail("remove", &path))?;
                known.images.remove(&digest);
                collected.images += 1;
                tracing::info!(image.digest = %digest, "removed the image {digest}, which nothing needs");
            }
            // A layer must not go while its image may come back after a loss of power.
            let images = self.image_path(Sha256Digest::of(b""));
            if let (Some(folder), true) = (images.parent(), collected.images > 0) {
                sync_folder(folder)?;
            }
            if collected.images > 0 {
                self.hit(Step::ImagesRemoved)?;
            }
            self.set_aside(&known, &mut collected)?
        };
        if !layers.is_empty() {
            self.hit(Step::LayersAside)?;
        }
        for layer in layers {
            fs::remove_dir_all(&layer).map_err(fail("remove", &layer))?;
        }
        let downloads = self.downloads().remove_old();
        let tmp = self.tmp();
        collected.downloads = downloads.map_err(fail("look for old downloads beside", &tmp))?;
        Ok(collected)
    }

    /// Renames the layers that nothing needs, and tells where they are. The lock is held: whoever begins to make an
    /// image finds a layer whole, or not at all.
    fn set_aside(
        &self,
        known: &super::store::Known,
        collected: &mut Collected,
    ) -> Result<Vec<std::path::PathBuf>, ImageError> {
        // An image that could not be read when the store was opened may need any layer.
        if known.has_unreadable {
            return Ok(Vec::new());
        }
        let mut needed: BTreeSet<String> = BTreeSet::new();
        for image in known.images.values() {
            let folders = image
                .layers
                .iter()
                .filter_map(|layer| layer.path().parent());
            let names = folders.filter_map(|folder| folder.file_name()?.to_str());
            needed.extend(names.map(str::to_owned));
        }
        needed.extend(self.pins().layers().keys().map(|layer| layer.to_hex()));
        let layers = self.layer_path(Sha256Digest::of(b""));
        let layers = layers.parent().unwrap_or(&layers).to_owned();
        let mut aside = Vec::new();
        for layer in fs::read_dir(&layers).map_err(fail("read", &layers))? {
            let layer = layer.map_err(fail("read", &layers))?;
            let name = layer.file_name();
            if name.to_str().is_some_and(|name| needed.contains(name)) {
                continue;
            }
            // The name may be there from a removal that failed halfway.
            let tmp = self.tmp();
            let mut to = tmp.join(&name);
            for number in 0_u32.. {
                if !to.exists() {
                    break;
                }
                to = tmp.join(format!("{}-{number}", name.to_string_lossy()));
            }
            fs::rename(layer.path(), &to).map_err(fail("remove", &layer.path()))?;
            collected.layers += 1;
            aside.push(to);
        }
        Ok(aside)
    }
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
