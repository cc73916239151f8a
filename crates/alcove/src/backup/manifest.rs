//! What is in a backup.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::digest;

/// Raised when an older version could not read it any more.
const FORMAT: u32 = 1;
const NAME: &str = "manifest.json";
const SUM: &str = "manifest.sha256";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub format: u32,
    /// The version that made it.
    pub alcove: String,
    pub made_at: jiff::Timestamp,
    /// The last step of the database's schema.
    pub schema: String,
    pub has_keys: bool,
    pub has_disks: bool,
    /// Objects were kept by another store, and are not in here.
    pub has_foreign_objects: bool,
    pub files: Vec<Item>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Below the backup's folder.
    pub path: String,
    pub bytes: u64,
    pub digest: String,
}

impl Item {
    /// Where it is below a folder.
    ///
    /// # Errors
    /// If it would be elsewhere.
    pub fn below(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = Path::new(&self.path);
        let is_plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if self.path.is_empty() || !is_plain {
            bail!("the manifest names a file elsewhere: {:?}", self.path);
        }
        Ok(folder.join(path))
    }
}

impl Manifest {
    pub fn new(
        has_keys: bool,
        has_disks: bool,
        has_foreign_objects: bool,
        at: jiff::Timestamp,
    ) -> Self {
        let mut steps = alcove_store::schema_steps();
        Self {
            format: FORMAT,
            alcove: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: at,
            schema: steps.pop().unwrap_or_default(),
            has_keys,
            has_disks,
            has_foreign_objects,
            files: Vec::new(),
        }
    }

    /// Takes in every file below a folder. Blocks.
    pub fn add_all(&mut self, folder: &Path) -> anyhow::Result<()> {
        let mut folders = vec![folder.to_owned()];
        while let Some(at) = folders.pop() {
            for entry in
                fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))?
            {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                    continue;
                }
                let (bytes, digest) =
                    digest::of(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let below = path.strip_prefix(folder)?.to_str();
                let below = below.with_context(|| format!("{} is no text", path.display()))?;
                self.files.push(Item {
                    path: below.to_owned(),
                    bytes,
                    digest,
                });
            }
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        let sum = format!("{}  {NAME}\n", hex::encode(Sha256::digest(&text)));
        for (name, text) in [(NAME, text), (SUM, sum)] {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(folder.join(name))
                .with_context(|| format!("cannot write {name}"))?;
            file.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    /// Reads the manifest of a backup that this version can restore.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
            alcove: String,
        }

        let read = |name: &str| {
            fs::read_to_string(folder.join(name))
                .with_context(|| format!("{} is no backup: it has no {name}", folder.display()))
        };
        let (text, sum) = (read(NAME)?, read(SUM)?);
        let found = hex::encode(Sha256::digest(&text));
        if sum.split_whitespace().next() != Some(found.as_str()) {
            bail!("the backup is damaged: {NAME} is not what {SUM} says");
        }
        let version: Version = serde_json::from_str(&text).context("cannot read the manifest")?;
        if version.format != FORMAT {
            bail!(
                "the backup was made by alcove {}, in format {}; this one reads format {FORMAT}",
                version.alcove,
                version.format
            );
        }
        let manifest: Self = serde_json::from_str(&text).context("cannot read the manifest")?;
        if !alcove_store::schema_steps().contains(&manifest.schema) {
            bail!(
                "the backup was made by alcove {}, which is newer: this one does not know its database",
                manifest.alcove
            );
        }
        Ok(manifest)
    }
}
