//! What an image is: its files and its configuration, to be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Files of the builder's own making, which are no part of what the Dockerfile says.
const FOREIGN: &[&str] = &[
    "/dev",
    "/proc",
    "/sys",
    "/run/.containerenv",
    // Buildah leaves empty files where it mounts its own.
    "/etc/hostname",
    "/etc/resolv.conf",
];

#[derive(Debug)]
pub struct Built {
    /// One line for each file: type, mode, owner, and content or target.
    pub files: BTreeMap<String, String>,
    pub config: BTreeMap<&'static str, Value>,
}

impl Built {
    /// What is there, but for contents of folders that belong to the builder.
    pub fn new(root: &Path, config: BTreeMap<&'static str, Value>) -> Self {
        let mut files = BTreeMap::new();
        let mut inodes = BTreeMap::new();
        walk(root, root, &mut files, &mut inodes);
        Self { files, config }
    }

    /// In words, what `other` has otherwise.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let paths: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        for path in paths {
            let (theirs, ours) = (self.files.get(path), other.files.get(path));
            if theirs != ours {
                lines.push(format!("{path}: buildah {theirs:?}, ours {ours:?}"));
            }
        }
        for (key, theirs) in &self.config {
            let ours = &other.config[key];
            if theirs != ours {
                lines.push(format!("config {key}: buildah {theirs}, ours {ours}"));
            }
        }
        lines
    }
}

fn walk(
    root: &Path,
    folder: &Path,
    files: &mut BTreeMap<String, String>,
    inodes: &mut BTreeMap<u64, String>,
) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let found = fs::symlink_metadata(&path).expect("it is there");
        let name = format!("/{}", path.strip_prefix(root).expect("below").display());
        if FOREIGN.contains(&name.as_str()) {
            continue;
        }
        let kind = found.file_type();
        let what = if kind.is_dir() {
            "folder".to_owned()
        } else if kind.is_symlink() {
            format!(
                "link to {}",
                fs::read_link(&path).expect("a link").display()
            )
        } else if kind.is_fifo() {
            "pipe".to_owned()
        } else if found.nlink() > 1 && inodes.contains_key(&found.ino()) {
            format!("same as {}", inodes[&found.ino()])
        } else {
            if found.nlink() > 1 {
                inodes.insert(found.ino(), name.clone());
            }
            let bytes = fs::read(&path).expect("a file");
            match std::str::from_utf8(&bytes) {
                Ok(text) if text.len() < 200 => format!("file {text:?}"),
                _ => format!(
                    "file of {} bytes, {:?}",
                    bytes.len(),
                    &Sha256::digest(&bytes)[..4]
                ),
            }
        };
        // A link has no mode of its own.
        let mode = if kind.is_symlink() {
            0
        } else {
            found.mode() & 0o7777
        };
        files.insert(
            name,
            format!("{mode:o} {}:{} {what}", found.uid(), found.gid()),
        );
        if kind.is_dir() {
            walk(root, &path, files, inodes);
        }
    }
}
