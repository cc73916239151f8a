//! The archive: disks of sandboxes that nobody uses, each one compressed file.
//!
//! ```text
//! magic, 8 bytes │ length of the header, 4 bytes │ header, JSON │ body, zstd
//! ```
//!
//! The body holds the ranges of the disk that hold data, each as offset (8 bytes), length (4 bytes) and
//! bytes, and ends with an offset of all ones and the SHA-256 of the header and all that came before it in
//! the body.
//! Numbers are little-endian.
//!
//! A file gets its name when it is whole, on the host's disk, and has been read back. Its header says all
//! that is needed to bring the sandbox back: a sandbox in the archive has no other record on this host.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use alcove_domain::SandboxId;
use alcove_runner_api::{Generation, ImageDigest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cancel::Cancel;
use crate::disk::ranges;

const MAGIC: &[u8; 8] = b"ALCOVEAR";
const VERSION: u32 = 1;
const HEADER_MAX_BYTES: u32 = 1 << 20;
const END: u64 = u64::MAX;
/// One range at a time; what is longer becomes several.
const CHUNK_BYTES: u32 = 1 << 20;
/// The fastest level but one: archives are written once and rarely read.
const ZSTD_LEVEL: i32 = 2;
const BUFFER: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot {step} the archive of the sandbox")]
    Io {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the archive of the sandbox is damaged: {what}")]
    Damaged { what: &'static str },
    #[error("another order came first")]
    Cancelled,
}

impl ArchiveError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            Self::Damaged { .. } | Self::Cancelled => None,
        }
    }
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> ArchiveError {
    move |source| {
        if source.kind() == io::ErrorKind::Interrupted {
            ArchiveError::Cancelled
        } else {
            ArchiveError::Io { step, source }
        }
    }
}

/// What is known of a sandbox in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    version: u32,
    pub sandbox: SandboxId,
    pub generation: Generation,
    pub image: ImageDigest,
    pub disk_bytes: u64,
}

impl Header {
    pub fn new(
        sandbox: SandboxId,
        generation: Generation,
        image: ImageDigest,
        disk_bytes: u64,
    ) -> Self {
        Self {
            version: VERSION,
            sandbox,
            generation,
            image,
            disk_bytes,
        }
    }
}

/// The folder of archives. All calls block.
#[derive(Debug)]
pub struct Archives {
    folder: PathBuf,
}

impl Archives {
    /// Opens the folder, removes what is half-written, and reads the headers of the rest. A file that cannot
    /// be read is kept, under another name.
    pub fn open(folder: PathBuf) -> io::Result<(Self, Vec<Header>)> {
        let mut headers = Vec::new();
        for path in fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("draft") => {
                    let _ = fs::remove_file(&path);
                }
                Some("archive") => {
                    let header = File::open(&path)
                        .map_err(failed("open"))
                        .and_then(|mut file| read_header(&mut file));
                    match header {
                        Ok((header, _)) => headers.push(header),
                        Err(error) => {
                            tracing::error!(path = %path.display(), %error, "an archive is set aside");
                            let _ = fs::rename(&path, path.with_extension("unreadable"));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok((Self { folder }, headers))
    }

    pub(crate) fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.folder.join(format!("{sandbox}.archive"))
    }

    /// Writes the archive of a disk that nobody writes to. When it returns, the archive is whole and safe
    /// from a loss of power; when it fails, there is none.
    pub fn write(&self, header: &Header, disk: &Path, cancel: &Cancel) -> Result<(), ArchiveError> {
        let path = self.path(&header.sandbox);
        let draft = path.with_extension("draft");
        let written = write_draft(&draft, header, disk, cancel)
            .and_then(|()| verify(&draft, cancel))
            .and_then(|()| {
                fs::rename(&draft, &path).map_err(failed("name"))?;
                self.sync()
            });
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    /// Writes the disk of an archive into a new file, and compares its sum.
    pub fn read(&self, header: &Header, to: &Path, cancel: &Cancel) -> Result<(), ArchiveError> {
        let target = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)
            .map_err(failed("make the disk of"))?;
        target
            .set_len(header.disk_bytes)
            .map_err(failed("size the disk of"))?;
        read_body(&self.path(&header.sandbox), cancel, |offset, bytes| {
            let end = offset.saturating_add(bytes.len() as u64);
            if end > header.disk_bytes {
                return Err(ArchiveError::Damaged {
                    what: "it has more than its disk",
                });
            }
            target
                .write_all_at(bytes, offset)
                .map_err(failed("write the disk of"))
        })
    }

    /// Removes an archive; one that does not exist is removed already.
    pub fn remove(&self, sandbox: &SandboxId) -> Result<(), ArchiveError> {
        match fs::remove_file(self.path(sandbox)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove")(error)),
            _ => Ok(()),
        }
    }

    /// Everything that was written to the file system of the folder is safe from a loss of power.
    pub fn sync_all(&self) -> Result<(), ArchiveError> {
        let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(&self.folder)?)?) };
        sync().map_err(failed("sync"))
    }

    fn sync(&self) -> Result<(), ArchiveError> {
        let folder = File::open(&self.folder).map_err(failed("open the folder of"))?;
        folder.sync_all().map_err(failed("sync the folder of"))
    }
}

fn write_draft(
    draft: &Path,
    header: &Header,
    disk: &Path,
    cancel: &Cancel,
) -> Result<(), ArchiveError> {
    let source = File::open(disk).map_err(failed("open the disk for"))?;
    let write = || -> io::Result<()> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(draft)?;
        let text = serde_json::to_vec(header)?;
        let mut output = BufWriter::with_capacity(BUFFER, file);
        output.write_all(MAGIC)?;
        output.write_all(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        output.write_all(&text)?;
        let mut body = Summed {
            inner: zstd::Encoder::new(output, ZSTD_LEVEL)?,
            sum: Sha256::new_with_prefix(&text),
        };
        let mut buffer = vec![0; CHUNK_BYTES as usize];
        let mut position = 0;
        while let Some((start, end)) = ranges::next(&source, position, header.disk_bytes)? {
            let mut at = start;
            while at < end {
                cancel.check()?;
                let length = u32::try_from(end - at).unwrap_or(u32::MAX).min(CHUNK_BYTES);
                let chunk = &mut buffer[..length as usize];
                source.read_exact_at(chunk, at)?;
                // Written once and freed again, or never more than zeroes: no data either.
                if chunk.iter().any(|byte| *byte != 0) {
                    body.write_all(&at.to_le_bytes())?;
                    body.write_all(&length.to_le_bytes())?;
                    body.write_all(chunk)?;
                }
                at += u64::from(length);
            }
            position = end;
        }
        body.write_all(&END.to_le_bytes())?;
        let sum = body.sum.finalize();
        body.inner.write_all(&sum)?;
        let file = body
            .inner
            .finish()?
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()
    };
    write().map_err(failed("write"))
}

fn verify(path: &Path, cancel: &Cancel) -> Result<(), ArchiveError> {
    read_body(path, cancel, |_, _| Ok(()))
}

/// The header, and its text.
fn read_header(file: &mut File) -> Result<(Header, Vec<u8>), ArchiveError> {
    let mut start = [0; 12];
    file.read_exact(&mut start).map_err(failed("read"))?;
    let (magic, length) = start.split_at(8);
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
    if magic != MAGIC || length > HEADER_MAX_BYTES {
        return Err(ArchiveError::Damaged {
            what: "it does not begin like one",
        });
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(failed("read"))?;
    let header: Header = serde_json::from_slice(&text).map_err(|_| ArchiveError::Damaged {
        what: "its header cannot be read",
    })?;
    if header.version == VERSION {
        Ok((header, text))
    } else {
        Err(ArchiveError::Damaged {
            what: "its header is of another version",
        })
    }
}

/// Gives every range to `take`, and compares the sum at the end.
fn read_body(
    path: &Path,
    cancel: &Cancel,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut file = File::open(path).map_err(failed("open"))?;
    let (_, text) = read_header(&mut file)?;
    let decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER, file))
        .map_err(failed("read"))?;
    let mut body = Summed {
        inner: decoder,
        sum: Sha256::new_with_prefix(&text),
    };
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    loop {
        cancel.check().map_err(failed("read"))?;
        let mut number = [0; 8];
        body.fill(&mut number)?;
        let offset = u64::from_le_bytes(number);
        if offset == END {
            break;
        }
        let mut number = [0; 4];
        body.fill(&mut number)?;
        let length = u32::from_le_bytes(number);
        if length > CHUNK_BYTES {
            return Err(ArchiveError::Damaged {
                what: "a range is too long",
            });
        }
        let chunk = &mut buffer[..length as usize];
        body.fill(chunk)?;
        take(offset, chunk)?;
    }
    let found = body.sum.finalize();
    let mut sum = [0; 32];
    let told = body.inner.read_exact(&mut sum);
    if told.is_err() || sum != found.as_slice() {
        return Err(ArchiveError::Damaged {
            what: "its sum is wrong",
        });
    }
    Ok(())
}

/// Hashes what passes.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<W: Write> Summed<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<R: Read> Summed<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        // It ends too early, or is no compressed data any more: damaged either way.
        self.inner
            .read_exact(buffer)
            .map_err(|_| ArchiveError::Damaged {
                what: "it cannot be read to its end",
            })?;
        self.sum.update(&*buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        archives: Archives,
        disk: PathBuf,
        back: PathBuf,
        header: Header,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        fs::create_dir(&archive).unwrap();
        let disk = folder.path().join("disk");
        let file = File::create(&disk).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"first", 4096).unwrap();
        file.write_all_at(&vec![7; 3 << 20], 512 << 20).unwrap();
        file.write_all_at(b"last", (1 << 30) - 4).unwrap();
        Place {
            archives: Archives::open(archive).unwrap().0,
            back: folder.path().join("back"),
            disk,
            header: Header::new(
                "a".parse().unwrap(),
                Generation(3),
                ImageDigest("sha256:00".to_owned()),
                1 << 30,
            ),
            _folder: folder,
        }
    }

    impl Place {
        fn path(&self) -> PathBuf {
            self.archives.path(&self.header.sandbox)
        }

        fn read(&self) -> Result<(), ArchiveError> {
            let _ = fs::remove_file(&self.back);
            self.archives
                .read(&self.header, &self.back, &Cancel::never())
        }
    }

    #[test]
    fn a_disk_comes_back_byte_for_byte_and_its_archive_is_small() {
        let place = place();
        place
            .archives
            .write(&place.header, &place.disk, &Cancel::never())
            .unwrap();
        assert!(fs::metadata(place.path()).unwrap().len() < 16 << 10);
        place.read().unwrap();
        let (old, new) = (
            File::open(&place.disk).unwrap(),
            File::open(&place.back).unwrap(),
        );
        assert_eq!(new.metadata().unwrap().len(), 1 << 30);
        for (at, length) in [(4096, 5), (512 << 20, 3 << 20), ((1 << 30) - 4, 4)] {
            let (mut left, mut right) = (vec![0; length], vec![1; length]);
            old.read_exact_at(&mut left, at).unwrap();
            new.read_exact_at(&mut right, at).unwrap();
            assert!(left == right, "at {at}");
        }
        let (_, headers) = Archives::open(place.archives.folder.clone()).unwrap();
        assert_eq!(headers, std::slice::from_ref(&place.header));
        place.archives.remove(&place.header.sandbox).unwrap();
        place.archives.remove(&place.header.sandbox).unwrap();
    }

    #[test]
    fn an_archive_that_is_cut_off_or_changed_anywhere_is_called_damaged() {
        let place = place();
        place
            .archives
            .write(&place.header, &place.disk, &Cancel::never())
            .unwrap();
        let whole = fs::read(place.path()).unwrap();
        for length in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            fs::write(place.path(), &whole[..length]).unwrap();
            place.read().expect_err("a part is not the whole");
        }
        let body = whole.len() / 2;
        for at in (body..whole.len()).step_by(41) {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(place.path(), changed).unwrap();
            place.read().expect_err("a changed byte is found");
        }
    }

    #[test]
    fn what_was_cancelled_or_half_written_leaves_nothing() {
        let place = place();
        let cancel = Cancel::default();
        cancel.cancel();
        let error = place
            .archives
            .write(&place.header, &place.disk, &cancel)
            .unwrap_err();
        assert!(matches!(error, ArchiveError::Cancelled), "{error}");
        fs::write(place.archives.folder.join("b.draft"), "half").unwrap();
        fs::write(place.archives.folder.join("c.archive"), "ALCOVEAR").unwrap();
        let (_, headers) = Archives::open(place.archives.folder.clone()).unwrap();
        assert!(headers.is_empty());
        let left: Vec<_> = fs::read_dir(&place.archives.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["c.unreadable"]);
    }
}
