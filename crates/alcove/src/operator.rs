//! The operator's way to a running server: a socket in the data folder, which nobody but its owner reaches.
//!
//! It is for what concerns the host and no organization, such as keys and backups. One connection is one order: a line of
//! JSON in, and lines of JSON back until the order is done. Who leaves gives it up.

mod client;
mod server;

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backup::BackUp;

pub use client::ask;
pub use server::{Operator, serve};

const NAME: &str = "operator.sock";
/// Longest line of either side.
const LINE_MAX: u64 = 64 << 10;

/// What can be ordered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase", deny_unknown_fields)]
pub enum Order {
    /// Which keys seal secrets.
    Keys,
    /// Makes a new key, and waits until everything is sealed with it.
    RotateKey,
    /// Makes a backup.
    BackUp(BackUp),
}

/// What comes back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "camelCase")]
pub enum Reply {
    /// How far it is; more follows.
    Note {
        text: String,
    },
    Done {
        text: String,
    },
    Failed {
        reason: String,
    },
}

/// Where the socket of a data folder is, for as long as the folder is held open: the path itself may be longer than a
/// socket's can be.
struct Place {
    folder: OwnedFd,
}

impl Place {
    fn of(data_dir: &Path) -> io::Result<Self> {
        let flags =
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let folder = rustix::fs::open(data_dir, flags, rustix::fs::Mode::empty())?;
        Ok(Self { folder })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{NAME}", self.folder.as_raw_fd()))
    }
}
