//! The tree that is copied from. Its root is a root: no path and no link leads out of it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use alcove_glob::Glob;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, statat,
};
use rustix::io::Errno;

/// Most paths that one pattern may stand for.
const MATCHES_MAX: usize = 100_000;

/// How often a path is followed before the host is taken for too busy.
const TRIES: usize = 1000;

#[derive(Debug)]
pub struct Source {
    root: OwnedFd,
}

impl Source {
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: openat(CWD, root, flags, Mode::empty())?,
        })
    }

    /// What a path leads to, links of the source followed.
    pub fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(fstat(self.below(path, OFlags::PATH)?)?)
    }

    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.below(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    pub fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        // Without waiting: it may be a pipe by now.
        self.below(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    fn below(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let open = || openat2(&self.root, path, flags, Mode::empty(), resolve);
        // The kernel gives up on a way up while others mount or rename, which says nothing about the path.
        for _ in 1..TRIES {
            match open() {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                other => return Ok(other?),
            }
        }
        Ok(open()?)
    }

    /// The paths that a pattern stands for, in order. Where `is_deep`, `**` is a folder with all folders below it, and else a
    /// pattern like any.
    ///
    /// # Errors
    /// The reason in words; that there is nothing is one.
    pub fn find(&self, pattern: &str, is_deep: bool) -> Result<Vec<PathBuf>, String> {
        let mut found = vec![PathBuf::new()];
        for part in pattern
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            if !part.contains(['*', '?', '[']) {
                let name = unescaped(part);
                for path in &mut found {
                    path.push(&name);
                }
                continue;
            }
            if part == "**" && is_deep {
                let mut next = Vec::new();
                for folder in found {
                    self.folders_below(folder, &mut next)?;
                }
                found = next;
                continue;
            }
            let glob = Glob::parse(part).ok_or_else(|| format!("{part:?} is no pattern"))?;
            let mut next = Vec::new();
            for folder in found {
                let Ok(opened) = self.folder(&folder) else {
                    continue;
                };
                let names =
                    names(&opened).map_err(|error| format!("{}: {error}", folder.display()))?;
                for name in names {
                    if name.to_str().is_some_and(|name| glob.matches(name)) {
                        next.push(folder.join(name));
                    }
                }
                if next.len() > MATCHES_MAX {
                    return Err(format!(
                        "{pattern:?} stands for more than {MATCHES_MAX} paths"
                    ));
                }
            }
            found = next;
        }
        let mut there = Vec::with_capacity(found.len());
        for path in found {
            match self.stat(&path) {
                Ok(_) => there.push(path),
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        || error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {}
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
        if there.is_empty() {
            return Err(format!("{pattern:?} is not in the source"));
        }
        Ok(there)
    }
}

impl Source {
    /// Adds a folder and all those below it. No link is followed.
    fn folders_below(&self, top: PathBuf, found: &mut Vec<PathBuf>) -> Result<(), String> {
        let mut waiting = vec![top];
        while let Some(path) = waiting.pop() {
            let Ok(folder) = self.folder(&path) else {
                continue;
            };
            let about = |error: io::Error| format!("{}: {error}", path.display());
            for name in names(&folder).map_err(about)?.into_iter().rev() {
                let stat = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
                let kind = FileType::from_raw_mode(stat.map_err(|e| about(e.into()))?.st_mode);
                if kind == FileType::Directory {
                    waiting.push(path.join(name));
                }
            }
            found.push(path);
            if found.len() > MATCHES_MAX {
                return Err(format!("there are more than {MATCHES_MAX} folders"));
            }
        }
        Ok(())
    }
}

fn unescaped(part: &str) -> String {
    let mut name = String::with_capacity(part.len());
    let mut letters = part.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next()),
            letter => name.push(letter),
        }
    }
    name
}

/// The names in a folder, in order.
pub fn names(folder: &impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort_unstable_by(|a: &OsString, b: &OsString| OsStr::as_bytes(a).cmp(OsStr::as_bytes(b)));
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_way_up_is_followed_while_others_rename() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let source = Source::open(folder.path()).unwrap();
        let path = PathBuf::from("inner/../".repeat(50) + "inner");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, "").unwrap();
        let is_over = AtomicBool::new(false);
        let renames = || {
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(&one, &two).unwrap();
                fs::rename(&two, &one).unwrap();
            }
        };
        let walks = || {
            let mut given_up = 0;
            let deadline = Instant::now() + Duration::from_mins(1);
            while given_up < 20 && Instant::now() < deadline {
                source.stat(&path)?;
                // The control: the kernel gives up now and then.
                let resolve = ResolveFlags::IN_ROOT;
                let bare = openat2(&source.root, &path, OFlags::PATH, Mode::empty(), resolve);
                given_up += usize::from(bare.is_err_and(|error| error == Errno::AGAIN));
            }
            io::Result::Ok(given_up)
        };
        let given_up = std::thread::scope(|scope| {
            scope.spawn(renames);
            let given_up = walks();
            is_over.store(true, Ordering::Relaxed);
            given_up
        });
        assert!(given_up.unwrap() > 0, "nothing disturbed the walk");
    }
}
