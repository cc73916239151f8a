//! The folder of a volume that a sandbox sees.
//!
//! Other sandboxes change the volume meanwhile. Every step goes from a folder that is held open to a name in it, follows
//! no link and crosses no mount; so whatever is moved, swapped or linked where, the result is a folder of this volume.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::process::umask;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Below this one is what sandboxes see; beside it are the file system's own things.
const FILES: &str = "files";

/// A folder can be removed by others between our making and our opening it.
const ATTEMPTS: usize = 8;

/// Finds the folder `subpath` of a volume, makes what is missing of it, and opens it without rights. Everybody may
/// write to folders that are made here: users of sandboxes differ. Called on a thread of its own, which it changes for
/// good.
pub(super) fn find(top: &OwnedFd, subpath: Option<&str>) -> io::Result<OwnedFd> {
    // The mode of new folders is what is asked for, and nobody else's: a mode that is set afterwards could hit what
    // others have put into the place.
    #[expect(
        unsafe_code,
        reason = "the thread's own copy of the mask has no safe form"
    )]
    // SAFETY: the thread stops sharing root, working folder and mask with the others; no descriptors are touched.
    unsafe {
        unshare_unsafe(UnshareFlags::FS)?;
    }
    umask(Mode::empty());
    let mut at = enter(top, FILES)?;
    for part in subpath.unwrap_or_default().split('/') {
        match part {
            // Of an absent path, and after a slash at the end.
            "" => {}
            "." | ".." => return Err(io::ErrorKind::InvalidInput.into()),
            name => at = enter(&at, name)?,
        }
    }
    Ok(at)
}

fn enter(at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    for _ in 0..ATTEMPTS {
        match openat2(at, name, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => match mkdirat(at, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            },
            other => return Ok(other?),
        }
    }
    Err(Errno::NOENT.into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Where a subpath leads, on a thread of its own as in earnest.
    fn leads(volume: &Path, subpath: Option<&str>) -> io::Result<PathBuf> {
        let top: OwnedFd = fs::File::open(volume)?.into();
        let finding = || {
            let found = find(&top, subpath)?;
            fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        };
        std::thread::scope(|scope| scope.spawn(finding).join().unwrap())
    }

    fn volume() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().canonicalize().unwrap().join(FILES);
        (folder, files)
    }

    #[test]
    fn folders_are_made_for_everybody_and_found_again() {
        let (volume, files) = volume();
        assert_eq!(leads(volume.path(), None).unwrap(), files);
        assert_eq!(leads(volume.path(), Some("")).unwrap(), files);
        let deep = files.join("users/alice");
        assert_eq!(leads(volume.path(), Some("users/alice")).unwrap(), deep);
        for folder in [&files, &files.join("users"), &deep] {
            let mode = fs::metadata(folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o777, "{}", folder.display());
        }
        fs::write(deep.join("file"), "kept").unwrap();
        fs::set_permissions(&deep, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(leads(volume.path(), Some("users/alice/")).unwrap(), deep);
        assert_eq!(fs::read(deep.join("file")).unwrap(), b"kept");
        let mode = fs::metadata(&deep).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "what is there stays as it is");
    }

    #[test]
    fn no_link_and_no_dots_lead_out_of_a_volume() {
        let (volume, files) = volume();
        leads(volume.path(), Some("real")).unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), files.join("absolute")).unwrap();
        symlink("../..", files.join("up")).unwrap();
        symlink("real", files.join("sideways")).unwrap();
        fs::write(files.join("file"), "").unwrap();
        for path in [
            "absolute",
            "absolute/x",
            "up",
            "up/x",
            "sideways",
            "sideways/x",
            "file",
            "file/x",
            "..",
            "real/../..",
            ".",
        ] {
            assert!(leads(volume.path(), Some(path)).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        // The control: the same through a real folder.
        assert_eq!(
            leads(volume.path(), Some("real/x")).unwrap(),
            files.join("real/x")
        );
    }

    #[test]
    fn a_folder_that_others_swap_for_a_link_meanwhile_never_leads_out() {
        let (volume, files) = volume();
        leads(volume.path(), None).unwrap();
        let outside = tempfile::tempdir().unwrap();
        let before = fs::metadata(outside.path()).unwrap().permissions().mode();
        let stop = AtomicBool::new(false);
        let (place, link) = (files.join("a"), files.join("link"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    symlink(outside.path(), &link).unwrap();
                    let _ = fs::remove_dir_all(&place);
                    fs::rename(&link, &place).unwrap_or_else(|_| {
                        let _ = fs::remove_file(&link);
                    });
                    let _ = fs::remove_file(&place);
                }
            });
            let mut found = 0;
            for _ in 0..2000 {
                if let Ok(path) = leads(volume.path(), Some("a/b")) {
                    assert!(path.starts_with(&files), "{}", path.display());
                    found += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(found > 0, "the folder was never found at all");
        });
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let after = fs::metadata(outside.path()).unwrap().permissions().mode();
        assert_eq!(before, after);
    }
}
