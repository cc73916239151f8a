//! What SFTP tells of a file, and how it is changed.

use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use russh_sftp::protocol::FileAttributes;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, chmodat, chownat, utimensat};

/// Bits of a mode that can be set.
const SETTABLE: u32 = 0o7777;

pub fn of(metadata: &Metadata) -> FileAttributes {
    // Version 3 has 32 bits for a time.
    let time = |seconds: i64| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: Some(time(metadata.atime())),
        mtime: Some(time(metadata.mtime())),
        ..FileAttributes::empty()
    }
}

/// Sets what is given on an open file.
pub fn set_open(file: &File, attributes: &FileAttributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        file.set_len(size)?;
    }
    if let Some(mode) = attributes.permissions {
        file.set_permissions(Permissions::from_mode(mode & SETTABLE))?;
    }
    if let Some((accessed, modified)) = attributes.atime.zip(attributes.mtime) {
        let time = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        let times = FileTimes::new()
            .set_accessed(time(accessed))
            .set_modified(time(modified));
        file.set_times(times)?;
    }
    if let Some((uid, gid)) = attributes.uid.zip(attributes.gid) {
        std::os::unix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Sets what is given on the file of that name, or on the link itself.
pub fn set(path: &Path, attributes: &FileAttributes, follows: bool) -> io::Result<()> {
    let flags = if follows {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    };
    if let Some(size) = attributes.size {
        File::options().write(true).open(path)?.set_len(size)?;
    }
    if let Some(mode) = attributes.permissions {
        chmodat(CWD, path, Mode::from_bits_truncate(mode & SETTABLE), flags)?;
    }
    if let Some((accessed, modified)) = attributes.atime.zip(attributes.mtime) {
        let time = |seconds: u32| Timespec {
            tv_sec: seconds.into(),
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time(accessed),
            last_modification: time(modified),
        };
        utimensat(CWD, path, &times, flags)?;
    }
    if let Some((uid, gid)) = attributes.uid.zip(attributes.gid) {
        let (owner, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(CWD, path, Some(owner), Some(group), flags)?;
    }
    Ok(())
}
