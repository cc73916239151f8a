//! Where blobs come from: an OCI layout as a folder, or as a tar archive of one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::Deserialize;
use tar::{Archive, EntryType};

use super::content::{Checked, Sha256Digest};
use super::error::ImageError;
use super::layer::Decoder;
use super::limits::Limits;

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";

/// Entries of an archive that we are ready to pass over on the way to the blobs.
const ARCHIVE_ENTRIES: usize = 100_000;

/// An OCI layout that is open for reading.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    source: Source,
    limits: Limits,
}

#[derive(Debug)]
enum Source {
    Folder(rustix::fd::OwnedFd),
    Archive {
        file: Arc<File>,
        /// Name in the archive, to where its bytes start and how many they are.
        parts: HashMap<String, (u64, u64)>,
    },
}

/// Bytes of a file from one place on, read without moving the file's own position.
#[derive(Debug)]
struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens a folder or an archive. A compressed archive is unpacked once into an unnamed file in `scratch`:
    /// blobs are read in another order than they are written.
    pub fn open(path: &Path, scratch: &Path, limits: &Limits) -> Result<Self, ImageError> {
        let fail = |source| ImageError::Read {
            path: path.to_owned(),
            source,
        };
        let opened = File::open(path).map_err(fail)?;
        let source = if opened.metadata().map_err(fail)?.is_dir() {
            Source::Folder(opened.into())
        } else {
            let file = plain_archive(opened, scratch, limits.archive_bytes).map_err(fail)?;
            let parts = archive_parts(&file).map_err(fail)?;
            Source::Archive {
                file: Arc::new(file),
                parts,
            }
        };
        let layout = Self {
            path: path.to_owned(),
            source,
            limits: *limits,
        };
        layout.check_marker()?;
        Ok(layout)
    }

    fn check_marker(&self) -> Result<(), ImageError> {
        let bytes = self.named(MARKER)?;
        let marker: Marker =
            serde_json::from_slice(&bytes).map_err(|source| ImageError::BadJson {
                what: MARKER,
                source,
            })?;
        let version = marker.image_layout_version;
        if version == "1" || version.starts_with("1.") {
            Ok(())
        } else {
            Err(ImageError::LayoutVersion { found: version })
        }
    }

    /// The bytes of `index.json`.
    pub fn index(&self) -> Result<Vec<u8>, ImageError> {
        self.named(INDEX)
    }

    fn named(&self, name: &'static str) -> Result<Vec<u8>, ImageError> {
        let fail = |source| ImageError::Read {
            path: self.path.clone(),
            source,
        };
        let Some((input, bytes)) = self.open_part(name).map_err(fail)? else {
            return Err(ImageError::NotALayout {
                path: self.path.clone(),
                missing: name,
            });
        };
        self.check_json_size(bytes)?;
        let mut out = Vec::new();
        input.take(bytes).read_to_end(&mut out).map_err(fail)?;
        Ok(out)
    }

    fn check_json_size(&self, bytes: u64) -> Result<(), ImageError> {
        let limit = self.limits.json_bytes;
        if bytes > limit {
            return Err(ImageError::TooLarge {
                what: "bytes in a description",
                limit,
            });
        }
        Ok(())
    }

    /// A reader of one blob that fails where the content is not the one that was promised.
    pub fn blob(
        &self,
        what: &'static str,
        digest: Sha256Digest,
        bytes: u64,
    ) -> Result<Checked<Box<dyn Read + Send>>, ImageError> {
        let opened = self
            .open_part(&format!("blobs/sha256/{}", digest.to_hex()))
            .map_err(|source| ImageError::Blob {
                what,
                digest,
                source,
            })?;
        let Some((input, _)) = opened else {
            return Err(ImageError::MissingBlob { what, digest });
        };
        Ok(Checked::new(input, digest, bytes))
    }

    /// The whole of a small blob.
    pub fn json_blob(
        &self,
        what: &'static str,
        digest: Sha256Digest,
        bytes: u64,
    ) -> Result<Vec<u8>, ImageError> {
        self.check_json_size(bytes)?;
        let mut out = Vec::new();
        self.blob(what, digest, bytes)?
            .read_to_end(&mut out)
            .map_err(|source| ImageError::Blob {
                what,
                digest,
                source,
            })?;
        Ok(out)
    }

    fn open_part(&self, name: &str) -> io::Result<Option<(Box<dyn Read + Send>, u64)>> {
        match &self.source {
            Source::Folder(folder) => {
                // Not through links: a layout is somebody else's work and must not lend us files of the host.
                let opened = rustix::fs::openat2(
                    folder,
                    name,
                    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
                    Mode::empty(),
                    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                );
                let file = match opened {
                    Ok(file) => File::from(file),
                    Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                    Err(errno) => return Err(errno.into()),
                };
                let found = rustix::fs::fstat(&file)?;
                if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{name} is not a file"),
                    ));
                }
                let bytes = file.metadata()?.len();
                Ok(Some((Box::new(file), bytes)))
            }
            Source::Archive { file, parts } => Ok(parts.get(name).map(|(at, bytes)| {
                let section = Section {
                    file: Arc::clone(file),
                    at: *at,
                    left: *bytes,
                };
                (Box::new(section) as Box<dyn Read + Send>, *bytes)
            })),
        }
    }
}

fn plain_archive(mut file: File, scratch: &Path, limit: u64) -> io::Result<File> {
    let mut decoder = Decoder::detect(file.try_clone()?)?;
    if decoder.is_plain() {
        io::Seek::rewind(&mut file)?;
        return Ok(file);
    }
    let unnamed = rustix::fs::openat(
        CWD,
        scratch,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )?;
    let mut unnamed = File::from(unnamed);
    let copied = io::copy(&mut (&mut decoder).take(limit + 1), &mut unnamed)?;
    if copied > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the archive holds more than {limit} bytes"),
        ));
    }
    io::Seek::rewind(&mut unnamed)?;
    Ok(unnamed)
}

/// Where the files of a layout are in its archive. Their names are short, so headers for long names and other
/// extensions belong to entries that do not concern us.
fn archive_parts(file: &File) -> io::Result<HashMap<String, (u64, u64)>> {
    let mut parts = HashMap::new();
    let mut archive = Archive::new(file);
    for entry in archive.entries_with_seek()?.raw(true).take(ARCHIVE_ENTRIES) {
        let entry = entry?;
        let header = entry.header();
        if header.entry_type() != EntryType::Regular {
            continue;
        }
        if let Ok(name) = str::from_utf8(&header.path_bytes()) {
            let name = name.strip_prefix("./").unwrap_or(name);
            if name == MARKER || name == INDEX || name.starts_with("blobs/sha256/") {
                let place = (entry.raw_file_position(), header.entry_size()?);
                parts.insert(name.to_owned(), place);
            }
        }
    }
    Ok(parts)
}
