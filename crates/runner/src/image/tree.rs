//! The unpacked files of one layer, in the form that overlayfs stacks.
//!
//! The only code that uses names out of a layer on the disk. Each lookup is done by the kernel with the
//! folder of the layer as root (`RESOLVE_IN_ROOT`), so that a link out of a hostile layer, followed or not,
//! ends inside it. The last part of a path is never followed. Nobody else can write below the folder, which
//! has a parent that only root may enter.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::error::EntryError;
use super::holes;
use super::tar_stream::{Entry, EntryKind, LayerPath};
use crate::in_root::open_in_root;

/// Marks the removal of what is called like the rest of the name in the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// In a folder: nothing of the layers below shows through it.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of this form are the books of a file system that wrote the layer, long ago.
const FOREIGN_BOOKS: &[u8] = b".wh..wh.";

const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

fn cannot(doing: &'static str) -> impl Fn(Errno) -> EntryError {
    move |errno| EntryError::Write {
        doing,
        source: errno.into(),
    }
}

/// Memory for the paths of folders whose times are still to be set. An archive of a few megabytes may have millions of folders with long
/// paths; beyond this their times are set early, and what comes into them later changes those.
const FOLDER_TIMES_MAX_BYTES: usize = 64 << 20;

/// By path. A folder that comes again has the time of its last entry.
#[derive(Debug, Default)]
struct FolderTimes {
    by_path: HashMap<Vec<u8>, Timestamps>,
    bytes: usize,
}

impl FolderTimes {
    fn note(&mut self, parts: &[Vec<u8>], times: Timestamps) {
        let path = path(parts);
        let bytes = path.len() + size_of::<(Vec<u8>, Timestamps)>();
        if self.by_path.insert(path, times).is_none() {
            self.bytes += bytes;
        }
    }

    fn set(&mut self, root: &OwnedFd) -> io::Result<()> {
        self.bytes = 0;
        for (path, times) in self.by_path.drain() {
            let folder = match open_path(root, &path, OFlags::RDONLY) {
                Ok(folder) => folder,
                // A later entry made its path lead elsewhere.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            rustix::fs::futimens(folder, &times)?;
        }
        Ok(())
    }
}

/// Writes the entries of one layer below its folder.
#[derive(Debug)]
pub struct LayerTree {
    root: OwnedFd,
    /// The folder of the last entry: most entries come folder by folder.
    last_folder: Option<(Vec<Vec<u8>>, OwnedFd)>,
    /// Making a file in a folder changes the folder's time, so those times are set at the end.
    folder_times: FolderTimes,
    skipped: u64,
}

impl LayerTree {
    /// Writes below `root`, an empty folder.
    pub fn open(root: &std::path::Path) -> io::Result<Self> {
        let root = rustix::fs::openat(
            CWD,
            root,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            root,
            last_folder: None,
            folder_times: FolderTimes::default(),
            skipped: 0,
        })
    }

    /// Writes one entry. `body` is where the bytes of a file come from.
    pub fn write(&mut self, entry: &Entry, body: &mut impl Read) -> Result<(), EntryError> {
        let Some((folder, name)) = entry.path.split() else {
            return self.write_root(entry);
        };
        let is_books = |part: &[u8]| part.starts_with(FOREIGN_BOOKS) && part != OPAQUE;
        if entry.path.parts().iter().any(|part| is_books(part)) {
            self.skipped += 1;
            return Ok(());
        }
        if folder.iter().any(|part| part.starts_with(WHITEOUT)) {
            return Err(EntryError::BadWhiteout);
        }
        if name == OPAQUE {
            let folder = self.folder(folder)?;
            return set_opaque(folder);
        }
        if let Some(removed) = name.strip_prefix(WHITEOUT) {
            // `.wh...` would otherwise name the folder itself or the one above.
            if removed.is_empty() || removed == b"." || removed == b".." {
                return Err(EntryError::BadWhiteout);
            }
            let folder = self.folder(folder)?;
            return write_whiteout(folder, removed);
        }
        match &entry.kind {
            EntryKind::Folder => self.write_folder(entry, folder, name),
            EntryKind::File { bytes } => {
                let folder = self.free(folder, name)?;
                write_file(folder, name, entry, *bytes, body)
            }
            EntryKind::Symlink { target } => {
                let folder = self.free(folder, name)?;
                rustix::fs::symlinkat(&target[..], folder, name)
                    .map_err(cannot("make the link"))?;
                set_owner_and_time(folder, name, entry)
            }
            EntryKind::Fifo => {
                let folder = self.free(folder, name)?;
                rustix::fs::mknodat(folder, name, FileType::Fifo, Mode::empty(), 0)
                    .map_err(cannot("make the pipe"))?;
                rustix::fs::chmodat(
                    folder,
                    name,
                    Mode::from_raw_mode(entry.mode),
                    AtFlags::empty(),
                )
                .map_err(cannot("set its mode"))?;
                set_owner_and_time(folder, name, entry)
            }
            EntryKind::HardLink { target } => self.write_hard_link(target, folder, name),
            EntryKind::Device => {
                self.skipped += 1;
                Ok(())
            }
        }
    }

    /// Sets the times of the folders. Returns how many entries were passed over.
    pub fn finish(mut self) -> io::Result<u64> {
        self.folder_times.set(&self.root)?;
        Ok(self.skipped)
    }

    fn note_time(&mut self, parts: &[Vec<u8>], entry: &Entry) -> Result<(), EntryError> {
        if self.folder_times.bytes > FOLDER_TIMES_MAX_BYTES {
            let set = self.folder_times.set(&self.root);
            set.map_err(|source| EntryError::Write {
                doing: "set the times of folders",
                source,
            })?;
        }
        self.folder_times.note(parts, times(entry));
        Ok(())
    }

    fn write_root(&mut self, entry: &Entry) -> Result<(), EntryError> {
        if entry.kind != EntryKind::Folder {
            return Err(EntryError::RootNotFolder);
        }
        set_all(self.root.as_fd(), entry)?;
        self.note_time(&[], entry)
    }

    fn write_folder(
        &mut self,
        entry: &Entry,
        folder: &[Vec<u8>],
        name: &[u8],
    ) -> Result<(), EntryError> {
        let parent = self.folder(folder)?;
        let mut hides_lower = false;
        match look(parent, name)? {
            Some(found) if is_folder(&found) => {}
            found => {
                if let Some(found) = &found {
                    // Removed below and made anew here: what the layers below had in it stays hidden.
                    hides_lower = is_whiteout(found);
                    rustix::fs::unlinkat(parent, name, AtFlags::empty())
                        .map_err(cannot("replace what was there"))?;
                }
                rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(cannot("make the folder"))?;
            }
        }
        let made = rustix::fs::openat(
            parent,
            name,
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(cannot("open the folder"))?;
        if hides_lower {
            set_opaque(made.as_fd())?;
        }
        set_all(made.as_fd(), entry)?;
        self.note_time(entry.path.parts(), entry)
    }

    fn write_hard_link(
        &mut self,
        target: &LayerPath,
        folder: &[Vec<u8>],
        name: &[u8],
    ) -> Result<(), EntryError> {
        let (target_folder, target_name) = target.split().ok_or(EntryError::LinkTarget)?;
        let target_folder = open_below(&self.root, target_folder, OFlags::PATH)
            .map_err(|_| EntryError::LinkTarget)?;
        let found = look(target_folder.as_fd(), target_name)?.ok_or(EntryError::LinkTarget)?;
        if !matches!(
            FileType::from_raw_mode(found.st_mode),
            FileType::RegularFile | FileType::Symlink
        ) {
            return Err(EntryError::LinkTarget);
        }
        let parent = self.folder(folder)?;
        if let Some(present) = look(parent, name)?
            && (present.st_dev, present.st_ino) == (found.st_dev, found.st_ino)
        {
            // Freeing the name could remove the only name that the target has.
            return Ok(());
        }
        let parent = self.free(folder, name)?;
        rustix::fs::linkat(&target_folder, target_name, parent, name, AtFlags::empty())
            .map_err(cannot("make the hard link"))
    }

    /// The folder for a new entry, with no entry of that name in it any more.
    fn free(&mut self, folder: &[Vec<u8>], name: &[u8]) -> Result<BorrowedFd<'_>, EntryError> {
        let parent = self.folder(folder)?;
        let Some(found) = look(parent, name)? else {
            return self.folder(folder);
        };
        if is_folder(&found) {
            return Err(EntryError::ReplacesFolder);
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty())
            .map_err(cannot("replace what was there"))?;
        // What was removed may have been a link on the way to the remembered folder.
        self.last_folder = None;
        self.folder(folder)
    }

    /// The folder of this path, made where it is missing.
    fn folder(&mut self, parts: &[Vec<u8>]) -> Result<BorrowedFd<'_>, EntryError> {
        let is_last = matches!(&self.last_folder, Some((last, _)) if last == parts);
        if !is_last {
            let opened = match open_below(&self.root, parts, OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) => make_folders(&self.root, parts)?,
                outcome => outcome.map_err(|errno| match errno {
                    Errno::LOOP | Errno::XDEV => EntryError::NotBelowFolder,
                    errno => cannot("open its folder")(errno),
                })?,
            };
            self.last_folder = Some((parts.to_vec(), opened));
        }
        match &self.last_folder {
            Some((_, folder)) => Ok(folder.as_fd()),
            None => Err(EntryError::NotBelowFolder),
        }
    }
}

fn open_below(root: &OwnedFd, parts: &[Vec<u8>], access: OFlags) -> Result<OwnedFd, Errno> {
    open_path(root, &path(parts), access)
}

fn open_path(root: &OwnedFd, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
    let access = access | OFlags::DIRECTORY;
    open_in_root(root, path, access, ResolveFlags::NO_XDEV)
}

fn path(parts: &[Vec<u8>]) -> Vec<u8> {
    if parts.is_empty() {
        b".".to_vec()
    } else {
        parts.join(&b'/')
    }
}

/// Makes the folders of a path that the archive has no entries for, as root's and readable by all.
fn make_folders(root: &OwnedFd, parts: &[Vec<u8>]) -> Result<OwnedFd, EntryError> {
    let mut parent = open_below(root, &[], OFlags::PATH).map_err(cannot("open its folder"))?;
    for (index, name) in parts.iter().enumerate() {
        match open_below(root, &parts[..=index], OFlags::PATH) {
            Ok(next) => {
                parent = next;
                continue;
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(Errno::LOOP | Errno::XDEV) => return Err(EntryError::NotBelowFolder),
            Err(errno) => return Err(cannot("open its folder")(errno)),
        }
        let found = look(parent.as_fd(), name)?;
        let hides_lower = found.as_ref().is_some_and(is_whiteout);
        if hides_lower {
            rustix::fs::unlinkat(&parent, &name[..], AtFlags::empty())
                .map_err(cannot("replace what was there"))?;
        } else if found.is_some() {
            // A file, or a link to nothing: to follow it by making folders would be guessing.
            return Err(EntryError::NotBelowFolder);
        }
        rustix::fs::mkdirat(&parent, &name[..], Mode::RWXU).map_err(cannot("make its folder"))?;
        let made = rustix::fs::openat(
            &parent,
            &name[..],
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(cannot("open its folder"))?;
        // Not by mkdir: the process may have a mask.
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(cannot("set its mode"))?;
        if hides_lower {
            set_opaque(made.as_fd())?;
        }
        parent = made;
    }
    Ok(parent)
}

fn look(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, EntryError> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(cannot("look at what is there")(errno)),
    }
}

fn is_folder(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// Whiteouts are about the layers below. What this very layer has under the name stays; a folder of it
/// hides what is below.
fn write_whiteout(folder: BorrowedFd<'_>, removed: &[u8]) -> Result<(), EntryError> {
    match look(folder, removed)? {
        None => rustix::fs::mknodat(
            folder,
            removed,
            FileType::CharacterDevice,
            Mode::empty(),
            rustix::fs::makedev(0, 0),
        )
        .map_err(cannot("make the whiteout")),
        Some(found) if is_folder(&found) => {
            let present = rustix::fs::openat(
                folder,
                removed,
                OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(cannot("open the folder"))?;
            set_opaque(present.as_fd())
        }
        Some(_) => Ok(()),
    }
}

/// `folder` may be a descriptor that is good for paths only.
fn set_opaque(folder: BorrowedFd<'_>) -> Result<(), EntryError> {
    let folder = rustix::fs::openat(
        folder,
        ".",
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(cannot("open the folder"))?;
    rustix::fs::fsetxattr(folder, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty())
        .map_err(cannot("mark the folder as opaque"))
}

fn write_file(
    folder: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    bytes: u64,
    body: &mut impl Read,
) -> Result<(), EntryError> {
    let file = rustix::fs::openat(
        folder,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
    .map_err(cannot("make the file"))?;
    let file = File::from(file);
    let copied = holes::copy(body, &file).map_err(|source| EntryError::Write {
        doing: "copy its bytes",
        source,
    })?;
    if copied != bytes {
        return Err(EntryError::Write {
            doing: "copy its bytes",
            source: io::ErrorKind::UnexpectedEof.into(),
        });
    }
    set_all(file.as_fd(), entry)?;
    rustix::fs::futimens(&file, &times(entry)).map_err(cannot("set its time"))
}

/// Owner, mode and attributes. The order matters: a change of owner takes away set-user-id bits and
/// capabilities.
fn set_all(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), EntryError> {
    rustix::fs::fchown(
        file,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
    .map_err(cannot("set its owner"))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(cannot("set its mode"))?;
    for (name, value) in &entry.xattrs {
        rustix::fs::fsetxattr(file, &name[..], value, XattrFlags::empty())
            .map_err(cannot("set an attribute"))?;
    }
    Ok(())
}

fn set_owner_and_time(
    folder: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
) -> Result<(), EntryError> {
    rustix::fs::chownat(
        folder,
        name,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(cannot("set its owner"))?;
    rustix::fs::utimensat(folder, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(cannot("set its time"))
}

fn times(entry: &Entry) -> Timestamps {
    let (seconds, nanoseconds) = entry.mtime;
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanoseconds),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
