//! Loop devices: a file as a block device.
#![expect(unsafe_code, reason = "the device is set up by ioctl")]

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Another process can take the free number between our asking and our taking. After this many tries
/// something else is wrong.
const ATTEMPTS: usize = 64;

/// The kernel has no event for it. Most disks are free within a millisecond or two.
const RELEASE_POLL_FIRST: Duration = Duration::from_millis(1);
const RELEASE_POLL_MAX: Duration = Duration::from_millis(10);

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

impl Access {
    fn open(self, path: &Path) -> io::Result<File> {
        let writes = self == Self::ReadWrite;
        OpenOptions::new().read(true).write(writes).open(path)
    }
}

/// `struct loop_info64` of the kernel.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of the kernel.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// The number in `/dev/loopN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoopNumber(pub u32);

impl LoopNumber {
    pub fn path(self) -> PathBuf {
        PathBuf::from(format!("/dev/loop{}", self.0))
    }

    /// Whether the device still stands on this file.
    pub fn is_backed_by(self, file: &Path) -> bool {
        self.backing_file().is_some_and(|found| found == file)
    }

    /// The file that the device stands on; `None` where it is free.
    fn backing_file(self) -> Option<PathBuf> {
        let path = format!("/sys/block/loop{}/loop/backing_file", self.0);
        let text = fs::read_to_string(path).ok()?;
        let text = text.trim_end_matches('\n');
        // The kernel marks a file that has been removed meanwhile; it is the same file all the same.
        Some(PathBuf::from(
            text.strip_suffix(" (deleted)").unwrap_or(text),
        ))
    }

    /// Waits until the device has let go of the file; `false` if it has not by then.
    ///
    /// The last unmount happens in the background of the kernel, after the last process has gone. Before
    /// it, a second mount of the same file would destroy the file system.
    pub async fn released(self, file: &Path, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut pause = RELEASE_POLL_FIRST;
        while self.is_backed_by(file) {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RELEASE_POLL_MAX);
        }
        true
    }
}

/// All devices of the host that stand on files.
pub fn backing_files() -> HashMap<PathBuf, LoopNumber> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten();
    devices
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let number = LoopNumber(name.to_str()?.strip_prefix("loop")?.parse().ok()?);
            Some((number.backing_file()?, number))
        })
        .collect()
}

/// A device that is set up and not yet mounted. It frees itself when this value and every mount are gone.
#[derive(Debug)]
pub struct LoopDevice {
    number: LoopNumber,
    _device: File,
}

impl LoopDevice {
    /// Puts the file behind a free device, with direct input and output: the page cache of the file system on
    /// top is enough, a second one below would only double the memory.
    pub fn attach(file: &Path) -> io::Result<Self> {
        Self::attach_for(file, Access::ReadWrite)
    }

    fn attach_for(file: &Path, access: Access) -> io::Result<Self> {
        let backing = access.open(file)?;
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        for _ in 0..ATTEMPTS {
            // SAFETY: a number comes back, nothing is written to our memory.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            let number = LoopNumber(u32::try_from(number).map_err(|_| io::Error::last_os_error())?);
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .open(number.path())?;
            // A file that is open for reading makes a device for reading.
            match configure(&device, &backing) {
                Ok(()) => {
                    return Ok(Self {
                        number,
                        _device: device,
                    });
                }
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// The device that stands on the file already, or a new one. Two devices on one file would be two file systems that
    /// do not know of each other: for one file, this must not be called twice at the same time.
    pub fn attach_shared(file: &Path, access: Access) -> io::Result<Self> {
        if let Some(number) = backing_files().get(file).copied() {
            let device = access.open(&number.path())?;
            // Looked at once it is open: from then on it does not free itself.
            if number.is_backed_by(file) {
                return Ok(Self {
                    number,
                    _device: device,
                });
            }
        }
        Self::attach_for(file, access)
    }

    pub fn number(&self) -> LoopNumber {
        self.number
    }
}

fn configure(device: &File, backing: &File) -> io::Result<()> {
    // SAFETY: both structures hold numbers only; zero means "not set" for each of them.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = backing.as_raw_fd().unsigned_abs();
    config.info.flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    // SAFETY: an open descriptor and a structure of the kernel's layout that lives until the call returns.
    let result = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            LOOP_CONFIGURE,
            std::ptr::from_ref(&config),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
