//! Copies what a step of a build names, or tells what it would copy.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use alcove_agent_api::{BuildCopyRequest, BuildInlineFile};
use alcove_glob::PathPattern;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use sha2::{Digest, Sha256};

use super::archive;
use super::source::{Source, names};
use super::target::{Terms, copy_xattrs, dress, free, make_folders, set_times};

/// Deepest nesting of folders.
const DEPTH_MAX: usize = 256;

/// What is made for all: permissions of a file that has its contents in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

/// Copies, and tells the digest of what was copied.
///
/// # Errors
/// The reason in words, for whoever wrote the Dockerfile.
pub fn copy(request: &BuildCopyRequest) -> Result<String, String> {
    let mut terms = Terms::new(request.owner.as_deref(), request.mode, request.keeps_owner)?;
    let target = Path::new(&request.target);
    let source = if request.paths.is_empty() {
        None
    } else {
        let source = Source::open(Path::new(&request.root));
        Some(source.map_err(|error| format!("the source: {error}"))?)
    };
    let excludes = Excludes::parse(&request.excludes)?;
    let mut found = Vec::new();
    if let Some(source) = &source {
        for pattern in &request.paths {
            found.extend(find(source, pattern, request.keeps_path)?);
        }
    }
    found.retain(|found| !excludes.leave_out(found.name()));
    if found.len() + request.inline.len() > 1 && !request.is_folder && !target.is_dir() {
        return Err(
            "several files match, so the target must be a folder and end with a slash".to_owned(),
        );
    }
    let mut digest = Sha256::new();
    if let Some(source) = &source {
        // Contents do not tell whether a source is a folder whose name is kept; that is in the request.
        for found in &found {
            digest_tree(source, found, &terms, &excludes, &mut digest)?;
        }
    }
    if request.is_dry {
        return Ok(hex(&digest.finalize()));
    }
    if request.is_folder {
        make_folders(target, &terms)?;
    }
    let mut copying = Copying {
        links: HashMap::new(),
        folders: Vec::new(),
        terms,
        excludes,
    };
    if let Some(source) = &source {
        for found in &found {
            copying.take(source, found, target, request)?;
        }
    }
    copying.finish()?;
    terms.keeps_owner = false;
    for file in &request.inline {
        write_inline(file, target, request.is_folder, &terms)?;
    }
    if request.removes_root {
        let root = Path::new(&request.root);
        fs::remove_dir_all(root).map_err(about(root))?;
    }
    Ok(hex(&digest.finalize()))
}

/// Something that is copied.
struct Found {
    path: PathBuf,
    /// The end of the path that it keeps below the target. None for a file that keeps its name, and a folder that keeps
    /// none.
    kept: Option<PathBuf>,
}

impl Found {
    /// What patterns of what is left out are held against. Nothing for a folder without a name.
    fn name(&self) -> &Path {
        match &self.kept {
            Some(kept) => kept,
            None => Path::new(self.path.file_name().unwrap_or_default()),
        }
    }

    /// What stands in front of paths within it.
    fn prefix(&self) -> &Path {
        self.kept.as_deref().unwrap_or(Path::new(""))
    }
}

fn find(source: &Source, pattern: &str, keeps_path: bool) -> Result<Vec<Found>, String> {
    if !keeps_path {
        let found = source.find(pattern, false)?.into_iter();
        return Ok(found.map(|path| Found { path, kept: None }).collect());
    }
    let (base, rest) = pattern.split_once("/./").unwrap_or(("", pattern));
    let is_part = |part: &&str| !matches!(*part, "" | ".");
    let cut = base.split('/').filter(is_part).count();
    let found = source.find(&format!("{base}/{rest}"), true)?.into_iter();
    Ok(found
        .map(|path| Found {
            kept: Some(path.components().skip(cut).collect()),
            path,
        })
        .collect())
}

/// What is left out.
struct Excludes(Vec<PathPattern>);

impl Excludes {
    fn parse(patterns: &[String]) -> Result<Self, String> {
        let parsed = patterns
            .iter()
            .map(|text| PathPattern::parse(text).ok_or_else(|| format!("{text:?} is no pattern")));
        parsed.collect::<Result<_, _>>().map(Self)
    }

    fn leave_out(&self, path: &Path) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let parts = path.iter().map(|part| part.to_string_lossy());
        let parts: Vec<_> = parts.collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        self.0.iter().any(|pattern| pattern.covers(&parts))
    }
}

fn kind_of(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn about(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// An entry that is still to be taken.
struct Entry {
    folder: Rc<OwnedFd>,
    name: OsString,
    /// Below what was named; for messages and digests.
    path: PathBuf,
    depth: usize,
}

impl Entry {
    fn stat(&self) -> Result<Stat, String> {
        statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| about(&self.path)(error.into()))
    }

    fn open(&self, flags: OFlags) -> Result<OwnedFd, String> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.folder, &self.name, flags, Mode::empty())
            .map_err(|error| about(&self.path)(error.into()))
    }

    fn link(&self) -> Result<Vec<u8>, String> {
        let target = readlinkat(&self.folder, &self.name, Vec::new());
        Ok(target
            .map_err(|error| about(&self.path)(error.into()))?
            .into_bytes())
    }
}

/// The entries of a folder, the first one last: a stack hands them out in order.
fn entries(folder: OwnedFd, path: &Path, depth: usize) -> Result<Vec<Entry>, String> {
    if depth > DEPTH_MAX {
        return Err(format!("{}: folders are nested too deeply", path.display()));
    }
    let names = names(&folder).map_err(about(path))?;
    let folder = Rc::new(folder);
    Ok(names
        .into_iter()
        .rev()
        .map(|name| Entry {
            folder: folder.clone(),
            path: path.join(&name),
            name,
            depth,
        })
        .collect())
}

fn digest_tree(
    source: &Source,
    which: &Found,
    terms: &Terms,
    excludes: &Excludes,
    digest: &mut Sha256,
) -> Result<(), String> {
    let path = which.path.as_path();
    let found = source.stat(path).map_err(about(path))?;
    let is_folder = kind_of(&found) == FileType::Directory;
    let name = match &which.kept {
        None if is_folder => b"",
        _ => which.name().as_os_str().as_bytes(),
    };
    head(digest, name, &found, terms);
    if !is_folder {
        return match kind_of(&found) {
            FileType::RegularFile => {
                let file = source.file(path).map_err(about(path))?;
                contents(digest, File::from(file)).map_err(about(path))
            }
            _ => Err(format!("{} is neither a file nor a folder", path.display())),
        };
    }
    let mut stack = entries(source.folder(path).map_err(about(path))?, Path::new(""), 1)?;
    while let Some(entry) = stack.pop() {
        if excludes.leave_out(&which.prefix().join(&entry.path)) {
            continue;
        }
        let found = entry.stat()?;
        head(digest, entry.path.as_os_str().as_bytes(), &found, terms);
        match kind_of(&found) {
            FileType::Directory => {
                let folder = entry.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                stack.extend(entries(folder, &entry.path, entry.depth + 1)?);
            }
            FileType::RegularFile => {
                let file = entry.open(OFlags::RDONLY | OFlags::NONBLOCK)?;
                contents(digest, File::from(file)).map_err(about(&entry.path))?;
            }
            FileType::Symlink => part(digest, &entry.link()?),
            _ => {}
        }
    }
    Ok(())
}

/// Each part with its length before it.
fn part(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

fn head(digest: &mut Sha256, name: &[u8], found: &Stat, terms: &Terms) {
    part(digest, name);
    let (uid, gid) = terms.owner_of(found);
    let kind = found.st_mode & 0o170_000;
    for number in [kind, terms.mode_of(found), uid, gid] {
        digest.update(number.to_le_bytes());
    }
}

fn contents(digest: &mut Sha256, file: File) -> io::Result<()> {
    digest.update(digest_of(file)?);
    Ok(())
}

/// The SHA-256 of a file.
pub fn digest_of(mut file: File) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0_u8; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            count => digest.update(&buffer[..count]),
        }
    }
}

struct Copying {
    /// Files with several names, by device and number: where they are now.
    links: HashMap<(u64, u64), PathBuf>,
    /// What is made in a folder changes its time, so those are set at the end.
    folders: Vec<(PathBuf, Stat)>,
    terms: Terms,
    excludes: Excludes,
}

impl Copying {
    fn take(
        &mut self,
        source: &Source,
        which: &Found,
        target: &Path,
        request: &BuildCopyRequest,
    ) -> Result<(), String> {
        let path = which.path.as_path();
        let found = source.stat(path).map_err(about(path))?;
        if let Some(kept) = &which.kept {
            self.folders_above(source, path, kept, target)?;
            let to = target.join(kept);
            return match kind_of(&found) {
                FileType::Directory => {
                    if to != target {
                        self.folder(&to, &found)?;
                    }
                    self.tree(source.folder(path).map_err(about(path))?, &to, kept)
                }
                FileType::RegularFile => {
                    let file = source.file(path).map_err(about(path))?;
                    self.file(File::from(file), &found, &to)
                }
                _ => Err(format!("{} is neither a file nor a folder", path.display())),
            };
        }
        match kind_of(&found) {
            FileType::Directory => {
                // What is in it is copied, not the folder: the target is made as any that is missing.
                let is_new = !target.exists();
                make_folders(target, &self.terms)?;
                if let (true, Some(mode)) = (is_new, self.terms.mode) {
                    fs::set_permissions(target, fs::Permissions::from_mode(mode))
                        .map_err(about(target))?;
                }
                let folder = source.folder(path).map_err(about(path))?;
                self.tree(folder, target, which.prefix())
            }
            FileType::RegularFile => {
                let mut file = File::from(source.file(path).map_err(about(path))?);
                if request.unpacks {
                    if archive::unpack_if_archive(&file, target, &self.terms)? {
                        return Ok(());
                    }
                    // Its beginning was looked at.
                    file.seek(SeekFrom::Start(0)).map_err(about(path))?;
                }
                let target = if request.is_folder || target.is_dir() {
                    target.join(path.file_name().unwrap_or_default())
                } else {
                    if let Some(parent) = target.parent() {
                        make_folders(parent, &self.terms)?;
                    }
                    target.to_owned()
                };
                self.file(file, &found, &target)
            }
            _ => Err(format!("{} is neither a file nor a folder", path.display())),
        }
    }

    /// Makes the folders of a path that is kept, as they are in the source, but for its last part.
    fn folders_above(
        &mut self,
        source: &Source,
        path: &Path,
        kept: &Path,
        target: &Path,
    ) -> Result<(), String> {
        let above: Vec<&Path> = kept.ancestors().skip(1).collect();
        let own: Vec<&Path> = path.ancestors().skip(1).collect();
        for (kept, path) in above.into_iter().zip(own).rev() {
            if !kept.as_os_str().is_empty() {
                let found = source.stat(path).map_err(about(path))?;
                self.folder(&target.join(kept), &found)?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, folder: OwnedFd, target: &Path, prefix: &Path) -> Result<(), String> {
        let mut stack = entries(folder, Path::new(""), 1)?;
        while let Some(entry) = stack.pop() {
            if self.excludes.leave_out(&prefix.join(&entry.path)) {
                continue;
            }
            let found = entry.stat()?;
            let to = target.join(&entry.path);
            match kind_of(&found) {
                FileType::Directory => {
                    self.folder(&to, &found)?;
                    let folder = entry.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                    stack.extend(entries(folder, &entry.path, entry.depth + 1)?);
                }
                FileType::RegularFile => {
                    let file = entry.open(OFlags::RDONLY | OFlags::NONBLOCK)?;
                    self.file(File::from(file), &found, &to)?;
                }
                FileType::Symlink => {
                    free(&to)?;
                    let link = entry.link()?;
                    let (uid, gid) = self.terms.owner_of(&found);
                    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&link), &to)
                        .and_then(|()| lchown(&to, Some(uid), Some(gid)))
                        .and_then(|()| set_times(&to, &found))
                        .map_err(about(&to))?;
                }
                FileType::Fifo => {
                    free(&to)?;
                    rustix::fs::mknodat(rustix::fs::CWD, &to, FileType::Fifo, Mode::RUSR, 0)
                        .map_err(io::Error::from)
                        .and_then(|()| dress(&to, &found, &self.terms))
                        .map_err(about(&to))?;
                }
                _ => {
                    let path = entry.path.display();
                    return Err(format!(
                        "{path} is a device or a socket, which cannot be copied"
                    ));
                }
            }
        }
        Ok(())
    }

    fn folder(&mut self, to: &Path, found: &Stat) -> Result<(), String> {
        match fs::symlink_metadata(to) {
            Ok(there) if there.is_dir() => {}
            // A link to a folder, as images have for `/lib`, stands for the folder.
            Ok(there) if there.is_symlink() && to.is_dir() => return Ok(()),
            Ok(_) => return Err(format!("{} is not a folder", to.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(to).map_err(about(to))?;
            }
            Err(error) => return Err(about(to)(error)),
        }
        dress(to, found, &self.terms).map_err(about(to))?;
        self.folders.push((to.to_owned(), *found));
        Ok(())
    }

    fn file(&mut self, mut file: File, found: &Stat, to: &Path) -> Result<(), String> {
        free(to)?;
        if found.st_nlink > 1 {
            let key = (found.st_dev, found.st_ino);
            if let Some(first) = self.links.get(&key) {
                return fs::hard_link(first, to).map_err(about(to));
            }
            self.links.insert(key, to.to_owned());
        }
        let (uid, gid) = self.terms.owner_of(found);
        let mode = self.terms.mode_of(found);
        let mut write = || -> io::Result<()> {
            let mut copy = File::options().write(true).create_new(true).open(to)?;
            io::copy(&mut file, &mut copy)?;
            std::os::unix::fs::fchown(&copy, Some(uid), Some(gid))?;
            copy.set_permissions(fs::Permissions::from_mode(mode))?;
            copy_xattrs(&file.as_fd(), &copy.as_fd())?;
            drop(copy);
            set_times(to, found)
        };
        write().map_err(about(to))
    }

    /// Sets the times of folders, inner ones first.
    fn finish(&mut self) -> Result<(), String> {
        for (path, found) in self.folders.drain(..).rev() {
            set_times(&path, &found).map_err(about(&path))?;
        }
        self.links.clear();
        Ok(())
    }
}

fn write_inline(
    file: &BuildInlineFile,
    target: &Path,
    is_folder: bool,
    terms: &Terms,
) -> Result<(), String> {
    let to = if is_folder || target.is_dir() {
        target.join(&file.name)
    } else {
        if let Some(parent) = target.parent() {
            make_folders(parent, terms)?;
        }
        target.to_owned()
    };
    free(&to)?;
    let (uid, gid) = terms.owner.unwrap_or((0, 0));
    let mode = terms.mode.unwrap_or(INLINE_MODE);
    let write = || -> io::Result<()> {
        let mut output = File::options().write(true).create_new(true).open(&to)?;
        output.write_all(file.content.as_bytes())?;
        chown(&to, Some(uid), Some(gid))?;
        output.set_permissions(fs::Permissions::from_mode(mode))
    };
    write().map_err(about(&to))
}
