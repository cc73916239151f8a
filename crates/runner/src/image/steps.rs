//! Images that only builds know: what finished steps have made, and parts of contexts.
//!
//! Each has a name that begins with [`BUILD_PREFIX`], by which a later build finds it. The name is what holds it;
//! [`ImageStore::forget_old_builds`] bounds how many there are.

use std::fs::{self, File, FileTimes};
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use alcove_build::Ignore;
use alcove_runner_api::v1::{ImageDigest, ImageEntry};

use super::capture::identity;
use super::content::Sha256Digest;
use super::error::{EntryError, ImageError, LayerError};
use super::layer;
use super::limits::Limits;
use super::record::{ImageConfig, ImageRecord, VERSION};
use super::store::{Image, ImageStore, read_layer_record};
use super::tar_stream::{EntryKind, TarStream};
use crate::cancel::Cancel;

/// With a plus sign, like all names that no user can give.
pub const BUILD_PREFIX: &str = "+build-";

/// Most finished steps and parts of contexts that are kept for later builds.
pub const BUILDS_KEPT_MAX: usize = 2000;

/// Longest `.dockerignore`.
const IGNORE_MAX_BYTES: u64 = 1 << 20;

/// The name in a context of the file that says what is left out of it.
const IGNORE_NAME: &str = ".dockerignore";

/// Names with this beginning are marks of a layer.
const WHITEOUT: &[u8] = b".wh.";

impl ImageStore {
    /// An image of these layers, lowest first, with this configuration. From then on `name` means it.
    pub fn compose(
        &self,
        name: &str,
        layers: &[Sha256Digest],
        config: ImageConfig,
    ) -> Result<ImageEntry, ImageError> {
        config.check_size()?;
        let layers = topmost(layers);
        let _pin = self.pin(layers.iter().copied());
        let limit = self.limits().layers;
        if layers.len() > limit {
            return Err(ImageError::TooLarge {
                what: "layers",
                limit: limit as u64,
            });
        }
        let mut size_bytes = 0;
        for layer in &layers {
            let path = self.layer_path(*layer);
            let record = read_layer_record(&path)?.ok_or_else(|| ImageError::Store {
                doing: "find",
                path: path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            size_bytes += record.size_bytes;
        }
        let record = ImageRecord {
            version: VERSION,
            digest: identity(&config, &layers),
            layers,
            config,
            size_bytes,
        };
        self.keep_image(record, name)
    }

    /// The contents of an image's layers, lowest first.
    pub fn layers_of(&self, digest: &ImageDigest) -> Result<Vec<Sha256Digest>, ImageError> {
        Ok(self.record(digest)?.layers)
    }

    /// What a build has made under this name, if it is there still. It counts as used just now.
    #[expect(
        clippy::disallowed_methods,
        reason = "decides only which step is forgotten first"
    )]
    pub fn find_built(&self, name: &str) -> Option<Arc<Image>> {
        let image = self.get_by_name(name)?;
        let path = self.image_path(image.digest.0.parse().ok()?);
        let touched = File::open(&path)
            .and_then(|file| file.set_times(FileTimes::new().set_modified(SystemTime::now())));
        if let Err(error) = touched {
            tracing::warn!(%error, "cannot note the use of a finished step");
        }
        Some(image)
    }

    /// Gives an image that is here another name, beside those that it has.
    pub fn name_image(&self, digest: &ImageDigest, name: &str) -> Result<(), ImageError> {
        let digest: Sha256Digest = digest.0.parse()?;
        let mut known = self.known();
        if !known.images.contains_key(&digest) || known.names.get(name) == Some(&digest) {
            return Ok(());
        }
        let mut names = known.names.clone();
        names.insert(name.to_owned(), digest);
        self.write_names(&mut known, names)
    }

    /// Takes their names from the steps that were not used for longest, so that at most [`BUILDS_KEPT_MAX`] have one.
    pub fn forget_old_builds(&self) -> Result<usize, ImageError> {
        self.forget_builds_but(BUILDS_KEPT_MAX)
    }

    pub(super) fn forget_builds_but(&self, kept: usize) -> Result<usize, ImageError> {
        let mut found: Vec<(SystemTime, String)> = self
            .names()
            .into_iter()
            .filter(|(name, _)| name.starts_with(BUILD_PREFIX))
            .map(|(name, digest)| {
                let modified =
                    fs::metadata(self.image_path(digest)).and_then(|found| found.modified());
                (modified.unwrap_or(SystemTime::UNIX_EPOCH), name)
            })
            .collect();
        let Some(surplus) = found.len().checked_sub(kept).filter(|surplus| *surplus > 0) else {
            return Ok(0);
        };
        found.sort_unstable();
        let names: Vec<String> = found
            .into_iter()
            .take(surplus)
            .map(|(_, name)| name)
            .collect();
        self.forget_names(&names)?;
        Ok(surplus)
    }

    /// Unpacks a part of a build's context: as root's, without what `ignore` leaves out. `name` means it from then on.
    pub fn unpack_context(
        &self,
        name: &str,
        archive: impl Read,
        ignore: &Ignore,
        ignore_digest: Sha256Digest,
        cancel: &Cancel,
    ) -> Result<ImageEntry, ImageError> {
        let unpacked = self.new_layer()?;
        let folder = unpacked.path().join("fs");
        let limits = context_limits(self.limits());
        let go_on = || self.may_write(cancel);
        let outcome = layer::unpack_some(archive, &folder, &limits, &go_on, |entry| {
            // Whoever made the archive has ids that mean nothing here.
            (entry.uid, entry.gid) = (0, 0);
            let parts = entry.path.parts();
            if parts.iter().any(|part| part.starts_with(WHITEOUT)) {
                return Err(EntryError::BadWhiteout);
            }
            if matches!(entry.kind, EntryKind::Device) {
                return Err(EntryError::BadPath);
            }
            if ignore.is_empty() {
                return Ok(true);
            }
            let texts: Vec<_> = parts
                .iter()
                .map(|part| String::from_utf8_lossy(part))
                .collect();
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            Ok(texts.is_empty() || !ignore.leaves_out(&texts))
        });
        let (outcome, plain) = outcome.map_err(ImageError::Context)?;
        // Not the digest of the archive: as a layer of an image, the same archive makes other files.
        let digest =
            Sha256Digest::of(format!("alcove context 1 {plain} {ignore_digest}").as_bytes());
        let _pin = self.pin(std::iter::once(digest));
        self.keep_layer(unpacked, digest, outcome)?;
        self.compose(name, &[digest], ImageConfig::default())
    }

    /// The `.dockerignore` of a part of a context, if it is in this one.
    pub fn find_ignore(
        &self,
        archive: impl Read,
        cancel: &Cancel,
    ) -> Result<Option<Vec<u8>>, ImageError> {
        let limits = context_limits(self.limits());
        let go_on = || self.may_write(cancel);
        let plain = layer::plain(archive, &limits, &go_on).map_err(ImageError::Context)?;
        let mut stream = TarStream::new(plain, limits);
        while let Some(entry) = stream.next_entry().map_err(ImageError::Context)? {
            let is_it = matches!(entry.path.parts(), [name] if name == IGNORE_NAME.as_bytes());
            if !is_it || !matches!(entry.kind, EntryKind::File { .. }) {
                continue;
            }
            let mut text = Vec::new();
            (&mut stream)
                .take(IGNORE_MAX_BYTES + 1)
                .read_to_end(&mut text)
                .map_err(|source| ImageError::Context(LayerError::Read(source)))?;
            if text.len() as u64 > IGNORE_MAX_BYTES {
                return Err(ImageError::TooLarge {
                    what: "bytes in .dockerignore",
                    limit: IGNORE_MAX_BYTES,
                });
            }
            return Ok(Some(text));
        }
        Ok(None)
    }
}

/// Owners of a context do not count. The Go client leaves the paths of local files as they were, from the root.
fn context_limits(limits: &Limits) -> Limits {
    Limits {
        owner_id: u64::from(u32::MAX),
        takes_absolute_paths: true,
        ..*limits
    }
}

/// Layers without those that come again higher up. Overlayfs refuses one folder twice, and all that a lower one of equal layers shows,
/// the upper one shows too.
pub fn topmost(layers: &[Sha256Digest]) -> Vec<Sha256Digest> {
    let mut kept: Vec<Sha256Digest> = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        if !kept.contains(layer) {
            kept.push(*layer);
        }
    }
    kept.reverse();
    kept
}
