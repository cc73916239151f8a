//! What the store writes down about images and layers. Each file carries the version of its format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::content::Sha256Digest;
use super::error::ImageError;

/// The formats below. A new one is read and written beside the old one for a release.
pub const VERSION: u32 = 1;

/// The format of a layer that is a disk. A server that does not know them leaves out the images that have one.
pub const DISK_LAYER_VERSION: u32 = 2;

/// What an image says about the programs in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageConfig {
    /// `NAME=value`, each name once.
    pub env: Vec<String>,
    /// A name or a number, perhaps with a group after a colon; empty where the image names none.
    pub user: String,
    pub workdir: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// What only those need who build on the image or run it elsewhere.
    #[serde(default, skip_serializing_if = "BuiltConfig::is_empty")]
    pub build: BuiltConfig,
}

/// The rest of what an image says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuiltConfig {
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: BTreeSet<String>,
    pub volumes: BTreeSet<String>,
    pub stop_signal: String,
    pub healthcheck: Option<alcove_build::Healthcheck>,
    pub shell: Vec<String>,
    pub on_build: Vec<String>,
}

/// What may be kept in memory of an image's configuration, for as long as the image is there. Labels of the largest images in use take
/// some tens of kilobytes.
const CONFIG_MAX_BYTES: usize = 256 << 10;

/// What a text of a configuration takes beside its bytes.
const TEXT_BYTES: usize = 64;

impl ImageConfig {
    /// # Errors
    /// It takes more memory than an image may.
    pub(super) fn check_size(&self) -> Result<(), ImageError> {
        if self.memory_bytes() > CONFIG_MAX_BYTES {
            return Err(ImageError::TooLarge {
                what: "bytes in a configuration",
                limit: CONFIG_MAX_BYTES as u64,
            });
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        let Self {
            env,
            user,
            workdir,
            entrypoint,
            cmd,
            build,
        } = self;
        let BuiltConfig {
            labels,
            exposed_ports,
            volumes,
            stop_signal,
            healthcheck,
            shell,
            on_build,
        } = build;
        let lists = [env, entrypoint, cmd, shell, on_build];
        let texts = lists.into_iter().flatten();
        let texts = texts.chain(exposed_ports).chain(volumes);
        let texts = texts.chain(labels.iter().flat_map(|(key, value)| [key, value]));
        let texts = texts.chain(healthcheck.iter().flat_map(|check| &check.test));
        let texts = texts.chain([user, workdir, stop_signal]);
        texts.map(|text| text.len() + TEXT_BYTES).sum()
    }
}

impl BuiltConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `images/<hex of the manifest's digest>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    pub version: u32,
    pub digest: Sha256Digest,
    /// Contents of the layers, lowest first.
    pub layers: Vec<Sha256Digest>,
    pub config: ImageConfig,
    pub size_bytes: u64,
}

/// `layers/<hex of the content's digest>/layer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRecord {
    pub version: u32,
    /// Bytes of all files; of a disk what it takes on the host's.
    pub size_bytes: u64,
    #[serde(default, skip_serializing_if = "LayerKind::is_files")]
    pub kind: LayerKind,
}

/// What stands beside the record of a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LayerKind {
    /// `fs/`, with the files.
    #[default]
    Files,
    /// `disk.ext4`, a disk that a sandbox wrote to.
    Disk,
}

impl LayerKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_files(&self) -> bool {
        *self == Self::Files
    }
}

/// `names.json`: the one place that says which image a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamesRecord {
    pub version: u32,
    pub names: BTreeMap<String, Sha256Digest>,
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

/// Reads a record, telling one from the future from a damaged one.
pub fn decode<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ImageError> {
    let bad = |source| ImageError::BadRecord {
        path: path.to_owned(),
        source,
    };
    let AnyVersion { version } = serde_json::from_slice(bytes).map_err(bad)?;
    if version > DISK_LAYER_VERSION {
        return Err(ImageError::NewerRecord {
            path: path.to_owned(),
            found: version,
            known: DISK_LAYER_VERSION,
        });
    }
    serde_json::from_slice(bytes).map_err(bad)
}

/// A record as it is written: readable by people, with a line end.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(record).expect("plain data can always be written");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn what_the_first_version_wrote_can_be_read() {
        let hex = "ab".repeat(32);
        let written = format!(
            r#"{{"version":1,"digest":"sha256:{hex}","layers":["sha256:{hex}"],"config":{{"env":["A=1"],
            "user":"daytona","workdir":"/home/daytona","entrypoint":[],"cmd":["/bin/sh"]}},"sizeBytes":7}}"#
        );
        let record: ImageRecord = decode(Path::new("x"), written.as_bytes()).unwrap();
        assert_eq!(record.config.user, "daytona");
        assert_eq!(
            decode::<ImageRecord>(Path::new("x"), &encode(&record)).unwrap(),
            record
        );
    }

    #[test]
    fn a_record_of_a_newer_version_is_called_that() {
        let newer = br#"{"version":3,"shape":"unknown"}"#;
        assert!(matches!(
            decode::<NamesRecord>(Path::new("names.json"), newer),
            Err(ImageError::NewerRecord {
                found: 3,
                known: 2,
                ..
            })
        ));
    }
}
