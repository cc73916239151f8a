//! Writes an OCI layout archive of one layer, in one pass over the root file system's tar stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use alcove_runner_api::v1::ImageDigest;
use serde::Deserialize;
use serde_json::json;
use tar::{EntryType, Header};

use super::content::{Fingerprint, Sha256Digest};

/// What an image's recipe says about it, in the words of the OCI specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct BuildConfig {
    pub user: String,
    pub working_dir: String,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
}

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    #[error("cannot read the root file system")]
    Input(#[source] io::Error),
    #[error("the root file system is empty")]
    Empty,
    #[error("cannot write the archive {}", path.display())]
    Output {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Half again as much work as level 1 for 13 % less: 1.96 against 1.38 s for the default image.
const ZSTD_LEVEL: i32 = 3;

const BLOCK: u64 = 512;

const BUFFER: usize = 1024 * 1024;

/// Writes `out` from `rootfs`, a plain tar stream, with one zstd layer. The file appears under its name when it is
/// whole. The same input makes the same bytes.
pub fn write_oci_archive(
    rootfs: impl Read,
    config: &BuildConfig,
    out: &Path,
) -> Result<ImageDigest, BuildError> {
    let fail = |source| BuildError::Output {
        path: out.to_owned(),
        source,
    };
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    let layer = write_layer(rootfs, file.as_file_mut(), fail)?;
    let digest = write_descriptions(file.as_file_mut(), &layer, config).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    // Temporary files are readable by their owner only; an archive is for everyone who may see its folder.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(permissions).map_err(fail)?;
    file.persist(out).map_err(|error| fail(error.error))?;
    Ok(digest)
}

struct Layer {
    blob: Sha256Digest,
    blob_bytes: u64,
    diff_id: Sha256Digest,
}

/// Copies and hashes.
struct Hashed<T> {
    inner: T,
    seen: Fingerprint,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            seen: Fingerprint::default(),
        }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.seen.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The layer goes straight to its place in the archive. Its name and length are known only at the end, so its
/// header is written last.
fn write_layer(
    rootfs: impl Read,
    file: &mut File,
    fail: impl Fn(io::Error) -> BuildError + Copy,
) -> Result<Layer, BuildError> {
    file.seek(SeekFrom::Start(BLOCK)).map_err(fail)?;
    let (plain, packed) = compress(rootfs, file, fail)?;
    let (diff_id, plain_bytes) = plain.finish();
    let (blob, blob_bytes) = packed.finish();
    if plain_bytes == 0 {
        return Err(BuildError::Empty);
    }
    let mut write_header = || -> io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(header(&blob_name(blob), blob_bytes).as_bytes())?;
        let end = file.seek(SeekFrom::End(0))?;
        file.set_len(end.next_multiple_of(BLOCK))?;
        file.seek(SeekFrom::End(0))?;
        Ok(())
    };
    write_header().map_err(fail)?;
    Ok(Layer {
        blob,
        blob_bytes,
        diff_id,
    })
}

/// What went in, and what came out.
fn compress(
    rootfs: impl Read,
    file: &mut File,
    fail: impl Fn(io::Error) -> BuildError + Copy,
) -> Result<(Fingerprint, Fingerprint), BuildError> {
    let output = Hashed::new(BufWriter::with_capacity(BUFFER, file));
    let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL).map_err(fail)?;
    let mut plain = Fingerprint::default();
    let mut input = BufReader::with_capacity(BUFFER, rootfs);
    loop {
        let chunk = input.fill_buf().map_err(BuildError::Input)?;
        if chunk.is_empty() {
            break;
        }
        plain.update(chunk);
        encoder.write_all(chunk).map_err(fail)?;
        let count = chunk.len();
        input.consume(count);
    }
    let mut output = encoder.finish().map_err(fail)?;
    output.flush().map_err(fail)?;
    Ok((plain, output.seen))
}

fn write_descriptions(
    file: &mut File,
    layer: &Layer,
    config: &BuildConfig,
) -> io::Result<ImageDigest> {
    let mut shown = serde_json::Map::new();
    let texts = [("User", &config.user), ("WorkingDir", &config.working_dir)];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        shown.insert(key.to_owned(), json!(text));
    }
    let lists = [
        ("Env", &config.env),
        ("Entrypoint", &config.entrypoint),
        ("Cmd", &config.cmd),
    ];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        shown.insert(key.to_owned(), json!(list));
    }
    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": shown,
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
        "history": [{ "created_by": "alcove" }],
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Sha256Digest::of(configuration.as_bytes()),
            "size": configuration.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
            "digest": layer.blob,
            "size": layer.blob_bytes,
        }],
    })
    .to_string();
    let digest = Sha256Digest::of(manifest.as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": manifest.len(),
            "platform": { "architecture": "amd64", "os": "linux" },
        }],
    })
    .to_string();
    let config_name = blob_name(Sha256Digest::of(configuration.as_bytes()));
    write_part(file, &config_name, configuration.as_bytes())?;
    write_part(file, &blob_name(digest), manifest.as_bytes())?;
    write_part(file, "index.json", index.as_bytes())?;
    write_part(file, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    file.write_all(&[0; 1024])?;
    Ok(ImageDigest(digest.to_string()))
}

fn blob_name(digest: Sha256Digest) -> String {
    format!("blobs/sha256/{}", digest.to_hex())
}

fn header(name: &str, bytes: u64) -> Header {
    let mut header = Header::new_ustar();
    // All our names are shorter than the field's 100 bytes.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header.set_cksum();
    header
}

fn write_part(file: &mut File, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut part = header(name, bytes.len() as u64).as_bytes().to_vec();
    part.extend_from_slice(bytes);
    part.resize(part.len().next_multiple_of(512), 0);
    file.write_all(&part)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
