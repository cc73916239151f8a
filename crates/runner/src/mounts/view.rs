//! A disk looked at from outside: to hold its file system still, and to read what its sandbox has made of
//! the image.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat, openat2, unlinkat};
use rustix::mount::{OpenTreeFlags, UnmountFlags, open_tree, unmount};

use super::{
    LAY_OVER, MountError, MountedDisk, MountedLayers, Mounts, OPTIONS_MAX_BYTES, Scratch,
    classic_mount, step,
};
use crate::image::Layer;

/// What a sandbox sees, and which part of it is its own.
#[derive(Debug)]
pub struct DiskView {
    /// The writable layer, as overlayfs keeps it: with its marks for what is removed.
    pub upper: OwnedFd,
    /// Image and writable layer laid over each other, for reading.
    pub merged: OwnedFd,
}

impl Mounts {
    /// The folder that the disk is mounted on. It keeps the disk mounted.
    pub async fn open_disk(&self, disk: MountedDisk) -> Result<OwnedFd, MountError> {
        self.run(move |_| {
            let path = disk.folder();
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            openat(CWD, path, flags, Mode::empty()).map_err(step("open the disk"))
        })
        .await
    }

    /// A view of a disk that no sandbox has, with these layers below, lowest first. It keeps the disk
    /// mounted.
    pub async fn view(
        &self,
        disk: MountedDisk,
        layers: Vec<Layer>,
        mounted: MountedLayers,
    ) -> Result<DiskView, MountError> {
        self.run(move |scratch| {
            let places: Result<Vec<PathBuf>, MountError> =
                layers.iter().map(|layer| mounted.place(layer)).collect();
            scratch.view(&disk, &places?)
        })
        .await
    }
}

impl Scratch {
    fn view(&mut self, disk: &MountedDisk, layers: &[PathBuf]) -> Result<DiskView, MountError> {
        let (_, work) = self.folder()?;
        let mut attached = Vec::new();
        let view = view_in(&work, disk, layers, &mut attached);
        for path in attached.iter().rev() {
            if let Err(error) = unmount(path, UnmountFlags::DETACH) {
                tracing::error!(path = %path.display(), %error, "cannot take a mount off");
            }
        }
        for entry in fs::read_dir(&work)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&work);
        view
    }
}

fn view_in(
    work: &Path,
    disk: &MountedDisk,
    layers: &[PathBuf],
    attached: &mut Vec<PathBuf>,
) -> Result<DiskView, MountError> {
    let upper = PathBuf::from(format!("{:x}/upper", disk.0));
    let mut lower = upper.display().to_string();
    for (index, layer) in layers.iter().rev().enumerate() {
        // By a short name: the options of a mount are one page.
        let point = work.join(format!("{index:x}"));
        fs::create_dir(&point).map_err(step("make a folder in the scratch"))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, layer, flags).map_err(step("open a layer"))?;
        super::attach(tree.as_fd(), &point).map_err(step("attach a layer"))?;
        attached.push(point.clone());
        lower.push(':');
        lower.push_str(&point.to_string_lossy());
    }
    if layers.is_empty() {
        // Overlayfs wants two layers at least where nothing can be written.
        let empty = work.join("e");
        fs::create_dir(&empty).map_err(step("make a folder in the scratch"))?;
        lower.push(':');
        lower.push_str(&empty.to_string_lossy());
    }
    let options = format!("lowerdir={lower},redirect_dir=follow,metacopy=off");
    if options.len() >= OPTIONS_MAX_BYTES {
        return Err(MountError::TooManyLayers {
            layers: layers.len(),
        });
    }
    let point = work.join("root");
    fs::create_dir(&point).map_err(step("make a folder in the scratch"))?;
    let flags = libc::MS_NODEV | libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NOATIME;
    classic_mount(
        "overlay",
        &point,
        "overlay",
        flags | libc::MS_RDONLY,
        &options,
    )
    .map_err(step(LAY_OVER))?;
    attached.push(point.clone());
    let open = |path: &Path, doing| {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map_err(step(doing))
    };
    Ok(DiskView {
        upper: open(&upper, "open the writable layer")?,
        merged: open(&point, "open the merged layers")?,
    })
}

/// Writes a file that must not be there yet, with mode 0644.
pub(super) fn new_file(folder: impl AsFd, path: &Path, text: &str) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = openat(folder, path, flags, mode)?;
    io::Write::write_all(&mut fs::File::from(file), text.as_bytes())
}

/// Writes files over those of the sandbox that the disk is a copy of. Whoever had that sandbox chose what is
/// in the way: no link is followed, and a path that leads elsewhere is left alone.
pub(super) fn replace_files(upper: &Path, files: &[(&'static str, String)]) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = openat(CWD, upper, flags | OFlags::NOFOLLOW, Mode::empty())?;
    for (path, text) in files {
        let path = Path::new(path);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let Ok(folder) = openat2(&root, folder, flags, Mode::empty(), resolve) else {
            continue;
        };
        if unlinkat(&folder, name, AtFlags::empty()).is_ok() {
            new_file(&folder, Path::new(name), text)?;
        }
    }
    Ok(())
}
