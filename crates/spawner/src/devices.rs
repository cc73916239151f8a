//! The `/dev` of one sandbox, made before its first process is born.
//!
//! Its nodes are its own: a node of the host is one file for everybody, and locks on it, watches of it and its
//! times would tell sandboxes of each other and of the host. Making nodes takes a right that nobody has inside a
//! sandbox, so the spawner does it, on a file system that is nowhere mounted yet.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mknodat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

/// Name, major and minor number.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// A detached mount with the nodes that every sandbox has, in the hands of its root.
pub fn make(id_base: u32) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let owner = id_base.to_string();
    for (option, value) in [
        ("mode", "755"),
        ("size", "64k"),
        ("uid", &owner),
        ("gid", &owner),
    ] {
        fsconfig_set_string(context.as_fd(), option, value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let everyone = Mode::from_raw_mode(0o666);
    for (name, major, minor) in NODES {
        let device = makedev(major, minor);
        mknodat(&mount, name, FileType::CharacterDevice, everyone, device)?;
        // Whatever the mask of this process took away.
        chmodat(&mount, name, everyone, AtFlags::empty())?;
        let (user, group) = (Uid::from_raw(id_base), Gid::from_raw(id_base));
        chownat(&mount, name, Some(user), Some(group), AtFlags::empty())?;
    }
    Ok(mount)
}
