//! Files on their way in.
//!
//! The bytes go to a file without a name in the target's folder, which takes the target's place when it is
//! complete: readers see the old file or the new one, an upload that breaks off leaves no trace, and rights
//! and owner of the old file are kept. Where that cannot be (the folder is not ours to write, the owner
//! cannot be kept, the file system can neither make nameless files nor rename, the target is a device or a
//! pipe), the bytes are written in place.

use std::fs::{File, Metadata};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::file::error::FileError;
use crate::file::traffic::Traffic;

/// Links followed to find the file that a write is meant for; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// A file of this size takes the kernel long to let go of: what of it is on its way to the disk has to arrive first.
const LARGE_BYTES: u64 = 16 << 20;

/// A file that is in its place.
#[derive(Debug)]
pub struct Written {
    pub bytes: u64,
    /// The file that it replaced, where that is large. The end of it, which may take as long as the write did, is for
    /// the caller to wait for or not.
    pub replaced: Option<OwnedFd>,
}

/// A file being written.
#[derive(Debug)]
pub struct Writing {
    /// As asked, for messages.
    path: PathBuf,
    /// Where links have led to.
    target: PathBuf,
    place: Place,
    traffic: Traffic,
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
            traffic: Traffic::default(),
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
        self.write_pieces([piece])
    }

    /// Appends pieces, as few calls of the system as it takes.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_pieces<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), FileError> {
        let mut slices: Vec<IoSlice<'_>> = pieces.into_iter().map(IoSlice::new).collect();
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let (Place::Nameless { file, .. }
        | Place::Hidden { file, .. }
        | Place::Elsewhere(file)
        | Place::Direct(file)) = &mut self.place;
        if let Err(error) = write_all(file, &mut slices) {
            return Err(self.failed(&error));
        }
        self.traffic.count(length);
        Ok(())
    }

    /// Puts the content into its place.
    ///
    /// # Errors
    /// The system refuses. The old file is still there then, except where it was written in place.
    pub fn commit(mut self) -> Result<Written, FileError> {
        let place = std::mem::replace(&mut self.place, Place::Direct(open_null(&self.path)?));
        let replaced = self.hold_large(&place);
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
        Ok(Written {
            bytes: self.traffic.bytes(),
            replaced,
        })
    }

    /// Keeps the file that is about to be replaced, if it is large and its room is not needed at once.
    fn hold_large(&self, place: &Place) -> Option<OwnedFd> {
        let (Place::Nameless {
            file,
            replaces: Some(old),
        }
        | Place::Hidden {
            file,
            replaces: Some(old),
            ..
        }) = place
        else {
            return None;
        };
        if old.len() < LARGE_BYTES {
            return None;
        }
        let room = rustix::fs::fstatvfs(file).ok()?;
        if room.f_bavail.saturating_mul(room.f_frsize) / 2 < old.len() {
            return None;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.target, flags, Mode::empty()).ok()
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

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Those that are empty would end in a write of nothing.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
mod tests;
