//! From an index to the layers of the one image in it that runs here.

use std::collections::BTreeMap;

use oci_spec::image::{
    Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os,
};

use super::content::Sha256Digest;
use super::error::ImageError;
use super::layout::Layout;
use super::limits::Limits;
use super::record::{BuiltConfig, ImageConfig};

const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An index may name indexes; two levels are what tools write.
const INDEX_DEPTH: usize = 3;

/// One layer: the blob that holds it, and what must come out of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSource {
    pub blob: Sha256Digest,
    pub blob_bytes: u64,
    pub diff_id: Sha256Digest,
}

/// An image that was found in a layout.
#[derive(Debug)]
pub struct Found {
    /// Of the manifest.
    pub digest: Sha256Digest,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<LayerSource>,
}

/// Where the descriptions of an image come from: a layout, or a registry. What is given out has the digest and the size
/// that were asked for.
pub trait Descriptions {
    type Error: From<ImageError>;

    /// An index or a manifest; `what` names it in errors.
    fn manifest(
        &self,
        what: &'static str,
        digest: Sha256Digest,
        bytes: u64,
    ) -> Result<Vec<u8>, Self::Error>;

    fn configuration(&self, digest: Sha256Digest, bytes: u64) -> Result<Vec<u8>, Self::Error>;
}

impl Descriptions for Layout {
    type Error = ImageError;

    fn manifest(
        &self,
        what: &'static str,
        digest: Sha256Digest,
        bytes: u64,
    ) -> Result<Vec<u8>, ImageError> {
        self.json_blob(what, digest, bytes)
    }

    fn configuration(&self, digest: Sha256Digest, bytes: u64) -> Result<Vec<u8>, ImageError> {
        self.json_blob("configuration", digest, bytes)
    }
}

/// Finds the image for this platform in a layout.
pub fn find(layout: &Layout, limits: &Limits) -> Result<Found, ImageError> {
    find_below(layout, &layout.index()?, limits)
}

/// Finds the image for this platform below an index, given by its bytes.
pub fn find_below<D: Descriptions>(
    from: &D,
    index: &[u8],
    limits: &Limits,
) -> Result<Found, D::Error> {
    let mut index = parse::<ImageIndex>("index", index)?;
    for _ in 0..INDEX_DEPTH {
        let chosen = choose(index.manifests()).ok_or(ImageError::NoPlatform)?;
        let (digest, bytes) = place(chosen)?;
        if !is_index(chosen.media_type().as_ref()) {
            let manifest = from.manifest("manifest", digest, bytes)?;
            return read_manifest(from, digest, &manifest, limits);
        }
        index = parse("index", &from.manifest("index", digest, bytes)?)?;
    }
    Err(ImageError::TooLarge {
        what: "levels of indexes",
        limit: INDEX_DEPTH as u64,
    }
    .into())
}

/// Whether this media type is that of an index, in the words of OCI or of Docker.
pub fn is_index(media_type: &str) -> bool {
    media_type == MediaType::ImageIndex.as_ref() || media_type == DOCKER_INDEX
}

/// What a registry may answer when it is asked for an image.
pub fn accepted_types() -> String {
    let oci = [MediaType::ImageIndex, MediaType::ImageManifest];
    let oci = oci.iter().map(AsRef::as_ref);
    let all: Vec<&str> = oci.chain([DOCKER_INDEX, DOCKER_MANIFEST]).collect();
    all.join(", ")
}

/// Images for other processors than the host's do not run.
pub fn host_architecture() -> Arch {
    if cfg!(target_arch = "aarch64") {
        Arch::ARM64
    } else {
        Arch::Amd64
    }
}

/// The first manifest for our platform; one that names no platform will do. Attestations, which tools put
/// beside images, name a platform that does not exist.
fn choose(manifests: &[Descriptor]) -> Option<&Descriptor> {
    let usable = |descriptor: &&Descriptor| {
        is_index(descriptor.media_type().as_ref())
            || *descriptor.media_type() == MediaType::ImageManifest
            || descriptor.media_type().as_ref() == DOCKER_MANIFEST
    };
    let ours = |descriptor: &&Descriptor| {
        descriptor.platform().as_ref().is_some_and(|platform| {
            *platform.os() == Os::Linux && *platform.architecture() == host_architecture()
        })
    };
    let any = |descriptor: &&Descriptor| descriptor.platform().is_none();
    let mut usable_ones = manifests.iter().filter(usable);
    usable_ones
        .clone()
        .find(ours)
        .or_else(|| usable_ones.find(any))
}

/// Reads a manifest, whose digest is known to be this one.
pub fn read_manifest<D: Descriptions>(
    from: &D,
    digest: Sha256Digest,
    manifest: &[u8],
    limits: &Limits,
) -> Result<Found, D::Error> {
    let manifest: ImageManifest = parse("manifest", manifest)?;
    let (config_digest, config_bytes) = place(manifest.config())?;
    let configuration = from.configuration(config_digest, config_bytes)?;
    let extensions = extensions(&configuration);
    let configuration: ImageConfiguration = parse("configuration", &configuration)?;
    let architecture = host_architecture();
    if *configuration.os() != Os::Linux || *configuration.architecture() != architecture {
        return Err(ImageError::NoPlatform.into());
    }
    Ok(found(
        digest,
        &manifest,
        &configuration,
        extensions,
        limits,
    )?)
}

fn found(
    digest: Sha256Digest,
    manifest: &ImageManifest,
    configuration: &ImageConfiguration,
    extensions: BuiltConfig,
    limits: &Limits,
) -> Result<Found, ImageError> {
    let descriptors = manifest.layers();
    let diff_ids = configuration.rootfs().diff_ids();
    if descriptors.len() != diff_ids.len() || descriptors.is_empty() {
        return Err(ImageError::LayerCount {
            layers: descriptors.len(),
            diff_ids: diff_ids.len(),
        });
    }
    if descriptors.len() > limits.layers {
        return Err(ImageError::TooLarge {
            what: "layers",
            limit: limits.layers as u64,
        });
    }
    let mut layers = Vec::with_capacity(descriptors.len());
    for (descriptor, diff_id) in descriptors.iter().zip(diff_ids) {
        check_layer_type(descriptor.media_type())?;
        let (blob, blob_bytes) = place(descriptor)?;
        layers.push(LayerSource {
            blob,
            blob_bytes,
            diff_id: diff_id.parse()?,
        });
    }
    Ok(Found {
        digest,
        config: config(configuration, extensions)?,
        layers: without_repeats(layers),
    })
}

/// Overlayfs refuses one folder twice, and images do repeat layers (empty ones, mostly). Only the topmost of
/// equal layers counts: all that a lower one shows, the upper one shows too.
fn without_repeats(layers: Vec<LayerSource>) -> Vec<LayerSource> {
    let mut kept: Vec<LayerSource> = Vec::with_capacity(layers.len());
    for layer in layers.into_iter().rev() {
        if kept.iter().all(|above| above.diff_id != layer.diff_id) {
            kept.push(layer);
        }
    }
    kept.reverse();
    kept
}

fn check_layer_type(media_type: &MediaType) -> Result<(), ImageError> {
    match media_type {
        // The compression is told by the first bytes, so these are all alike.
        MediaType::ImageLayer | MediaType::ImageLayerGzip | MediaType::ImageLayerZstd => Ok(()),
        other if other.as_ref() == DOCKER_LAYER => Ok(()),
        other => Err(ImageError::LayerType {
            media_type: other.as_ref().chars().take(100).collect(),
        }),
    }
}

/// What Docker's tools write beside what the specification has.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Extended {
    config: Option<Extensions>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Extensions {
    on_build: Option<Vec<String>>,
    shell: Option<Vec<String>>,
}

/// Anything that is not as it should be counts as not there: nothing but builds needs it.
fn extensions(bytes: &[u8]) -> BuiltConfig {
    let extended: Extended = serde_json::from_slice(bytes).unwrap_or_default();
    let Extensions { on_build, shell } = extended.config.unwrap_or_default();
    BuiltConfig {
        on_build: on_build.unwrap_or_default(),
        shell: shell.unwrap_or_default(),
        ..BuiltConfig::default()
    }
}

fn config(
    configuration: &ImageConfiguration,
    extensions: BuiltConfig,
) -> Result<ImageConfig, ImageError> {
    let config = whole_config(configuration, extensions)?;
    config.check_size()?;
    Ok(config)
}

fn whole_config(
    configuration: &ImageConfiguration,
    extensions: BuiltConfig,
) -> Result<ImageConfig, ImageError> {
    let Some(config) = configuration.config() else {
        return Ok(ImageConfig::default());
    };
    // Where a name comes twice, the last one counts.
    let mut env = BTreeMap::new();
    for text in config.env().iter().flatten() {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, value)| {
                !name.is_empty() && !name.contains('\0') && !value.contains('\0')
            })
            .ok_or_else(|| ImageError::BadVariable {
                text: text.chars().take(100).collect(),
            })?;
        env.insert(name, value);
    }
    Ok(ImageConfig {
        env: env
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        user: config.user().clone().unwrap_or_default(),
        workdir: config.working_dir().clone().unwrap_or_default(),
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        build: BuiltConfig {
            labels: config
                .labels()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            exposed_ports: config.exposed_ports().iter().flatten().cloned().collect(),
            volumes: config.volumes().iter().flatten().cloned().collect(),
            stop_signal: config.stop_signal().clone().unwrap_or_default(),
            ..extensions
        },
    })
}

fn place(descriptor: &Descriptor) -> Result<(Sha256Digest, u64), ImageError> {
    Ok((descriptor.digest().as_ref().parse()?, descriptor.size()))
}

fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::BadJson { what, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layers(names: &[u8]) -> Vec<LayerSource> {
        let digest = |name: &u8| Sha256Digest::of(&[*name]);
        names
            .iter()
            .map(|name| LayerSource {
                blob: digest(name),
                blob_bytes: 1,
                diff_id: digest(name),
            })
            .collect()
    }

    #[test]
    fn of_equal_layers_the_topmost_is_kept() {
        assert_eq!(without_repeats(layers(b"abacb")), layers(b"acb"));
    }

    proptest! {
        #[test]
        fn each_content_is_kept_once(names in prop::collection::vec(0_u8..6, 0..12)) {
            let kept = without_repeats(layers(&names));
            for layer in layers(&names) {
                prop_assert_eq!(kept.iter().filter(|other| **other == layer).count(), 1);
            }
        }
    }
}
