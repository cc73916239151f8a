//! Mounts below a root: sources of a build's step, folders that outlive it, memory.
//!
//! The root's files are hostile. A mount point is looked up by the kernel with the root as root, and made with the
//! ids of the sandbox's root, as if somebody inside had made it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{
    DISK, LAY_OVER, MountError, OPTIONS_MAX_BYTES, RootPlan, SHIFT_IDS, as_user, attach,
    classic_mount, new_folder, shift_ids, shift_ids_and_set, step,
};
use crate::image::Layer;
use crate::in_root::open_in_root;

/// Deepest mount point.
const DEPTH_MAX: usize = 64;

/// Mount points that had to be made, as paths below the root, and whether each is a folder.
pub type MadePoints = Arc<Mutex<Vec<(PathBuf, bool)>>>;

/// Something to mount below a root.
#[derive(Debug, Clone)]
pub struct ExtraMount {
    /// Absolute, as the sandbox sees it. Made if it is missing.
    pub point: String,
    pub tree: ExtraTree,
}

#[derive(Debug, Clone)]
pub enum ExtraTree {
    /// Layers over each other, lowest first, and of them what is at `path`. What is written there is on the sandbox's disk,
    /// beside its own files, and goes with it.
    Layers {
        layers: Vec<Layer>,
        path: String,
        is_writable: bool,
    },
    /// A folder that is opened without rights. Other sandboxes write to it, so neither devices nor set-user-id programs
    /// of it mean anything.
    Opened {
        folder: Arc<OwnedFd>,
        is_read_only: bool,
    },
    /// Memory, which counts as the sandbox's.
    Memory { size_bytes: u64 },
}

/// Mounts one of them. What is attached on the way is noted in `attached`; what is below the root goes with it.
pub(super) fn attach_below(
    work: &Path,
    root: &Path,
    plan: &RootPlan,
    mount: &ExtraMount,
    index: usize,
    attached: &mut Vec<PathBuf>,
) -> Result<(), MountError> {
    let own = work.join(format!("m{index:x}"));
    fs::create_dir(&own).map_err(step("make a folder in the scratch"))?;
    let tree = match &mount.tree {
        ExtraTree::Layers {
            layers,
            path,
            is_writable,
        } => {
            let upper = if *is_writable {
                Some(upper_on_disk(work, plan, index).map_err(step("prepare a writable mount"))?)
            } else {
                None
            };
            layers_at(&own, plan, layers, path, upper.as_deref(), attached)?
        }
        ExtraTree::Opened {
            folder,
            is_read_only,
        } => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let tree = open_tree(folder, "", flags).map_err(step("open a folder of a build"))?;
            let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            if *is_read_only {
                flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
            }
            shift_ids_and_set(tree.as_fd(), plan.user_namespace.as_fd(), flags)
                .map_err(step(SHIFT_IDS))?;
            tree
        }
        ExtraTree::Memory { size_bytes } => {
            let options = format!(
                "mode=1777,size={size_bytes},uid={id},gid={id}",
                id = plan.id_base
            );
            let flags = libc::MS_NODEV | libc::MS_NOSUID;
            classic_mount("tmpfs", &own, "tmpfs", flags, &options).map_err(step("mount memory"))?;
            attached.push(own.clone());
            clone_tree(&own).map_err(step("detach a mount"))?
        }
    };
    let is_folder = fstat(&tree)
        .map(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
        .map_err(step("look at what is to be mounted"))?;
    let point = as_user(plan.id_base, || {
        point_in(root, &mount.point, is_folder, &plan.made)
    })
    .map_err(step("make a mount point"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &point, "", flags).map_err(step("mount below the root"))
}

fn clone_tree(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags)
}

/// A folder for what is written to a mount, and for overlayfs to work in, seen with the ids of inside.
fn upper_on_disk(work: &Path, plan: &RootPlan, index: usize) -> io::Result<PathBuf> {
    let name = format!("mount-{index:x}");
    // Made on the disk itself, where root is the root of inside.
    let folder = plan.disk.folder().join(&name);
    // Of an attempt before.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for path in [folder.clone(), folder.join("upper"), folder.join("work")] {
        new_folder(&path)?;
    }
    Ok(work.join(DISK).join(name))
}

/// Layers over each other, and of them what is at a path. For reading, where there is no `upper`.
fn layers_at(
    own: &Path,
    plan: &RootPlan,
    layers: &[Layer],
    path: &str,
    upper: Option<&Path>,
    attached: &mut Vec<PathBuf>,
) -> Result<OwnedFd, MountError> {
    // Overlayfs wants two layers at least where nothing can be written.
    let empty = own.join("e");
    fs::create_dir(&empty).map_err(step("make a folder in the scratch"))?;
    let mut lower = empty.to_string_lossy().into_owned();
    for (index, layer) in layers.iter().rev().enumerate() {
        let point = own.join(format!("{index:x}l"));
        fs::create_dir(&point).map_err(step("make a folder in the scratch"))?;
        let tree = clone_tree(&plan.mounted.place(layer)?).map_err(step("open a layer"))?;
        shift_ids(tree.as_fd(), plan.user_namespace.as_fd()).map_err(step(SHIFT_IDS))?;
        attach(tree.as_fd(), &point).map_err(step("attach a layer"))?;
        attached.push(point.clone());
        // The empty one is the lowest.
        lower = if index == 0 {
            format!("{}:{lower}", point.display())
        } else {
            let (above, below) = lower.rsplit_once(':').unwrap_or((&lower, ""));
            format!("{above}:{}:{below}", point.display())
        };
    }
    if layers.is_empty() {
        let other = own.join("f");
        fs::create_dir(&other).map_err(step("make a folder in the scratch"))?;
        lower = format!("{}:{lower}", other.display());
    }
    let options = match upper {
        None => format!("lowerdir={lower},redirect_dir=follow,metacopy=off"),
        Some(upper) => format!(
            "lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work,redirect_dir=on,metacopy=off",
            upper = upper.display()
        ),
    };
    if options.len() >= OPTIONS_MAX_BYTES {
        return Err(MountError::TooManyLayers {
            layers: layers.len(),
        });
    }
    let merged = own.join("r");
    fs::create_dir(&merged).map_err(step("make a folder in the scratch"))?;
    let mut flags = libc::MS_NODEV | libc::MS_NOSUID | libc::MS_NOATIME;
    if upper.is_none() {
        flags |= libc::MS_RDONLY;
    }
    as_user(plan.id_base, || {
        classic_mount("overlay", &merged, "overlay", flags, &options)
    })
    .map_err(step(LAY_OVER))?;
    attached.push(merged.clone());
    let inner = path.trim_matches('/');
    if inner.is_empty() {
        return clone_tree(&merged).map_err(step("detach a mount"));
    }
    let folder = openat(CWD, &merged, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(step("open the layers of a build"))?;
    let found = in_root(&folder, Path::new(inner), OFlags::PATH)
        .map_err(step("find what a mount of the build names"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(found, "", flags).map_err(step("detach a mount"))
}

fn in_root(root: &impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_in_root(root, path, flags, ResolveFlags::empty())
}

/// The mount point, made where it is missing.
fn point_in(root: &Path, point: &str, is_folder: bool, made: &MadePoints) -> io::Result<OwnedFd> {
    let root = openat(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let parts: Vec<&str> = point.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.len() > DEPTH_MAX || parts.contains(&"..") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut path = PathBuf::new();
    for (index, name) in parts.iter().enumerate() {
        let parent = in_root(
            &root,
            if index == 0 { Path::new(".") } else { &path },
            OFlags::PATH | OFlags::DIRECTORY,
        )?;
        path.push(name);
        match in_root(&root, &path, OFlags::PATH) {
            Ok(_) => continue,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let makes_folder = index + 1 < parts.len() || is_folder;
        let at = place(&root, &parent)?.join(name);
        made.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((at, makes_folder));
        if makes_folder {
            mkdirat(
                &parent,
                *name,
                Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
            )?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(
                &parent,
                *name,
                flags,
                Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH,
            )?;
        }
    }
    Ok(in_root(&root, &path, OFlags::PATH)?)
}

/// Where a folder of the root really is, links resolved, below the root.
fn place(root: &OwnedFd, folder: &OwnedFd) -> io::Result<PathBuf> {
    let read = |fd: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let (root, folder) = (read(root)?, read(folder)?);
    let below = folder.strip_prefix(&root).map_err(io::Error::other)?;
    Ok(below.to_owned())
}

/// Takes mount points that were made away again, from the writable layer of a disk that no sandbox has. What is not empty
/// by now is somebody's and stays. No link is followed.
pub fn remove_points(upper: &impl AsFd, made: &MadePoints) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let made = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
    for (path, is_folder) in made.iter().rev() {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let Ok(folder) = openat2(upper, parent, flags, Mode::empty(), resolve) else {
            continue;
        };
        let how = if *is_folder {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        let is_empty = *is_folder
            || statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
                found.st_size == 0
                    && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            });
        if is_empty {
            let _ = unlinkat(&folder, name, how);
        }
    }
}
