//! From a registry into the store: descriptions first, then the layers that are not here yet, one after the other.
//!
//! Layers go through the same door as those of a layout. A layer that is here already spares its unpacking, but only
//! whoever has brought it spares the download too: a registry of somebody's own may name any content, and must not get
//! at what others have brought by naming it.

mod error;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alcove_runner_api::{ImageEntry, Pull, PullFaultCode};
use oci_spec::distribution::Reference;
use sha2::{Digest as _, Sha256};

pub use self::error::PullError;
use super::content::{Checked, Sha256Digest};
use super::downloads::{DownloadError, Part, Wanted};
use super::error::ImageError;
use super::layer;
use super::manifest::{self, Descriptions, Found, LayerSource};
use super::record::{ImageRecord, VERSION};
use super::store::{ImageStore, entry};
use crate::cancel::Cancel;
use crate::faults::Step;
use crate::registry::{Client, RegistryError, RegistrySettings, parse_reference};

/// Attempts at one blob or description, with a pause between that doubles.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// One image; what is here after that is not lost, for who pulls again.
const TIME_LIMIT: Duration = Duration::from_hours(1);

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of compressed layers that are here, or need not come.
    pub done_bytes: u64,
    pub total_bytes: u64,
}

/// What a pull needs beside its order.
pub struct PullParts<'a> {
    pub settings: &'a Arc<RegistrySettings>,
    pub cancel: &'a Cancel,
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

impl std::fmt::Debug for PullParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullParts").finish_non_exhaustive()
    }
}

impl ImageStore {
    /// Brings the image of an order into the store under its name; one that has the name already is the one. Blocks
    /// for as long as it takes. Repeating it after an interruption goes on where it was.
    pub fn pull(&self, order: &Pull, parts: &PullParts<'_>) -> Result<ImageEntry, PullError> {
        if let Some(image) = self.get_by_name(&order.name) {
            return Ok(entry(&order.name, &image));
        }
        let reference = parse_reference(&order.reference)?;
        let registry = reference.registry();
        let credentials = order.credentials.as_ref();
        let endpoints = parts
            .settings
            .endpoints(registry, credentials, order.is_plain);
        let mut last = None;
        for endpoint in endpoints {
            let client = Client::new(parts.settings, endpoint, reference.repository())?;
            let puller = Puller {
                store: self,
                client,
                order,
                owner: owner_name(&order.owner),
                parts,
                began: Instant::now(),
            };
            match puller.run(&reference) {
                Ok(image) => return Ok(image),
                Err(error) => {
                    tracing::debug!(
                        registry = puller.client.host(),
                        image.reference = order.reference,
                        "the pull did not succeed: {error}"
                    );
                    // Another endpoint has the same image, so it would be too large there too.
                    let is_final = matches!(
                        error.code(),
                        PullFaultCode::Cancelled
                            | PullFaultCode::HostDiskFull
                            | PullFaultCode::TooLarge
                    );
                    last = Some(error);
                    if is_final {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or(PullError::Cancelled))
    }
}

/// Owners may be called anything; this is short, and fit for a file.
fn owner_name(owner: &str) -> String {
    hex::encode(&Sha256::digest(owner.as_bytes())[..8])
}

struct Puller<'a> {
    store: &'a ImageStore,
    client: Client,
    order: &'a Pull,
    owner: String,
    parts: &'a PullParts<'a>,
    began: Instant,
}

impl Puller<'_> {
    fn run(&self, reference: &Reference) -> Result<ImageEntry, PullError> {
        let found = self.find(reference)?;
        self.store.hit(Step::ImageDescribed)?;
        let total_bytes = found.layers.iter().map(|layer| layer.blob_bytes).sum();
        self.check_size("compressed layers", total_bytes)?;
        // Before the first look at what is there: from here on nobody takes it away.
        let _pin = self
            .store
            .pin(found.layers.iter().map(|layer| layer.diff_id));
        let (mut done_bytes, mut size_bytes) = (0, 0);
        for layer in &found.layers {
            (self.parts.progress)(Progress {
                done_bytes,
                total_bytes,
            });
            size_bytes += self.layer(layer, done_bytes, total_bytes, size_bytes)?;
            self.check_size("files", size_bytes)?;
            done_bytes += layer.blob_bytes;
        }
        let record = ImageRecord {
            version: VERSION,
            digest: found.digest,
            layers: found.layers.iter().map(|layer| layer.diff_id).collect(),
            config: found.config,
            size_bytes,
        };
        // Under the lock of who takes the name away: a pull that was given up by then does not bring it back.
        let mut known = self.store.known();
        self.check_cancel()?;
        let name = &self.order.name;
        Ok(self.store.keep_image_in(&mut known, record, name)?)
    }

    fn find(&self, reference: &Reference) -> Result<Found, PullError> {
        let limits = self.store.limits();
        let asked = reference.digest().or(reference.tag()).unwrap_or("latest");
        let accept = manifest::accepted_types();
        let answer = self.again(|| {
            let answer = self.client.manifest(asked, &accept, limits.json_bytes);
            Ok(answer?)
        })?;
        let digest = Sha256Digest::of(&answer.bytes);
        // What was asked for by its digest has it; what comes by a tag has the one that the registry names.
        for promised in [reference.digest(), answer.digest.as_deref()]
            .into_iter()
            .flatten()
            .filter(|promised| promised.starts_with("sha256:"))
        {
            if promised.parse::<Sha256Digest>()? != digest {
                let reason = format!("its digest is {digest}, not {promised}");
                return Err(self.wrong(&format!("the manifest {asked}"), reason));
            }
        }
        if is_index(&answer.media_type, &answer.bytes) {
            manifest::find_below(self, &answer.bytes, limits)
        } else {
            manifest::read_manifest(self, digest, &answer.bytes, limits)
        }
    }

    /// Sees to it that a layer is here, and tells the size of its files.
    fn layer(
        &self,
        layer: &LayerSource,
        done_bytes: u64,
        total_bytes: u64,
        size_bytes: u64,
    ) -> Result<u64, PullError> {
        self.check_cancel()?;
        if let Some(known) = self.known(layer)? {
            return Ok(known);
        }
        let wanted = Wanted {
            owner: &self.owner,
            digest: layer.blob,
            bytes: layer.blob_bytes,
        };
        let downloads = self.store.downloads();
        downloads.alone(&wanted, || {
            // Another pull may have brought it while this one waited for its turn.
            if let Some(known) = self.known(layer)? {
                return Ok(known);
            }
            let fetched = self.again(|| self.download(&wanted, done_bytes, total_bytes));
            let blob = fetched.inspect_err(|error| {
                if error.code() == PullFaultCode::HostDiskFull {
                    // To be gone on with later, it would keep the disk full until then.
                    downloads.forget(&wanted);
                }
            })?;
            self.store.hit(Step::LayerFetched)?;
            let unpacked = self.unpack(layer, blob, size_bytes);
            // Of no more use, or it would fail the same way again.
            downloads.forget(&wanted);
            let size_bytes = unpacked?;
            self.store.note_owner(layer.diff_id, &self.owner)?;
            self.store.hit(Step::LayerOwned)?;
            Ok(size_bytes)
        })
    }

    /// The size of a layer that is here, if its content is known to be this owner's too.
    fn known(&self, layer: &LayerSource) -> Result<Option<u64>, PullError> {
        if self.store.is_owned(layer.diff_id, &self.owner) {
            return Ok(self.store.layer_bytes(layer.diff_id)?);
        }
        Ok(None)
    }

    fn download(
        &self,
        wanted: &Wanted<'_>,
        done_bytes: u64,
        total_bytes: u64,
    ) -> Result<File, PullError> {
        let open = |from| {
            let blob = self.client.blob(&wanted.digest.to_string(), from)?;
            Ok(Part {
                from: blob.from,
                bytes: blob.bytes,
            })
        };
        let progress = |bytes| {
            if self.parts.cancel.is_cancelled() {
                return Err(DownloadError::Cancelled);
            }
            if self.began.elapsed() > TIME_LIMIT {
                return Err(DownloadError::OutOfTime { limit: TIME_LIMIT });
            }
            // What is still to come counts too: no pull begins that cannot end.
            let left = wanted.bytes.saturating_sub(bytes);
            let room = self.store.room_for(left);
            room.map_err(|source| DownloadError::File {
                doing: "find room for",
                source,
            })?;
            (self.parts.progress)(Progress {
                done_bytes: done_bytes + bytes,
                total_bytes,
            });
            Ok(())
        };
        let downloads = self.store.downloads();
        let fetched = downloads.fetch(wanted, self.client.host(), open, progress);
        fetched.map_err(|source| PullError::Layer {
            digest: wanted.digest,
            source,
        })
    }

    /// Unpacks a layer, or only reads it through where it is unpacked already.
    fn unpack(&self, layer: &LayerSource, blob: File, size_bytes: u64) -> Result<u64, PullError> {
        let blob = Checked::new(blob, layer.blob, layer.blob_bytes);
        let go_on = || self.store.may_write(self.parts.cancel);
        let mut limits = *self.store.limits();
        // Headers and padding come on top of the files.
        let left = self.order.max_bytes.saturating_sub(size_bytes);
        let own = left.saturating_add(left / 2).saturating_add(64 << 20);
        limits.layer_bytes = limits.layer_bytes.min(own);
        let known = self.store.layer_bytes(layer.diff_id)?;
        let done = match known {
            Some(bytes) => layer::check(blob, layer.diff_id, &limits, &go_on)
                .map(|()| bytes)
                .map_err(|source| ImageError::Layer {
                    digest: layer.diff_id,
                    source,
                }),
            None => self
                .store
                .unpack_layer(layer.diff_id, blob, &limits, &go_on),
        };
        done.map_err(|error| {
            if self.parts.cancel.is_cancelled() {
                return PullError::Cancelled;
            }
            if is_too_long(&error) {
                return PullError::TooLarge {
                    what: "files or more",
                    bytes: size_bytes.saturating_add(own),
                    limit: self.order.max_bytes,
                };
            }
            error.into()
        })
    }

    fn check_size(&self, what: &'static str, bytes: u64) -> Result<(), PullError> {
        let limit = self.order.max_bytes;
        if bytes > limit {
            return Err(PullError::TooLarge { what, bytes, limit });
        }
        Ok(())
    }

    fn check_cancel(&self) -> Result<(), PullError> {
        if self.parts.cancel.is_cancelled() {
            return Err(PullError::Cancelled);
        }
        Ok(())
    }

    /// Tries again what failed for a reason that may pass, while anybody wants it and there is time.
    fn again<T>(&self, mut attempt: impl FnMut() -> Result<T, PullError>) -> Result<T, PullError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            self.check_cancel()?;
            self.check_time()?;
            match attempt() {
                Err(error) if error.is_transient() => {
                    tracing::debug!(registry = self.client.host(), "trying again: {error}");
                }
                done => return done,
            }
            self.pause(pause)?;
            pause *= 2;
        }
        self.check_cancel()?;
        self.check_time()?;
        attempt()
    }

    fn check_time(&self) -> Result<(), PullError> {
        if self.began.elapsed() > TIME_LIMIT {
            let host = self.client.host().to_owned();
            let reason = DownloadError::OutOfTime { limit: TIME_LIMIT }.to_string();
            return Err(RegistryError::Unreachable { host, reason }.into());
        }
        Ok(())
    }

    /// Sleeps in small pieces: who cancels does not wait for it.
    fn pause(&self, pause: Duration) -> Result<(), PullError> {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            self.check_cancel()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn wrong(&self, what: &str, reason: String) -> PullError {
        RegistryError::WrongContent {
            host: self.client.host().to_owned(),
            what: what.to_owned(),
            reason,
        }
        .into()
    }

    fn checked(
        &self,
        what: &str,
        digest: Sha256Digest,
        bytes: u64,
        content: Vec<u8>,
    ) -> Result<Vec<u8>, PullError> {
        let found = Sha256Digest::of(&content);
        if found == digest && content.len() as u64 == bytes {
            return Ok(content);
        }
        let reason = format!("it has {} bytes and the digest {found}", content.len());
        Err(self.wrong(&format!("the {what} {digest} of {bytes} bytes"), reason))
    }

    fn check_description(&self, bytes: u64) -> Result<u64, PullError> {
        let limit = self.store.limits().json_bytes;
        if bytes > limit {
            let what = "bytes in a description";
            return Err(ImageError::TooLarge { what, limit }.into());
        }
        Ok(bytes)
    }
}

impl Descriptions for Puller<'_> {
    type Error = PullError;

    fn manifest(
        &self,
        what: &'static str,
        digest: Sha256Digest,
        bytes: u64,
    ) -> Result<Vec<u8>, PullError> {
        let limit = self.check_description(bytes)?;
        let accept = manifest::accepted_types();
        let answer = self.again(|| {
            let answer = self.client.manifest(&digest.to_string(), &accept, limit);
            Ok(answer?)
        })?;
        self.checked(what, digest, bytes, answer.bytes)
    }

    fn configuration(&self, digest: Sha256Digest, bytes: u64) -> Result<Vec<u8>, PullError> {
        let limit = self.check_description(bytes)?;
        let content = self.again(|| {
            let content = self.client.small_blob(&digest.to_string(), limit);
            Ok(content?)
        })?;
        self.checked("configuration", digest, bytes, content)
    }
}

/// The media type of the answer says it; a registry that says nothing leaves it to the document.
fn is_index(media_type: &str, bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    if manifest::is_index(media_type) {
        return true;
    }
    if !matches!(media_type, "" | "application/json" | "text/plain") {
        return false;
    }
    serde_json::from_slice::<Shape>(bytes).is_ok_and(|shape| match shape.media_type {
        Some(media_type) => manifest::is_index(&media_type),
        None => shape.manifests.is_some(),
    })
}

fn is_too_long(error: &ImageError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::FileTooLarge
        {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "pull_interrupted_tests.rs"]
mod interrupted_tests;

#[cfg(test)]
#[path = "pull_bounds_tests.rs"]
mod bounds_tests;
