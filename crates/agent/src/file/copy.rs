//! Moves from one file system to another: a copy that keeps what a move keeps, then a delete.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, SeekFrom, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::file::cancel::Cancelled;
use crate::file::error::FileError;
use crate::file::tree::{Moved, rename_to_free};

/// Deepest tree that is copied. Deeper ones have paths that most programs cannot open.
const MAX_DEPTH: usize = 1000;

/// Bytes copied between two looks at whether anybody still wants them.
const STEP_BYTES: u64 = 16 << 20;

/// Bytes of one read where the kernel cannot copy by itself.
const BUFFER_BYTES: usize = 256 << 10;

/// Copies `source` to a neighbour of `destination`, renames that into place, deletes `source`.
///
/// # Errors
/// On failure before the rename nothing is left at the destination and the source is whole.
pub fn copy_across(
    source: &Path,
    destination: &Path,
    cancelled: &Cancelled,
) -> Result<Moved, FileError> {
    let name = destination
        .file_name()
        .ok_or_else(|| FileError::invalid(destination, "has no name"))?;
    let part = format!(
        ".{}.{}.part",
        name.to_string_lossy(),
        uuid::Uuid::new_v4().simple()
    );
    let part = destination.with_file_name(part);
    let tree = Copier {
        linked: HashMap::new(),
        cancelled,
    };
    let copied = tree
        .run(source, &part)
        .map_err(|(path, error)| FileError::new("cannot copy", &path, &error))
        .and_then(|()| {
            rename_to_free(&part, destination)
                .map_err(|error| FileError::new("cannot move to", destination, &error.into()))
        });
    if let Err(error) = copied {
        remove(&part).ok();
        return Err(error);
    }
    Ok(match remove(source) {
        Ok(()) => Moved::Whole,
        Err(error) => Moved::SourceLeft(FileError::new("cannot delete", source, &error)),
    })
}

fn remove(path: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    }
}

type At<T> = Result<T, (PathBuf, io::Error)>;

struct Copier<'a> {
    /// Copies of files that have several names.
    linked: HashMap<(u64, u64), PathBuf>,
    cancelled: &'a Cancelled,
}

impl Copier<'_> {
    fn run(mut self, from: &Path, to: &Path) -> At<()> {
        self.copy(from, to, 0)
    }

    fn copy(&mut self, from: &Path, to: &Path, depth: usize) -> At<()> {
        let at = |error: io::Error| (from.to_path_buf(), error);
        self.cancelled.check().map_err(at)?;
        if depth > MAX_DEPTH {
            return Err(at(Errno::NAMETOOLONG.into()));
        }
        let metadata = std::fs::symlink_metadata(from).map_err(at)?;
        let has_more_names = metadata.nlink() > 1 && !metadata.is_dir();
        if has_more_names {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&key) {
                return std::fs::hard_link(first, to).map_err(at);
            }
            self.linked.insert(key, to.to_path_buf());
        }
        if metadata.is_dir() {
            std::fs::create_dir(to).map_err(at)?;
            for entry in std::fs::read_dir(from).map_err(at)? {
                let name = entry.map_err(at)?.file_name();
                self.copy(&from.join(&name), &to.join(&name), depth + 1)?;
            }
        } else if metadata.is_file() {
            copy_content(from, to, self.cancelled).map_err(at)?;
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(from).map_err(at)?;
            std::os::unix::fs::symlink(target, to).map_err(at)?;
        } else {
            make_node(&metadata, to).map_err(at)?;
        }
        keep_attributes(&metadata, from, to).map_err(at)
    }
}

/// Copies what the file holds; holes stay holes.
fn copy_content(from: &Path, to: &Path, cancelled: &Cancelled) -> io::Result<()> {
    let source = File::open(from)?;
    let target = File::options().write(true).create_new(true).open(to)?;
    let size = source.metadata()?.len();
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            // The file system knows no holes.
            Err(_) => at,
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data)).unwrap_or(size);
        at = data;
        while at < hole {
            cancelled.check()?;
            let step = (hole - at).min(STEP_BYTES);
            let copied = copy_range(&source, &target, at, step)?;
            if copied == 0 {
                // It became shorter meanwhile.
                break;
            }
            at += copied;
        }
        at = hole;
    }
    target.set_len(source.metadata()?.len())?;
    target.sync_all()
}

/// By reflink or within the kernel where the file systems can. The result may be less than asked.
fn copy_range(source: &File, target: &File, at: u64, length: u64) -> io::Result<u64> {
    let (mut from, mut to) = (at, at);
    let step = usize::try_from(length).unwrap_or(usize::MAX);
    match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), step) {
        Ok(copied) if copied > 0 => return Ok(copied as u64),
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(error.into()),
        // Not between these two.
        _ => {}
    }
    let mut buffer = vec![0; BUFFER_BYTES.min(step)];
    let read = source.read_at(&mut buffer, at)?;
    target.write_all_at(&buffer[..read], at)?;
    Ok(read as u64)
}

fn make_node(metadata: &Metadata, to: &Path) -> io::Result<()> {
    let kind = metadata.file_type();
    let kind = if kind.is_fifo() {
        FileType::Fifo
    } else if kind.is_socket() {
        FileType::Socket
    } else if kind.is_block_device() {
        FileType::BlockDevice
    } else {
        FileType::CharacterDevice
    };
    let mode = Mode::from_raw_mode(metadata.mode() & 0o7777);
    Ok(rustix::fs::mknodat(CWD, to, kind, mode, metadata.rdev())?)
}

fn keep_attributes(metadata: &Metadata, from: &Path, to: &Path) -> io::Result<()> {
    let (owner, group) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    // Only root may give files away; for others the copy is the user's own.
    let _ = rustix::fs::chownat(CWD, to, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW);
    if !metadata.is_symlink() {
        keep_extended(from, to);
        std::fs::set_permissions(to, metadata.permissions())?;
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: metadata.atime(),
            tv_nsec: metadata.atime_nsec(),
        },
        last_modification: Timespec {
            tv_sec: metadata.mtime(),
            tv_nsec: metadata.mtime_nsec(),
        },
    };
    Ok(rustix::fs::utimensat(
        CWD,
        to,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Attributes that the other file system does not know, or that are not ours to set, are left out.
fn keep_extended(from: &Path, to: &Path) {
    let mut names = vec![0_u8; 64 << 10];
    let Ok(length) = rustix::fs::llistxattr(from, &mut names[..]) else {
        return;
    };
    let mut value = vec![0_u8; 64 << 10];
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if let Ok(length) = rustix::fs::lgetxattr(from, name, &mut value[..]) {
            let flags = rustix::fs::XattrFlags::empty();
            let _ = rustix::fs::lsetxattr(to, name, &value[..length], flags);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_copied_tree_keeps_links_modes_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("d")).unwrap();
        std::fs::write(from.join("d/f"), "content").unwrap();
        std::fs::hard_link(from.join("d/f"), from.join("second")).unwrap();
        std::os::unix::fs::symlink("d/f", from.join("link")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(from.join("d/f"), mode).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 5);
        File::open(from.join("d/f"))
            .unwrap()
            .set_modified(time)
            .unwrap();

        copy_across(&from, &to, &Cancelled::never()).unwrap();

        assert!(!from.exists());
        let file = std::fs::metadata(to.join("d/f")).unwrap();
        assert_eq!(std::fs::read(to.join("second")).unwrap(), b"content");
        assert_eq!(
            file.ino(),
            std::fs::metadata(to.join("second")).unwrap().ino()
        );
        assert_eq!(file.permissions().mode() & 0o777, 0o640);
        assert_eq!(file.modified().unwrap(), time);
        assert_eq!(
            std::fs::read_link(to.join("link")).unwrap(),
            Path::new("d/f")
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no part is left"
        );
    }

    #[test]
    fn a_failed_copy_leaves_the_source_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        assert!(copy_across(&from, &to, &Cancelled::never()).is_err());
        assert!(from.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
    #[test]
    fn a_copy_that_nobody_waits_for_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "x").unwrap();
        let (guard, cancelled) = crate::file::cancel::pair();
        drop(guard);
        assert!(copy_across(&from, &to, &cancelled).is_err());
        assert!(from.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", 1 << 30).unwrap();
        file.set_len(3 << 30).unwrap();
        copy_across(&from, &to, &Cancelled::never()).unwrap();
        let copy = File::open(&to).unwrap();
        let metadata = copy.metadata().unwrap();
        assert_eq!(metadata.len(), 3 << 30);
        assert!(metadata.blocks() < 2048, "{} blocks", metadata.blocks());
        let mut text = [0; 6];
        copy.read_exact_at(&mut text, 1 << 30).unwrap();
        assert_eq!(&text, b"middle");
        copy.read_exact_at(&mut text[..5], 0).unwrap();
        assert_eq!(&text[..5], b"begin");
    }
}
