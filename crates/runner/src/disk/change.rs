//! Disks copied and made larger. Both work on a draft, which gets its name when it is whole: a server that is
//! killed halfway leaves the disk as it was, and a draft that the next one removes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DiskError, Disks, failed, full, ranges, says_full};
use crate::cancel::Cancel;

/// How drafts are named. No sandbox's id starts with a plus sign, so they belong to no sandbox.
const DRAFT_PREFIX: &str = "+draft-";

/// The largest exit code of e2fsck that means a file system without errors.
const E2FSCK_CORRECTED: i32 = 1;

/// A disk without a sandbox, removed when this value goes.
#[derive(Debug)]
pub struct Draft {
    name: String,
    path: PathBuf,
}

impl Draft {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            // It has another name now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot remove a draft of a disk");
            }
            Ok(()) => {}
        }
    }
}

impl Disks {
    /// A draft that does not exist yet.
    pub fn draft(&self) -> Draft {
        let name = format!("{DRAFT_PREFIX}{}", uuid::Uuid::new_v4().simple());
        Draft {
            path: self.path(&name),
            name,
        }
    }

    /// A copy of a disk that nobody writes to. Blocks.
    pub fn copy(&self, name: &str, cancel: &Cancel) -> Result<Draft, DiskError> {
        let draft = self.draft();
        self.copy_to(name, &draft.path, cancel)?;
        Ok(draft)
    }

    /// A copy of a disk that nobody writes to, in this file. Blocks.
    pub fn copy_to(&self, name: &str, to: &Path, cancel: &Cancel) -> Result<(), DiskError> {
        let path = self.path(name);
        ranges::copy(&path, to, cancel).map_err(|error| {
            if cancel.is_cancelled() {
                DiskError::Cancelled
            } else {
                failed("copy", &path)(error)
            }
        })
    }

    /// Makes a draft the disk of this name, in place of the one that had it. Blocks until it is on the
    /// host's disk.
    pub fn settle(&self, draft: &Draft, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        let settle = || {
            File::open(&draft.path)?.sync_all()?;
            fs::rename(&draft.path, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        settle().map_err(failed("name", &path))
    }

    /// Makes an empty disk that is on the host's disk for good when this returns. One that is there already stays as it
    /// is. Blocks.
    pub fn ensure(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        if self.path(name).exists() {
            return Ok(());
        }
        let template = self.template(bytes)?;
        let draft = self.draft();
        ranges::copy(&template, draft.path(), &Cancel::never())
            .map_err(failed("copy the template to", draft.path()))?;
        self.settle(&draft, name)
    }

    /// Removes a disk for good: it does not come back when the host loses its power. Blocks.
    pub fn remove_for_good(&self, name: &str) -> Result<(), DiskError> {
        self.remove(name)?;
        let sync = || File::open(&self.folder)?.sync_all();
        sync().map_err(failed("sync", &self.folder))
    }

    /// The size of a disk.
    pub fn size(&self, name: &str) -> Result<u64, DiskError> {
        let path = self.path(name);
        let found = fs::metadata(&path).map_err(failed("look at", &path))?;
        Ok(found.len())
    }

    /// A larger copy of a disk that is on no device. Blocks.
    pub fn larger(&self, name: &str, bytes: u64, cancel: &Cancel) -> Result<Draft, DiskError> {
        let draft = self.copy(name, cancel)?;
        // It insists on a check before it changes a file system that is not mounted.
        run("e2fsck", &["-f", "-p"], &draft.path, E2FSCK_CORRECTED)?;
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&draft.path)
            .map_err(failed("open", &draft.path))?;
        file.set_len(bytes).map_err(failed("size", &draft.path))?;
        drop(file);
        run("resize2fs", &[], &draft.path, 0)?;
        Ok(draft)
    }
}

fn run(
    program: &'static str,
    options: &[&str],
    path: &Path,
    worst_code: i32,
) -> Result<(), DiskError> {
    let output = Command::new(program)
        .args(options)
        .arg(path)
        .output()
        .map_err(failed("run a file system's program on", path))?;
    if output.status.code().is_some_and(|code| code <= worst_code) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if says_full(&said) {
        return Err(failed("make larger", path)(full()));
    }
    // The host's path is nobody's business.
    let output = said.replace(&*path.to_string_lossy(), "the disk");
    Err(DiskError::Grow { program, output })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    fn disks(folder: &tempfile::TempDir) -> Disks {
        Disks::open(folder.path().to_owned()).unwrap()
    }

    #[test]
    fn a_disk_that_was_made_larger_is_a_whole_file_system_and_stays_sparse() {
        let folder = tempfile::tempdir().unwrap();
        let disks = disks(&folder);
        disks.create("a", 1 << 30).unwrap();
        let draft = disks.larger("a", 3 << 30, &Cancel::never()).unwrap();
        assert_eq!(disks.size("a").unwrap(), 1 << 30, "until it is settled");
        disks.settle(&draft, "a").unwrap();
        drop(draft);
        assert_eq!(disks.size("a").unwrap(), 3 << 30);
        let found = fs::metadata(disks.path("a")).unwrap();
        assert!(found.blocks() * 512 < 32 << 20, "{} blocks", found.blocks());
        run("e2fsck", &["-f", "-n"], &disks.path("a"), 0).unwrap();
        assert_eq!(disks.names(), ["a"]);
    }

    #[test]
    fn a_disk_that_is_there_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let disks = disks(&folder);
        disks.ensure("a", 64 << 20).unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(disks.path("a"))
            .unwrap();
        file.write_all_at(b"words", 32 << 20).unwrap();
        disks.ensure("a", 128 << 20).unwrap();
        assert_eq!(disks.size("a").unwrap(), 64 << 20);
        let mut words = [0; 5];
        let file = File::open(disks.path("a")).unwrap();
        file.read_exact_at(&mut words, 32 << 20).unwrap();
        assert_eq!(&words, b"words");
        disks.remove_for_good("a").unwrap();
        disks.remove_for_good("a").unwrap();
        assert!(disks.names().is_empty());
    }

    #[test]
    fn a_copy_is_the_same_and_a_cancelled_one_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disks = disks(&folder);
        let file = File::create(disks.path("a")).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"words", 1 << 20).unwrap();
        let draft = disks.copy("a", &Cancel::never()).unwrap();
        let mut words = [0; 5];
        let copy = File::open(draft.path()).unwrap();
        copy.read_exact_at(&mut words, 1 << 20).unwrap();
        assert_eq!(
            (&words, copy.metadata().unwrap().len()),
            (b"words", 1 << 30)
        );
        drop(draft);
        assert_eq!(disks.names(), ["a"]);

        let cancel = Cancel::default();
        cancel.cancel();
        // Where blocks can be shared, there is nothing to cancel.
        match disks.copy("a", &cancel) {
            Err(DiskError::Cancelled) | Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(disks.names(), ["a"]);
    }
}
