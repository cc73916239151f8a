//! Blobs on their way from a registry to a layer: files that a pull which was interrupted goes on with.
//!
//! ```text
//! <store>/downloads/<owner>-<hex>     the first bytes of a blob, or all of them
//! ```
//!
//! A file is somebody's own: whoever could go on with what another one began would get bytes that no registry has given
//! him. It is gone once its layer is unpacked; what is left of pulls that nobody repeats goes after a day.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::content::{Fingerprint, Sha256Digest};
use crate::registry::RegistryError;

/// How long the beginning of a blob is kept without anything being added.
const KEPT: Duration = Duration::from_hours(24);
const BUFFER: usize = 256 << 10;

/// The folder of downloads.
#[derive(Debug)]
pub struct Downloads {
    dir: PathBuf,
    /// One lock for each file that somebody works on.
    busy: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// Why a blob is not here.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("cannot {doing} a download")]
    File {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("nobody wants it any more")]
    Cancelled,
    #[error("it takes longer than {} minutes", limit.as_secs() / 60)]
    OutOfTime { limit: Duration },
}

fn file(doing: &'static str) -> impl FnOnce(io::Error) -> DownloadError {
    move |source| DownloadError::File { doing, source }
}

/// A blob to be had.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// A name for whose download it is, fit for files.
    pub owner: &'a str,
    pub digest: Sha256Digest,
    pub bytes: u64,
}

/// The bytes of a blob from a place on, where its source can begin in the middle.
pub struct Part {
    pub from: u64,
    pub bytes: Box<dyn Read + Send>,
}

impl Downloads {
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self {
            dir,
            busy: Mutex::default(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Does something with a blob's file while nobody else does. Two pulls that need the same blob share one download:
    /// the second finds it done.
    pub fn alone<T>(&self, wanted: &Wanted<'_>, work: impl FnOnce() -> T) -> T {
        let name = file_name(wanted);
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(busy.entry(name.clone()).or_default())
        };
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work();
        drop(guard);
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's: nobody waits for it.
        if Arc::strong_count(&lock) <= 2 {
            busy.remove(&name);
        }
        done
    }

    /// The blob as a file at its start, with exactly the bytes that were promised. `open` begins to read the blob from
    /// a place on; `progress` hears how many bytes there are.
    ///
    /// What does not end well leaves what came so far, apart from content that is wrong.
    pub fn fetch(
        &self,
        wanted: &Wanted<'_>,
        host: &str,
        open: impl FnOnce(u64) -> Result<Part, RegistryError>,
        mut progress: impl FnMut(u64) -> Result<(), DownloadError>,
    ) -> Result<File, DownloadError> {
        let path = self.path(&file_name(wanted));
        let mut out = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(file("open"))?;
        let mut seen = Fingerprint::default();
        let mut buffer = vec![0; BUFFER];
        read_again(&mut out, wanted.bytes, &mut seen, &mut buffer)?;
        progress(seen.bytes())?;
        if seen.bytes() < wanted.bytes {
            let mut part = open(seen.bytes())?;
            if part.from != seen.bytes() {
                seen = Fingerprint::default();
                out.set_len(0).map_err(file("empty"))?;
                out.rewind().map_err(file("empty"))?;
            }
            loop {
                // One more than there may be shows a blob that is too long.
                let most = (wanted.bytes - seen.bytes() + 1).min(BUFFER as u64);
                let most = usize::try_from(most).unwrap_or(BUFFER);
                let count = match part.bytes.read(&mut buffer[..most]) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(cut_off(host, &error.to_string())),
                };
                if seen.bytes() + count as u64 > wanted.bytes {
                    remove(&path);
                    return Err(wrong(wanted, host, "it is longer than was said"));
                }
                seen.update(&buffer[..count]);
                out.write_all(&buffer[..count]).map_err(file("write"))?;
                progress(seen.bytes())?;
            }
        }
        if seen.bytes() < wanted.bytes {
            return Err(cut_off(host, "the answer ended too early"));
        }
        let (found, _) = seen.finish();
        if found != wanted.digest {
            remove(&path);
            return Err(wrong(wanted, host, &format!("its digest is {found}")));
        }
        out.rewind().map_err(file("rewind"))?;
        Ok(out)
    }

    /// Takes away what is not needed any more, or is of no use.
    pub fn forget(&self, wanted: &Wanted<'_>) {
        remove(&self.path(&file_name(wanted)));
    }

    /// Removes what nobody has gone on with for a day. Tells how many that were.
    pub fn remove_old(&self) -> io::Result<u64> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let is_busy = {
                let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
                let name = entry.file_name();
                name.to_str().is_some_and(|name| busy.contains_key(name))
            };
            // A clock that was set back makes a file young.
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if !is_busy && age > KEPT {
                remove(&entry.path());
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn file_name(wanted: &Wanted<'_>) -> String {
    format!("{}-{}", wanted.owner, wanted.digest.to_hex())
}

/// Goes through the bytes that are here; more than there may be are cut off.
fn read_again(
    out: &mut File,
    most: u64,
    seen: &mut Fingerprint,
    buffer: &mut [u8],
) -> Result<(), DownloadError> {
    loop {
        let count = out.read(buffer).map_err(file("read"))?;
        let room = usize::try_from(most - seen.bytes()).unwrap_or(usize::MAX);
        let count = count.min(room);
        if count == 0 {
            break;
        }
        seen.update(&buffer[..count]);
    }
    out.set_len(seen.bytes()).map_err(file("cut"))?;
    out.seek(SeekFrom::Start(seen.bytes()))
        .map_err(file("cut"))?;
    Ok(())
}

fn cut_off(host: &str, reason: &str) -> DownloadError {
    DownloadError::Registry(RegistryError::Unreachable {
        host: host.to_owned(),
        reason: reason.to_owned(),
    })
}

fn wrong(wanted: &Wanted<'_>, host: &str, reason: &str) -> DownloadError {
    DownloadError::Registry(RegistryError::WrongContent {
        host: host.to_owned(),
        what: format!("the blob {}", wanted.digest),
        reason: reason.to_owned(),
    })
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "cannot remove a download"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::io::Cursor;

    use super::*;

    const CONTENT: &[u8] = b"0123456789";

    fn place() -> (tempfile::TempDir, Downloads) {
        let folder = tempfile::tempdir().unwrap();
        let downloads = Downloads::open(folder.path().join("downloads")).unwrap();
        (folder, downloads)
    }

    fn wanted(owner: &str) -> Wanted<'_> {
        Wanted {
            owner,
            digest: Sha256Digest::of(CONTENT),
            bytes: CONTENT.len() as u64,
        }
    }

    fn part(from: usize, bytes: &'static [u8]) -> Part {
        Part {
            from: from as u64,
            bytes: Box::new(Cursor::new(bytes)),
        }
    }

    fn fetch(
        downloads: &Downloads,
        owner: &str,
        open: impl FnOnce(u64) -> Part,
    ) -> Result<Vec<u8>, DownloadError> {
        let mut found =
            downloads.fetch(&wanted(owner), "host", |from| Ok(open(from)), |_| Ok(()))?;
        let mut bytes = Vec::new();
        found.read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    }

    #[test]
    fn an_interrupted_download_goes_on_where_it_was() {
        let (_folder, downloads) = place();
        let cut = fetch(&downloads, "a", |from| {
            assert_eq!(from, 0);
            part(0, &CONTENT[..4])
        });
        assert!(matches!(
            cut,
            Err(DownloadError::Registry(RegistryError::Unreachable { .. }))
        ));
        let rest = fetch(&downloads, "a", |from| {
            assert_eq!(from, 4);
            part(4, &CONTENT[4..])
        });
        assert_eq!(rest.unwrap(), CONTENT);
        // Whole: nobody is asked again.
        let again = fetch(&downloads, "a", |_| panic!("asked again"));
        assert_eq!(again.unwrap(), CONTENT);
    }

    #[test]
    fn a_registry_without_ranges_begins_anew() {
        let (_folder, downloads) = place();
        fetch(&downloads, "a", |_| part(0, &CONTENT[..4])).unwrap_err();
        assert_eq!(
            fetch(&downloads, "a", |_| part(0, CONTENT)).unwrap(),
            CONTENT
        );
    }

    #[test]
    fn nobody_goes_on_with_what_another_one_has_begun() {
        let (_folder, downloads) = place();
        fetch(&downloads, "a", |_| part(0, &CONTENT[..9])).unwrap_err();
        fetch(&downloads, "b", |from| {
            assert_eq!(from, 0);
            part(0, &CONTENT[9..])
        })
        .unwrap_err();
    }

    #[test]
    fn wrong_content_is_refused_and_not_kept() {
        for bytes in [&b"012345678X"[..], b"0123456789X"] {
            let (_folder, downloads) = place();
            let wrong = fetch(&downloads, "a", |_| part(0, bytes)).unwrap_err();
            assert!(
                matches!(
                    wrong,
                    DownloadError::Registry(RegistryError::WrongContent { .. })
                ),
                "{wrong:?}"
            );
            assert_eq!(
                fetch(&downloads, "a", |_| part(0, CONTENT)).unwrap(),
                CONTENT
            );
        }
    }

    #[test]
    fn what_is_too_long_on_the_disk_is_cut_off() {
        let (_folder, downloads) = place();
        fs::write(downloads.path(&file_name(&wanted("a"))), b"0123456789abc").unwrap();
        let found = fetch(&downloads, "a", |_| panic!("asked"));
        assert_eq!(found.unwrap(), CONTENT);
    }

    #[test]
    fn only_old_downloads_that_nobody_works_on_are_removed() {
        let (_folder, downloads) = place();
        let old = std::time::UNIX_EPOCH + Duration::from_hours(1);
        let mut paths = Vec::new();
        for owner in ["old", "new", "busy"] {
            let path = downloads.path(&file_name(&wanted(owner)));
            let file = File::create(&path).unwrap();
            if owner != "new" {
                file.set_modified(old).unwrap();
            }
            paths.push(path);
        }
        let removed = downloads.alone(&wanted("busy"), || downloads.remove_old().unwrap());
        assert_eq!(removed, 1);
        let left: Vec<bool> = paths.iter().map(|path| path.exists()).collect();
        assert_eq!(left, [false, true, true]);
    }
}
