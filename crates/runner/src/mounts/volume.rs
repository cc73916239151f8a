//! Volumes in a sandbox's root.
//!
//! Whoever has the sandbox may have put links in the way of a mount path. They are followed as the sandbox would follow
//! them, within its root and within its own files: a path that leads into another volume, whose contents another sandbox
//! writes, or back to the root itself is refused.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{MountError, MountedDisk, RootPlan, SHIFT_IDS, as_user, shift_ids_and_set, step};
use crate::in_root::open_in_root;

/// A volume that is to be in a root.
#[derive(Debug)]
pub struct VolumePlan {
    /// Where it is in the scratch.
    pub disk: MountedDisk,
    /// The folder of it that is to be seen, opened without rights.
    pub folder: OwnedFd,
    /// Absolute, inside.
    pub mount_path: String,
    pub is_read_only: bool,
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Mounts the plan's volumes in the root that stands at `point`.
pub(super) fn mount_all(point: &Path, plan: &RootPlan) -> Result<(), MountError> {
    if plan.volumes.is_empty() {
        return Ok(());
    }
    let root = openat(CWD, point, FOLDER, Mode::empty()).map_err(step("open the root"))?;
    for volume in &plan.volumes {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&volume.folder, "", flags).map_err(step("open a volume"))?;
        // One sandbox writes what another one sees: neither devices nor set-user-id programs mean anything.
        let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        if volume.is_read_only {
            // Of this mount alone: others mount the same file system for writing.
            flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        shift_ids_and_set(tree.as_fd(), plan.user_namespace.as_fd(), flags)
            .map_err(step(SHIFT_IDS))?;
        let at = |error: io::Error| MountError::VolumePoint {
            mount_path: volume.mount_path.clone(),
            source: error,
        };
        let target = mount_point(&root, &volume.mount_path, plan.id_base).map_err(at)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree, "", &target, "", flags).map_err(|error| at(error.into()))?;
    }
    Ok(())
}

/// The folder at a path inside, made where it is not there. It belongs to the sandbox's root then.
fn mount_point(root: &OwnedFd, path: &str, id_base: u32) -> io::Result<OwnedFd> {
    let open = |path: &Path| open_in_root(root, path, FOLDER, ResolveFlags::NO_XDEV);
    let mut at = open(Path::new("."))?;
    let mut walked = PathBuf::new();
    for part in Path::new(path).components().skip(1) {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        walked.push(name);
        at = match open(&walked) {
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(0o755);
                // The host's root is nobody in this file system.
                as_user(id_base, || mkdirat(&at, name, mode))?;
                open(&walked)?
            }
            other => other?,
        };
    }
    let identity = |folder: &OwnedFd| fstat(folder).map(|found| (found.st_dev, found.st_ino));
    if identity(&at)? == identity(root)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Where the path leads, seen from the root; made as the user who runs the test.
    fn leads(root: &Path, path: &str) -> io::Result<PathBuf> {
        let opened = openat(CWD, root, FOLDER, Mode::empty()).unwrap();
        let own = rustix::process::getuid().as_raw();
        let found = mount_point(&opened, path, own)?;
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
        let full = fs::read_link(link)?;
        Ok(full.strip_prefix(root.canonicalize()?).unwrap().to_owned())
    }

    #[test]
    fn a_mount_path_is_made_and_links_lead_no_further_than_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        let root = folder.path().join("root");
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(root.join("home")).unwrap();
        assert_eq!(leads(&root, "/a/b/c").unwrap(), Path::new("a/b/c"));
        assert_eq!(leads(&root, "/home/x").unwrap(), Path::new("home/x"));

        symlink("/home", root.join("absolute")).unwrap();
        symlink("../../../../../outside", root.join("up")).unwrap();
        symlink("/", root.join("top")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        assert_eq!(leads(&root, "/absolute/y").unwrap(), Path::new("home/y"));
        // Clamped to the root, as inside of it.
        assert!(
            leads(&root, "/up/z").is_err(),
            "there is no such folder inside"
        );
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        for refused in ["/top", "/dangling", "/file", "/file/x", "/a/../b"] {
            assert!(leads(&root, refused).is_err(), "{refused}");
        }
    }
}
