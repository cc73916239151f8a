//! Brings the images of the command line into the runner's store, each archive once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use alcove_runner::Runner;
use anyhow::Context;
use serde::{Deserialize, Serialize};

/// `NAME=FILE` of the command line.
#[derive(Debug, Clone)]
pub struct NamedImage {
    pub name: String,
    pub archive: PathBuf,
}

impl FromStr for NamedImage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok(Self {
                name: name.to_owned(),
                archive: file.into(),
            }),
            _ => Err("an image is given as NAME=FILE".to_owned()),
        }
    }
}

/// What was imported from where; says whether an archive has changed without reading all of it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sources(BTreeMap<String, Source>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    archive: PathBuf,
    bytes: u64,
    modified_ns: i128,
    digest: String,
}

/// Imports what is new. A start with nothing new costs one `stat` an image.
pub async fn import(
    runner: &Runner,
    data_dir: &Path,
    images: Vec<NamedImage>,
) -> anyhow::Result<()> {
    let list = data_dir.join("images").join("sources.json");
    // A list that is missing or broken costs an import, nothing more.
    let mut sources: Sources = fs::read(&list)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    for NamedImage { name, archive } in images {
        let metadata = fs::metadata(&archive)
            .with_context(|| format!("cannot find the image {name} at {}", archive.display()))?;
        let modified_ns =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let is_there = |source: &Source| {
            (&source.archive, source.bytes, source.modified_ns)
                == (&archive, metadata.len(), modified_ns)
                && runner
                    .images()
                    .iter()
                    .any(|i| i.name == name && i.digest.0 == source.digest)
        };
        if sources.0.get(&name).is_some_and(is_there) {
            continue;
        }
        tracing::info!(image = name, archive = %archive.display(), "importing an image");
        let (importer, from, to) = (runner.clone(), archive.clone(), name.clone());
        let entry = tokio::task::spawn_blocking(move || importer.import_image(&from, &to))
            .await?
            .with_context(|| format!("cannot import the image {name}"))?;
        let bytes = metadata.len();
        sources.0.insert(
            name,
            Source {
                archive,
                bytes,
                modified_ns,
                digest: entry.digest.0,
            },
        );
        let draft = list.with_extension("draft");
        fs::write(&draft, serde_json::to_vec_pretty(&sources)?)
            .and_then(|()| fs::rename(&draft, &list))
            .with_context(|| format!("cannot write {}", list.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_name_and_a_file() {
        let image = "tiny=/x/tiny.oci.tar".parse::<NamedImage>();
        assert!(image.is_ok_and(|i| i.name == "tiny" && i.archive == Path::new("/x/tiny.oci.tar")));
        for text in ["tiny", "=x", "tiny="] {
            assert!(text.parse::<NamedImage>().is_err(), "{text} was accepted");
        }
    }
}
