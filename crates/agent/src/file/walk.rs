//! Walks a folder and what lies below it: names in byte order, a folder before what is in it.

use std::ffi::OsString;
use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

/// Folders at the top of a sandbox whose files the kernel makes up, some of them without end.
pub const KERNEL_FOLDERS: &[&str] = &["dev", "proc", "sys"];

/// An entry of a folder.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    /// The path as the client is told.
    pub shown: String,
    pub name: String,
    /// Its own; of a link not what it leads to.
    pub kind: FileType,
}

/// Where the walk is.
#[derive(Debug)]
pub struct Walk {
    /// Folders that are being walked, with the names still to come, last name first.
    open: Vec<(Folder, Vec<(OsString, FileType)>)>,
    levels: usize,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    shown: String,
}

impl Walk {
    /// `levels` below `path`, at least one.
    ///
    /// # Errors
    /// The path is no folder, or cannot be read.
    pub fn open(path: &Path, shown: &str, levels: usize) -> io::Result<Self> {
        let folder = Folder {
            path: path.to_path_buf(),
            shown: shown.to_owned(),
        };
        let names = sorted_names(path)?;
        Ok(Self {
            open: vec![(folder, names)],
            levels,
        })
    }

    /// Leaves out these entries of the topmost folder.
    pub fn without(mut self, names: &[&str]) -> Self {
        if let Some((_, top)) = self.open.first_mut() {
            top.retain(|(name, _)| !names.iter().any(|unwanted| *name == **unwanted));
        }
        self
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let (folder, names) = self.open.last_mut()?;
            let Some((name, kind)) = names.pop() else {
                self.open.pop();
                continue;
            };
            let path = folder.path.join(&name);
            let name = name.to_string_lossy().into_owned();
            let shown = join(&folder.shown, &name);
            // Not through links: they may lead in circles. What cannot be read stays an entry.
            if kind.is_dir()
                && self.open.len() < self.levels
                && let Ok(names) = sorted_names(&path)
            {
                let (path, shown) = (path.clone(), shown.clone());
                self.open.push((Folder { path, shown }, names));
            }
            return Some(Found {
                path,
                shown,
                name,
                kind,
            });
        }
    }
}

/// Names of a folder, last first.
fn sorted_names(path: &Path) -> io::Result<Vec<(OsString, FileType)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // Where the kind takes a call of its own, the entry may be gone by then.
        if let Ok(kind) = entry.file_type() {
            names.push((entry.file_name(), kind));
        }
    }
    names.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    Ok(names)
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "." => name.to_owned(),
        _ => format!("{}/{name}", folder.trim_end_matches('/')),
    }
}

/// The shortest path that reads the same: without empty parts and `.`, and with each `..` taken together with the
/// part before it. Looks at no links.
pub fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_absolute => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clean_path_has_nothing_to_spare() {
        for (path, wanted) in [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("./a/./b", "a/b"),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("/../a", "/a"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path), wanted, "{path:?}");
        }
    }

    #[test]
    fn names_left_out_are_left_out_at_the_top_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/proc")).unwrap();
        std::fs::create_dir_all(dir.path().join("proc/b")).unwrap();
        let walk = Walk::open(dir.path(), "/", usize::MAX).unwrap();
        let shown: Vec<_> = walk.without(KERNEL_FOLDERS).map(|f| f.shown).collect();
        assert_eq!(shown, ["/a", "/a/proc"]);
    }

    proptest! {
        #[test]
        fn a_clean_path_stays_as_it_is(path in "[./a]{0,20}") {
            let cleaned = clean(&path);
            prop_assert_eq!(clean(&cleaned), cleaned.clone());
            prop_assert_eq!(cleaned.starts_with('/'), path.starts_with('/'));
        }
    }
}
