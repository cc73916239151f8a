//! Holding a file system still: what it has in memory is written, and writers wait until it is let go.
//!
//! The hold belongs to the file system and not to us: it outlives a server that is killed. Whoever holds
//! writes that down first, and the next server lets go.
#![expect(unsafe_code, reason = "the file system is held by ioctl")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const FIFREEZE: libc::c_ulong = 0xC004_5877;
const FITHAW: libc::c_ulong = 0xC004_5878;

/// Holds the file system of an open folder. Blocks while it writes.
pub fn hold(folder: &OwnedFd) -> io::Result<()> {
    tell(folder, FIFREEZE)
}

/// Lets the file system go; one that is not held stays so.
pub fn let_go(folder: &OwnedFd) -> io::Result<()> {
    match tell(folder, FITHAW) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

fn tell(folder: &OwnedFd, what: libc::c_ulong) -> io::Result<()> {
    // SAFETY: an open descriptor; the kernel reads no memory for these two.
    if unsafe { libc::ioctl(folder.as_raw_fd(), what, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
