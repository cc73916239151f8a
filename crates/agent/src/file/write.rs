//! Files on their way in.
//!
//! The bytes go to a file without a name in the target's folder, which takes the target's place when it is
//! complete: readers see the old file or the new one, an upload that breaks off leaves no trace, and rights
//! and owner of the old file are kept. Where that cannot be (the folder is not ours to write, the owner
//! cannot be kept, the file system can neither make nameless files nor rename, the target is a device or a
//! pipe), the bytes are written in place.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::file::error::FileError;

/// Links followed to find the file that a write is meant for; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// A file being written.
#[derive(Debug)]
pub struct Writing {
    /// As asked, for messages.
    path: PathBuf,
    /// Where links have led to.
    target: PathBuf,
    place: Place,
    written: u64,
}

#[derive(Debug)]
enum Place {
    /// A file without a name; nothing is left of it when it is closed.
    Nameless {
        file: File,
        replaces: Option<Metadata>,
    },
    /// A file with a hidden name.
    Hidden {
        file: File,
        name: HiddenName,
        replaces: Option<Metadata>,
    },
    /// A file without a name elsewhere, whose content goes into the target at the end.
    Elsewhere(File),
    /// The target itself.
    Direct(File),
}

/// What to do where no file can be made beside the target.
#[derive(Debug, Clone, Copy)]
enum Fallback {
    WriteInPlace,
    /// The old content is still needed while the new one is written.
    CopyAtTheEnd,
}

/// Deletes the file unless it has been renamed.
#[derive(Debug)]
struct HiddenName(Option<PathBuf>);

impl Drop for HiddenName {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Writing {
    /// Opens a place for new content of `path` and makes missing folders.
    ///
    /// # Errors
    /// The path is a folder, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_or(path, Fallback::WriteInPlace)
    }

    /// As [`Self::open`], for new content that is made from the old: that stays readable until the end.
    ///
    /// # Errors
    /// As [`Self::open`]. Also where neither the folder nor the one for temporary files can be written.
    pub fn open_for_rewrite(path: &Path) -> Result<Self, FileError> {
        Self::open_or(path, Fallback::CopyAtTheEnd)
    }

    fn open_or(path: &Path, fallback: Fallback) -> Result<Self, FileError> {
        let failed = |error: io::Error| FileError::new("cannot write", path, &error);
        let target = follow_links(path).map_err(failed)?;
        let existing = match std::fs::metadata(&target) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let is_regular = existing.as_ref().is_none_or(Metadata::is_file);
        let place = if let Some(existing) = existing.as_ref().filter(|_| !is_regular) {
            Place::Direct(open_special(path, &target, existing)?)
        } else {
            Self::open_beside(path, &target, existing, fallback).map_err(failed)?
        };
        Ok(Self {
            path: path.to_path_buf(),
            target,
            place,
            written: 0,
        })
    }

    fn open_beside(
        path: &Path,
        target: &Path,
        replaces: Option<Metadata>,
        fallback: Fallback,
    ) -> io::Result<Place> {
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(Errno::ISDIR.into());
        }
        let folder = target.parent().unwrap_or(Path::new("/"));
        if replaces.is_none() {
            std::fs::create_dir_all(folder)?;
        } else {
            // A rename would replace even what we may not write.
            rustix::fs::access(target, rustix::fs::Access::WRITE_OK)?;
        }
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Place::Nameless {
                file: file.into(),
                replaces,
            }),
            Err(Errno::NOSPC | Errno::DQUOT) => Err(Errno::NOSPC.into()),
            Err(_) => Self::open_hidden(target, folder, replaces, fallback),
        }
    }

    fn open_hidden(
        target: &Path,
        folder: &Path,
        replaces: Option<Metadata>,
        fallback: Fallback,
    ) -> io::Result<Place> {
        let path = hidden_name(folder);
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Place::Hidden {
                file,
                name: HiddenName(Some(path)),
                replaces,
            }),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(error),
            // No right to make files there; the target itself may be ours.
            Err(_) => match fallback {
                Fallback::WriteInPlace => open_in_place(target).map(Place::Direct),
                Fallback::CopyAtTheEnd => open_elsewhere().map(Place::Elsewhere),
            },
        }
    }

    /// Reserves room, so that a full disk shows before the transfer and not after it.
    ///
    /// # Errors
    /// There is not enough room.
    pub fn reserve(&self, bytes: u64) -> Result<(), FileError> {
        let (Place::Nameless { file, .. } | Place::Hidden { file, .. }) = &self.place else {
            return Ok(());
        };
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(self.failed(&error.into())),
            // Not every file system can.
            _ => Ok(()),
        }
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// The system refuses; the writing should be dropped then.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), FileError> {
        let (Place::Nameless { file, .. }
        | Place::Hidden { file, .. }
        | Place::Elsewhere(file)
        | Place::Direct(file)) = &mut self.place;
        if let Err(error) = file.write_all(piece) {
            return Err(self.failed(&error));
        }
        self.written += piece.len() as u64;
        Ok(())
    }

    /// Puts the content into its place; the result is its length.
    ///
    /// # Errors
    /// The system refuses. The old file is still there then, except where it was written in place.
    pub fn commit(mut self) -> Result<u64, FileError> {
        let place = std::mem::replace(&mut self.place, Place::Direct(open_null(&self.path)?));
        let done = match place {
            Place::Direct(file) => close(file),
            Place::Elsewhere(file) => self.copy_in_place(&file),
            Place::Nameless {
                file,
                replaces: None,
            } => {
                match link_nameless(&file, &self.target) {
                    // Somebody was faster; the later one wins, as with any write.
                    Err(Errno::EXIST) => self.replace_nameless(&file),
                    result => result.map_err(Into::into),
                }
            }
            Place::Nameless {
                file,
                replaces: Some(old),
            } => match keep_owner(&file, &old) {
                Ok(()) => self.replace_nameless(&file),
                Err(_) => self.copy_in_place(&file),
            },
            Place::Hidden {
                file,
                mut name,
                replaces,
            } => {
                let kept = replaces
                    .as_ref()
                    .map_or(Ok(()), |old| keep_owner(&file, old));
                match (kept, &name.0) {
                    (Ok(()), Some(hidden)) => {
                        let renamed = close(file).and_then(|()| {
                            rustix::fs::rename(hidden, &self.target).map_err(Into::into)
                        });
                        if renamed.is_ok() {
                            name.0 = None;
                        }
                        renamed
                    }
                    _ => self.copy_in_place(&file),
                }
            }
        };
        done.map_err(|error| self.failed(&error))?;
        Ok(self.written)
    }

    fn replace_nameless(&self, file: &File) -> io::Result<()> {
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        let mut name = HiddenName(Some(hidden_name(folder)));
        if let Some(hidden) = &name.0 {
            link_nameless(file, hidden)?;
            rustix::fs::rename(hidden, &self.target)?;
        }
        name.0 = None;
        Ok(())
    }

    fn copy_in_place(&self, file: &File) -> io::Result<()> {
        // Opened for writing only; a second look by its number reads it.
        let mut complete = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let mut target = open_in_place(&self.target)?;
        io::copy(&mut complete, &mut target)?;
        close(target)
    }

    fn failed(&self, error: &io::Error) -> FileError {
        FileError::new("cannot write", &self.path, error)
    }
}

/// Where a write to `path` ends up.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&target) {
            Ok(next) => {
                let folder = target.parent().unwrap_or(Path::new("/")).to_path_buf();
                target = folder.join(next);
            }
            // No link, or nothing there.
            Err(_) => return Ok(target),
        }
    }
    Err(Errno::LOOP.into())
}

fn open_special(path: &Path, target: &Path, metadata: &Metadata) -> Result<File, FileError> {
    if metadata.is_dir() {
        return Err(FileError::invalid(path, "is a folder"));
    }
    let kind = metadata.file_type();
    if kind.is_socket() || kind.is_block_device() {
        return Err(FileError::invalid(path, "is no file that can be written"));
    }
    // Without a reader a pipe refuses at once instead of waiting for one.
    File::options()
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(target)
        .map_err(|error| FileError::new("cannot write", path, &error))
}

fn open_in_place(target: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(target)
}

fn open_elsewhere() -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/tmp", flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn open_null(path: &Path) -> Result<File, FileError> {
    File::options()
        .write(true)
        .open("/dev/null")
        .map_err(|error| FileError::new("cannot write", path, &error))
}

fn hidden_name(folder: &Path) -> PathBuf {
    folder.join(format!(".alcove-{}.part", uuid::Uuid::new_v4().simple()))
}

/// Gives a nameless file its name. By its number below `/proc`, because by descriptor takes a capability.
fn link_nameless(file: &File, name: &Path) -> Result<(), Errno> {
    let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, by_number, CWD, name, AtFlags::SYMLINK_FOLLOW)
}

fn keep_owner(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    // After the owner, whose change clears the special bits.
    file.set_permissions(std::fs::Permissions::from_mode(
        old.permissions().mode() & 0o7777,
    ))
}

/// Closes with a look at the result: object stores mounted as file systems upload at this point.
fn close(file: File) -> io::Result<()> {
    crate::sys::close_checked(OwnedFd::from(file))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use alcove_agent_api::ErrorCode;

    use super::*;

    fn write(path: &Path, content: &[u8]) -> Result<u64, FileError> {
        let mut writing = Writing::open(path)?;
        writing.write(content)?;
        writing.commit()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_appears_with_its_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        assert_eq!(write(&path, b"xyz").unwrap(), 3);
        assert_eq!(std::fs::read(&path).unwrap(), b"xyz");
        assert_eq!(names(path.parent().unwrap()), ["c"]);
    }

    #[test]
    fn a_broken_off_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "old").unwrap();
        let mut writing = Writing::open(&path).unwrap();
        writing.write(b"half").unwrap();
        drop(writing);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_replaced_file_keeps_mode_and_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "a much longer old content").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4711)).unwrap();
        let is_root = rustix::process::getuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4711)).unwrap();
        }
        write(&path, b"new").unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o4711);
        if is_root {
            assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321));
        }
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_link_is_written_through() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/real"), "old").unwrap();
        std::os::unix::fs::symlink("d/real", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("d/new", dir.path().join("dangling")).unwrap();
        write(&dir.path().join("link"), b"1").unwrap();
        write(&dir.path().join("dangling"), b"2").unwrap();
        assert_eq!(std::fs::read(dir.path().join("d/real")).unwrap(), b"1");
        assert_eq!(std::fs::read(dir.path().join("d/new")).unwrap(), b"2");
        assert!(dir.path().join("link").is_symlink());
    }

    #[test]
    fn the_hidden_name_works_as_the_nameless_file_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "old").unwrap();
        let writing = |content: &[u8]| {
            let metadata = std::fs::metadata(&path).ok();
            let place =
                Writing::open_hidden(&path, dir.path(), metadata, Fallback::WriteInPlace).unwrap();
            assert!(matches!(place, Place::Hidden { .. }));
            let (path, target) = (path.clone(), path.clone());
            let mut writing = Writing {
                path,
                target,
                place,
                written: 0,
            };
            writing.write(content).unwrap();
            writing
        };
        drop(writing(b"half"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        writing(b"new").commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_rewrite_elsewhere_leaves_the_old_content_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "a longer old content").unwrap();
        let place = Place::Elsewhere(open_elsewhere().unwrap());
        let (target, shown) = (path.clone(), path.clone());
        let mut writing = Writing {
            path: shown,
            target,
            place,
            written: 0,
        };
        writing.write(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a longer old content");
        writing.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn what_is_no_file_is_refused_or_written_directly() {
        let dir = tempfile::tempdir().unwrap();
        let code = |path: &Path| write(path, b"x").unwrap_err().code;
        assert_eq!(code(dir.path()), ErrorCode::InvalidFilePath);
        assert_eq!(code(&dir.path().join("new/")), ErrorCode::InvalidFilePath);
        std::fs::write(dir.path().join("f"), "").unwrap();
        assert_eq!(code(&dir.path().join("f/g")), ErrorCode::InvalidFilePath);
        assert_eq!(write(Path::new("/dev/null"), b"x").unwrap(), 1);
    }
}
