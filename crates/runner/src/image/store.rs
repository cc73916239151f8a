//! The store's folder: which images there are, and the layers that they share.
//!
//! ```text
//! <dir>/lock                  held by the one process that has the store open
//! <dir>/names.json            name -> digest of an image
//! <dir>/images/<hex>.json     an image: its configuration and its layers
//! <dir>/layers/<hex>/fs/      an unpacked layer, named by the digest of its plain tar archive
//! <dir>/layers/<hex>/disk.ext4 in place of `fs`: a disk; <hex> is made up then
//! <dir>/layers/<hex>/owners/  who has brought this content from a registry
//! <dir>/downloads/            blobs on their way from a registry; kept over a kill
//! <dir>/tmp/                  what is being made; emptied when the store is opened
//! ```
//!
//! Everything is made in `tmp`, synced, and then renamed: what has its final name is whole, whenever the
//! process died. Layers come before the image that needs them, the image before its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_runner_api::v1::{ImageDigest, ImageEntry};

use super::collect::Pins;
use super::content::Sha256Digest;
use super::disk_layer::Layer;
use super::downloads::Downloads;
use super::error::ImageError;
use super::guard::lock;
use super::layer;
use super::layout::Layout;
use super::limits::Limits;
use super::manifest::{self, LayerSource};
use super::record::{self, ImageConfig, ImageRecord, LayerKind, LayerRecord, NamesRecord, VERSION};
use crate::faults::{Faults, NoFaults, Step};

/// An image that sandboxes can start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub digest: ImageDigest,
    pub config: ImageConfig,
    /// What to stack, lowest first. It must not be changed.
    pub layers: Vec<Layer>,
    /// Bytes of all files in all layers.
    pub size_bytes: u64,
}

/// Images in a folder. All calls block; imports of several images may run side by side.
#[derive(Debug)]
pub struct ImageStore {
    pub(super) dir: PathBuf,
    pub(super) limits: Limits,
    known: Mutex<Known>,
    pins: Pins,
    downloads: Downloads,
    pub(super) faults: Arc<dyn Faults>,
    _lock: File,
}

/// The records on disk, in memory: `get` is on the way of every create.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub images: BTreeMap<Sha256Digest, Arc<Image>>,
    pub names: BTreeMap<String, Sha256Digest>,
    /// There is a record that could not be read. It may need any layer.
    pub has_unreadable: bool,
}

impl ImageStore {
    /// Opens the store in `dir`, which is made if it is missing, and cleans up after a crash.
    ///
    /// An image whose record or layers are damaged is left out, with a warning: importing it again mends it.
    ///
    /// # Errors
    /// [`ImageError::Locked`] if another process has it open.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        Self::open_with(dir, Limits::default())
    }

    /// Like [`open`](Self::open), with other bounds on what is imported.
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self, ImageError> {
        for folder in [
            dir.to_owned(),
            dir.join("images"),
            dir.join("layers"),
            dir.join("tmp"),
        ] {
            // Nobody but root may come near: layers hold set-user-id programs of other people's making.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(fail("make", &folder))?;
        }
        let lock = lock(&dir.join("lock"))?;
        let downloads = dir.join("downloads");
        let store = Self {
            dir: dir.to_owned(),
            limits,
            known: Mutex::default(),
            pins: Pins::default(),
            downloads: Downloads::open(downloads.clone()).map_err(fail("make", &downloads))?,
            faults: Arc::new(NoFaults),
            _lock: lock,
        };
        store.empty_tmp()?;
        let known = store.load()?;
        *store.known() = known;
        Ok(store)
    }

    /// Takes in the image of an OCI layout: a folder, or a tar archive (plain, gzip or zstd). From then on
    /// `name` means this image; one that had the name before stays, without it.
    ///
    /// Importing what is already there costs reading its descriptions and nothing more.
    pub fn import_oci(&self, path: &Path, name: &str) -> Result<ImageEntry, ImageError> {
        check_name(name)?;
        let layout = Layout::open(path, &self.dir.join("tmp"), &self.limits)?;
        let found = manifest::find(&layout, &self.limits)?;
        let _pin = self.pin(found.layers.iter().map(|layer| layer.diff_id));
        let mut size_bytes = 0;
        for layer in &found.layers {
            size_bytes += self.add_layer(&layout, layer)?;
        }
        let record = ImageRecord {
            version: VERSION,
            digest: found.digest,
            layers: found.layers.iter().map(|layer| layer.diff_id).collect(),
            config: found.config,
            size_bytes,
        };
        self.keep_image(record, name)
    }

    /// All images, one entry for each name. One without a name has an entry with an empty name.
    pub fn list(&self) -> Vec<ImageEntry> {
        let known = self.known();
        let mut entries: Vec<_> = known
            .names
            .iter()
            .filter_map(|(name, digest)| Some(entry(name, known.images.get(digest)?)))
            .collect();
        let named: BTreeSet<_> = known.names.values().collect();
        for (digest, image) in &known.images {
            if !named.contains(digest) {
                entries.push(entry("", image));
            }
        }
        entries
    }

    /// The image with this digest.
    pub fn get(&self, digest: &ImageDigest) -> Option<Arc<Image>> {
        let digest = digest.0.parse().ok()?;
        self.known().images.get(&digest).map(Arc::clone)
    }

    /// The image that this name means.
    pub fn get_by_name(&self, name: &str) -> Option<Arc<Image>> {
        let known = self.known();
        known.images.get(known.names.get(name)?).map(Arc::clone)
    }

    /// All names, with the images that they mean.
    pub(super) fn names(&self) -> BTreeMap<String, Sha256Digest> {
        self.known().names.clone()
    }

    /// Takes names away. Names that nobody has are no error.
    pub(crate) fn forget_names(&self, forgotten: &[String]) -> Result<(), ImageError> {
        let mut known = self.known();
        let mut names = known.names.clone();
        names.retain(|name, _| !forgotten.contains(name));
        self.write_names(&mut known, names)
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        // The maps are replaced whole, so a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn image_path(&self, digest: Sha256Digest) -> PathBuf {
        self.dir
            .join("images")
            .join(format!("{}.json", digest.to_hex()))
    }

    pub(super) fn layer_path(&self, diff_id: Sha256Digest) -> PathBuf {
        self.dir.join("layers").join(diff_id.to_hex())
    }

    fn image(&self, record: ImageRecord) -> Image {
        Image {
            digest: ImageDigest(record.digest.to_string()),
            config: record.config,
            layers: record
                .layers
                .iter()
                .map(|diff_id| self.layer(*diff_id))
                .collect(),
            size_bytes: record.size_bytes,
        }
    }

    /// Makes sure that a layer is there, and tells its size.
    fn add_layer(&self, layout: &Layout, layer: &LayerSource) -> Result<u64, ImageError> {
        if let Some(size_bytes) = self.layer_bytes(layer.diff_id)? {
            return Ok(size_bytes);
        }
        let blob = layout.blob("layer", layer.blob, layer.blob_bytes)?;
        // The operator's own doing.
        self.unpack_layer(layer.diff_id, blob, &self.limits, &|| Ok(()))
    }

    /// The size of a layer that is here.
    pub(super) fn layer_bytes(&self, diff_id: Sha256Digest) -> Result<Option<u64>, ImageError> {
        let record = read_layer_record(&self.layer_path(diff_id))?;
        Ok(record.map(|record| record.size_bytes))
    }

    /// Makes a layer out of a blob, and tells its size.
    pub(super) fn unpack_layer(
        &self,
        diff_id: Sha256Digest,
        blob: impl Read,
        limits: &Limits,
        go_on: layer::GoOn<'_>,
    ) -> Result<u64, ImageError> {
        let unpacked = self.new_layer()?;
        let folder = unpacked.path().join("fs");
        let outcome = layer::unpack(blob, diff_id, &folder, limits, go_on);
        let outcome = outcome.map_err(|source| ImageError::Layer {
            digest: diff_id,
            source,
        })?;
        self.keep_layer(unpacked, diff_id, outcome)?;
        Ok(outcome.size_bytes)
    }

    /// Writes down that this owner has brought the content of a layer from a registry.
    pub(super) fn note_owner(&self, diff_id: Sha256Digest, owner: &str) -> Result<(), ImageError> {
        let owners = self.layer_path(diff_id).join("owners");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&owners)?;
            File::create(owners.join(owner))?;
            Ok(())
        };
        write().map_err(fail("write to", &owners))
    }

    /// Whether this owner has brought the content of a layer from a registry before.
    pub(super) fn is_owned(&self, diff_id: Sha256Digest, owner: &str) -> bool {
        let owners = self.layer_path(diff_id).join("owners");
        owners.join(owner).is_file()
    }

    pub(super) fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// The folder of a layer that is being made, with an empty `fs` in it.
    pub(super) fn new_layer(&self) -> Result<tempfile::TempDir, ImageError> {
        let unpacked = self.new_folder()?;
        let folder = unpacked.path().join("fs");
        fs::create_dir(&folder).map_err(fail("make", &folder))?;
        // It becomes the root folder inside, which everyone may read there. On the host the folder around it
        // keeps others out.
        fs::set_permissions(&folder, Permissions::from_mode(0o755))
            .map_err(fail("set the mode of", &folder))?;
        Ok(unpacked)
    }

    /// Gives a layer its name, once all of it is on the disk.
    pub(super) fn keep_layer(
        &self,
        unpacked: tempfile::TempDir,
        diff_id: Sha256Digest,
        outcome: layer::Unpacked,
    ) -> Result<(), ImageError> {
        let record = LayerRecord {
            version: VERSION,
            size_bytes: outcome.size_bytes,
            kind: LayerKind::Files,
        };
        self.name_layer(unpacked, diff_id, &record, |folder| {
            // One sync of the file system in place of one for each of tens of thousands of files.
            Ok(rustix::fs::syncfs(File::open(folder)?)?)
        })?;
        tracing::info!(
            layer.digest = %diff_id,
            layer.size_bytes = outcome.size_bytes,
            layer.skipped_entries = outcome.skipped,
            "unpacked layer {diff_id}"
        );
        Ok(())
    }

    /// Renames what was made in `tmp` to the name of the layer, once `sync` has brought it to the disk.
    pub(super) fn name_layer(
        &self,
        unpacked: tempfile::TempDir,
        id: Sha256Digest,
        record: &LayerRecord,
        sync: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), ImageError> {
        self.hit(Step::LayerUnpacked)?;
        let path = self.layer_path(id);
        let record_path = unpacked.path().join("layer.json");
        fs::write(&record_path, record::encode(record)).map_err(fail("write", &record_path))?;
        sync(unpacked.path()).map_err(fail("sync", unpacked.path()))?;
        match fs::rename(unpacked.path(), &path) {
            Ok(()) => {
                // It has another name now: nothing is left to take away.
                let _ = unpacked.keep();
            }
            // Another import brought the same layer in the meantime. Ours goes.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) => {}
            Err(source) => return Err(fail("rename a new layer to", &path)(source)),
        }
        sync_folder(&self.dir.join("layers"))?;
        self.hit(Step::LayerNamed)
    }

    /// What is written down of an image.
    pub(super) fn record(&self, digest: &ImageDigest) -> Result<ImageRecord, ImageError> {
        let path = self.image_path(digest.0.parse()?);
        let bytes = fs::read(&path).map_err(fail("read", &path))?;
        record::decode(&path, &bytes)
    }

    /// Writes an image down, and that the name means it.
    pub(super) fn keep_image(
        &self,
        record: ImageRecord,
        name: &str,
    ) -> Result<ImageEntry, ImageError> {
        self.keep_image_in(&mut self.known(), record, name)
    }

    /// The same for who holds the lock.
    pub(super) fn keep_image_in(
        &self,
        known: &mut Known,
        record: ImageRecord,
        name: &str,
    ) -> Result<ImageEntry, ImageError> {
        let digest = record.digest;
        // The lock is held over the writes, so that names.json never loses one of two imports, and nobody removes the
        // image before it has its name.
        self.write_record(&self.image_path(digest), &record)?;
        let image = Arc::new(self.image(record));
        let entry = entry(name, &image);
        // Known before it has its name: where that cannot be written, the image still needs its layers for as long as
        // it is written down, and is taken away with them.
        known.images.insert(digest, image);
        self.hit(Step::ImageWritten)?;
        let mut names = known.names.clone();
        names.insert(name.to_owned(), digest);
        self.write_names(known, names)?;
        self.hit(Step::ImageNamed)?;
        Ok(entry)
    }

    pub(super) fn write_names(
        &self,
        known: &mut Known,
        names: BTreeMap<String, Sha256Digest>,
    ) -> Result<(), ImageError> {
        let record = NamesRecord {
            version: VERSION,
            names: names.clone(),
        };
        self.write_record(&self.dir.join("names.json"), &record)?;
        known.names = names;
        Ok(())
    }

    fn write_record<T: serde::Serialize>(&self, path: &Path, record: &T) -> Result<(), ImageError> {
        let tmp = self.dir.join("tmp");
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&tmp)?;
            file.write_all(&record::encode(record))?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(fail("write", path))?;
        // Without this the rename may be lost in a crash, and with it what the caller was told.
        sync_folder(path.parent().unwrap_or(&self.dir))
    }

    pub(super) fn empty_tmp(&self) -> Result<(), ImageError> {
        let tmp = self.dir.join("tmp");
        for left in fs::read_dir(&tmp).map_err(fail("read", &tmp))? {
            let path = left.map_err(fail("read", &tmp))?.path();
            // Removal follows no links; what is in here may come from a hostile layer.
            let removed = if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(fail("remove", &path))?;
        }
        Ok(())
    }

    fn load(&self) -> Result<Known, ImageError> {
        let mut known = Known {
            names: self.load_names()?,
            ..Known::default()
        };
        let mut needed = BTreeSet::new();
        let images = self.dir.join("images");
        for file in fs::read_dir(&images).map_err(fail("read", &images))? {
            let path = file.map_err(fail("read", &images))?.path();
            match self.load_image(&path) {
                Ok((digest, layers, image)) => {
                    needed.extend(layers);
                    known.images.insert(digest, Arc::new(image));
                }
                Err(error) => {
                    known.has_unreadable = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        image.record = %path.display(),
                        "left out the image of {}",
                        path.display()
                    );
                }
            }
        }
        if !known.has_unreadable {
            self.remove_other_layers(&needed)?;
        }
        Ok(known)
    }

    fn load_names(&self) -> Result<BTreeMap<String, Sha256Digest>, ImageError> {
        let path = self.dir.join("names.json");
        match fs::read(&path) {
            Ok(bytes) => Ok(record::decode::<NamesRecord>(&path, &bytes)?.names),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(source) => Err(fail("read", &path)(source)),
        }
    }

    fn load_image(
        &self,
        path: &Path,
    ) -> Result<(Sha256Digest, Vec<Sha256Digest>, Image), ImageError> {
        let bytes = fs::read(path).map_err(fail("read", path))?;
        let record: ImageRecord = record::decode(path, &bytes)?;
        for diff_id in &record.layers {
            let layer = self.layer_path(*diff_id);
            if read_layer_record(&layer)?.is_none() {
                return Err(fail("find", &layer)(io::ErrorKind::NotFound.into()));
            }
        }
        Ok((record.digest, record.layers.clone(), self.image(record)))
    }

    /// Layers that a crash left without an image. Renamed first: a half-removed layer must not keep the name
    /// of a whole one.
    fn remove_other_layers(&self, needed: &BTreeSet<Sha256Digest>) -> Result<(), ImageError> {
        let needed: BTreeSet<_> = needed.iter().map(|digest| digest.to_hex()).collect();
        let layers = self.dir.join("layers");
        let mut removed = 0;
        for layer in fs::read_dir(&layers).map_err(fail("read", &layers))? {
            let layer = layer.map_err(fail("read", &layers))?;
            let name = layer.file_name();
            if name.to_str().is_some_and(|name| needed.contains(name)) {
                continue;
            }
            let away = self.dir.join("tmp").join(&name);
            fs::rename(layer.path(), &away).map_err(fail("remove", &layer.path()))?;
            removed += 1;
        }
        if removed > 0 {
            tracing::info!(layers.removed = removed, "removed {removed} unused layers");
            self.empty_tmp()?;
        }
        Ok(())
    }
}

pub(super) fn fail(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Store {
        doing,
        path,
        source,
    }
}

pub(crate) fn entry(name: &str, image: &Image) -> ImageEntry {
    ImageEntry {
        digest: image.digest.clone(),
        name: name.to_owned(),
        size_bytes: image.size_bytes,
        entrypoint: image.config.entrypoint.clone(),
        user: image.config.user.clone(),
    }
}

fn check_name(name: &str) -> Result<(), ImageError> {
    if name.is_empty() || name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(ImageError::BadName);
    }
    Ok(())
}

pub(super) fn read_layer_record(layer: &Path) -> Result<Option<LayerRecord>, ImageError> {
    let path = layer.join("layer.json");
    match fs::read(&path) {
        Ok(bytes) => record::decode(&path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(fail("read", &path)(source)),
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), ImageError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(fail("sync", path))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
