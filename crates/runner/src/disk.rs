//! Disks: one sparse ext4 image a sandbox, on a loop device.
//!
//! This works on every host and is a hard limit. An empty image takes 140 KiB; it is a copy, by data
//! ranges, of a template that `mkfs.ext4` made once for its size. The loop device frees itself when its last
//! user has gone, so a server that is killed leaves none behind.

mod change;
mod hold;
mod loop_device;
pub mod ranges;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::cancel::Cancel;

pub use change::Draft;
pub use hold::{hold, let_go};
pub use loop_device::{Access, LoopDevice, LoopNumber, backing_files};

/// Bytes of a disk for each inode, since trees of small files (`node_modules`, package caches) run out of inodes before
/// they run out of space.
const BYTES_PER_INODE: u64 = 8 << 10;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("cannot make a file system template of {bytes} bytes: {output}")]
    Mkfs { bytes: u64, output: String },
    #[error("cannot make the disk larger: {program} says {output}")]
    Grow {
        program: &'static str,
        output: String,
    },
    #[error("another order came first")]
    Cancelled,
    #[error("cannot {step} {path}")]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl DiskError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Mkfs { .. } | Self::Grow { .. } | Self::Cancelled => None,
            Self::Io { source, .. } => source.raw_os_error(),
        }
    }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io {
        step,
        path: path.clone(),
        source,
    }
}

/// Makes disk images. Blocking; called from threads that may block.
#[derive(Debug)]
pub struct Disks {
    folder: PathBuf,
    templates: Mutex<HashMap<u64, PathBuf>>,
}

impl Disks {
    pub fn open(folder: PathBuf) -> Result<Self, DiskError> {
        fs::create_dir_all(&folder).map_err(failed("make the folder", &folder))?;
        Ok(Self {
            folder,
            templates: Mutex::new(HashMap::new()),
        })
    }

    /// Where the disk of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.ext4"))
    }

    /// Names of all disks that exist.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        entries
            .filter_map(|entry| {
                Some(
                    entry
                        .file_name()
                        .to_str()?
                        .strip_suffix(".ext4")?
                        .to_owned(),
                )
            })
            .filter(|name| !name.starts_with('.'))
            .collect()
    }

    /// Makes an empty disk. Nothing of it is left if that fails.
    pub fn create(&self, name: &str, bytes: u64) -> Result<PathBuf, DiskError> {
        let template = self.template(bytes)?;
        let path = self.path(name);
        let result = ranges::copy(&template, &path, &Cancel::never())
            .map_err(failed("copy the template to", &path));
        if result.is_err() {
            let _ = fs::remove_file(&path);
        }
        result.map(|()| path)
    }

    /// Gives a disk another name.
    pub fn rename(&self, from: &str, to: &str) -> Result<PathBuf, DiskError> {
        let (from, to) = (self.path(from), self.path(to));
        fs::rename(&from, &to).map_err(failed("rename", &from))?;
        Ok(to)
    }

    /// Removes a disk; one that does not exist is removed already.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn template(&self, bytes: u64) -> Result<PathBuf, DiskError> {
        let mut templates = self
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = templates.get(&bytes) {
            return Ok(path.clone());
        }
        // The leading dot keeps it out of the list of disks.
        let path = self.folder.join(format!(".template-{bytes}.ext4"));
        if !path.exists() {
            make_template(&path, bytes)?;
        }
        templates.insert(bytes, path.clone());
        Ok(path)
    }
}

/// The disk is journaled, so that it survives a host that loses its power; the small journal and late inode
/// tables keep an empty one at 140 KiB and a copy of it at a fifth of a millisecond.
fn make_template(path: &Path, bytes: u64) -> Result<(), DiskError> {
    let draft = path.with_extension("draft");
    let file = fs::File::create(&draft).map_err(failed("make", &draft))?;
    file.set_len(bytes).map_err(failed("size", &draft))?;
    drop(file);
    let inodes = (bytes / BYTES_PER_INODE).to_string();
    let output = Command::new("mkfs.ext4")
        .args([
            "-q",
            "-F",
            "-m",
            "0",
            // Small ones would get smaller blocks, which a device on a file that shares its blocks (xfs) does not have.
            "-b",
            "4096",
            "-O",
            "^resize_inode,sparse_super2",
            "-J",
            "size=4",
            "-E",
        ])
        .args([
            "lazy_itable_init=1,nodiscard,num_backup_sb=0",
            "-N",
            &inodes,
        ])
        .arg(&draft)
        .output()
        .map_err(failed("run mkfs.ext4 for", &draft))?;
    if !output.status.success() {
        let _ = fs::remove_file(&draft);
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if says_full(&output) {
            return Err(failed("make", &draft)(full()));
        }
        return Err(DiskError::Mkfs { bytes, output });
    }
    // All disks of this size are copies of it: what is named is whole, also after a loss of power.
    let name = || {
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(&draft, path)
    };
    name().map_err(failed("name", path))
}

/// Where the host has no room, it is the file system's program that learns of it.
fn says_full(said: &str) -> bool {
    said.contains("No space left on device")
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn an_empty_disk_of_10_gib_takes_less_than_1_mib() {
        let folder = tempfile::tempdir().unwrap();
        let disks = Disks::open(folder.path().to_owned()).unwrap();
        let path = disks.create("a", 10 << 30).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 10 << 30);
        assert!(
            metadata.blocks() * 512 < 1 << 20,
            "{} blocks",
            metadata.blocks()
        );
        assert_eq!(disks.names(), ["a"]);
        disks.remove("a").unwrap();
        disks.remove("a").unwrap();
        assert!(disks.names().is_empty());
    }

    /// A file system of 8 KiB in memory, for as long as it lives.
    struct Tiny(tempfile::TempDir);

    impl Tiny {
        fn new() -> Self {
            let tiny = Self(tempfile::tempdir().unwrap());
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"]);
            assert!(mount.arg(tiny.0.path()).status().unwrap().success());
            tiny
        }
    }

    impl Drop for Tiny {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).status();
        }
    }

    #[test]
    fn a_host_without_room_for_a_template_is_told_as_such_and_keeps_no_part_of_it() {
        let tiny = Tiny::new();
        let disks = Disks::open(tiny.0.path().to_owned()).unwrap();
        let error = disks.create("a", 64 << 20).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOSPC), "{error}");
        assert_eq!(fs::read_dir(tiny.0.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_size_that_no_file_system_fits_into_is_told_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let disks = Disks::open(folder.path().to_owned()).unwrap();
        let error = disks.create("a", 4096).unwrap_err();
        assert!(
            matches!(error, DiskError::Mkfs { bytes: 4096, .. }),
            "{error}"
        );
        assert!(disks.names().is_empty());
    }
}
