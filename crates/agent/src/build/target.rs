//! Where files are copied to, and who owns them there.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, lchown};
use std::path::Path;

use rustix::fs::{Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::passwd;

/// Longest list and value of extended attributes that the kernel has.
const XATTR_MAX_BYTES: usize = 64 << 10;

/// Who owns what is made, and with which permissions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    pub owner: Option<(u32, u32)>,
    pub mode: Option<u32>,
    pub keeps_owner: bool,
}

impl Terms {
    /// # Errors
    /// The reason in words: the image has no such user or group.
    pub fn new(owner: Option<&str>, mode: Option<u32>, keeps_owner: bool) -> Result<Self, String> {
        Ok(Self {
            owner: owner.map(find_owner).transpose()?,
            mode,
            keeps_owner,
        })
    }

    pub fn owner_of(&self, found: &Stat) -> (u32, u32) {
        match self.owner {
            Some(owner) => owner,
            None if self.keeps_owner => (found.st_uid, found.st_gid),
            None => (0, 0),
        }
    }

    pub fn mode_of(&self, found: &Stat) -> u32 {
        self.mode.unwrap_or(found.st_mode & 0o7777)
    }
}

fn find_owner(text: &str) -> Result<(u32, u32), String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (users, groups) = (read("/etc/passwd"), read("/etc/group"));
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let missing = |what: &str, name: &str| format!("the image has no {what} {name:?}");
    let uid = passwd::uid_of(&users, user).ok_or_else(|| missing("user", user))?;
    let gid = match group {
        Some(group) => passwd::gid_of(&groups, group).ok_or_else(|| missing("group", group))?,
        None if user.parse::<u32>().is_ok() => uid,
        None => passwd::resolve(user, &users, &groups).map_or(uid, |user| user.gid),
    };
    Ok((uid, gid))
}

/// Makes a folder and those above it that are missing.
pub fn make_folders(path: &Path, terms: &Terms) -> Result<(), String> {
    let mut missing = Vec::new();
    let mut at = Some(path);
    while let Some(folder) = at {
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => return Err(format!("{} is not a folder", folder.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(folder),
            Err(error) => return Err(format!("{}: {error}", folder.display())),
        }
        at = folder.parent();
    }
    for folder in missing.into_iter().rev() {
        let (uid, gid) = terms.owner.unwrap_or((0, 0));
        fs::DirBuilder::new()
            .mode(0o755)
            .create(folder)
            .and_then(|()| chown(folder, Some(uid), Some(gid)))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(())
}

/// Frees a name for what is not a folder.
pub fn free(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err(format!("{} is a folder", path.display())),
        Ok(_) => fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Owner first: a change of owner takes set-user-id bits away.
pub fn dress(path: &Path, found: &Stat, terms: &Terms) -> io::Result<()> {
    let (uid, gid) = terms.owner_of(found);
    lchown(path, Some(uid), Some(gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(terms.mode_of(found)))
}

/// The times of what was copied, links not followed.
pub fn set_times(path: &Path, found: &Stat) -> io::Result<()> {
    let modified = Timespec {
        tv_sec: found.st_mtime,
        tv_nsec: found.st_mtime_nsec.try_into().unwrap_or(0),
    };
    let times = Timestamps {
        last_access: modified,
        last_modification: modified,
    };
    Ok(rustix::fs::utimensat(
        rustix::fs::CWD,
        path,
        &times,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Attributes that mean something to programs inside.
pub fn copy_xattrs(from: &impl AsFd, to: &impl AsFd) -> io::Result<()> {
    let mut list = vec![0_u8; XATTR_MAX_BYTES];
    let length = match rustix::fs::flistxattr(from, &mut list) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in list[..length].split(|byte| *byte == 0) {
        if !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        let mut value = vec![0_u8; XATTR_MAX_BYTES];
        let length = rustix::fs::fgetxattr(from, name, &mut value)?;
        rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}
