//! `alcove-spawner floor`: the least that the kernel takes to isolate a process, as a measure for the rest.
//!
//! Two things are measured, each to the first byte of a static program that is entered last. **Process**: what a
//! spawn cannot do without: born into all namespaces of a sandbox and into a network namespace that waits, ids mapped. No
//! root, no `/proc`, no filter. **Isolated**: the same with all that isolates a sandbox's process, on an empty root in
//! memory: own `/proc`, `/dev` and `/sys`, masks, the old root gone, few capabilities, the filter. Neither has limits,
//! layers, a disk or an agent. It is measured here, and not where it is asked for, because `clone3` copies the page tables
//! of its caller: a large program would measure itself.
//!
//! Each byte of standard input, `p` or `i`, is answered with the nanoseconds of one round as eight bytes, lowest
//! first.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::seccomp::Filter;
use crate::server::{map_ids, namespaces};
use crate::system::{self, Clone};
use crate::{child, devices, stage};

/// Under this name the program writes one byte and ends.
pub const FIRST_BYTE_NAME: &std::ffi::CStr = c"alcove-first-byte";

/// Above the last id of the last sandbox's range, below the kernel's special values.
const ID_BASE: u32 = 0xFFFE_0000;

const FIRST_BYTE: u8 = b'!';

/// What all rounds share.
struct Ready {
    own_network: OwnedFd,
    network: OwnedFd,
    program: OwnedFd,
    filter: Filter,
}

/// What a round measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Process,
    Isolated,
}

/// Answers until the input ends.
pub fn run() -> io::Result<()> {
    let own_network = opened("/proc/self/ns/net")?;
    system::unshare_network()?;
    let network = opened("/proc/self/ns/net")?;
    system::enter_network(own_network.as_fd())?;
    let ready = Ready {
        own_network,
        network,
        program: opened("/proc/self/exe")?,
        filter: Filter::compile().map_err(io::Error::other)?,
    };
    // The spawner's own tree of few mounts: every new process gets a copy of its parent's.
    stage::enter()?;
    let mut asks = io::stdin().lock();
    let mut answers = io::stdout().lock();
    let mut ask = [0_u8; 1];
    while asks.read(&mut ask)? == 1 {
        let what = match ask {
            [b'p'] => What::Process,
            [b'i'] => What::Isolated,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let nanoseconds = ready.round(what)?;
        answers.write_all(&nanoseconds.to_le_bytes())?;
        answers.flush()?;
    }
    Ok(())
}

/// The whole of the program that a round enters.
pub fn say_first_byte() -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(&[FIRST_BYTE])?;
    out.flush()
}

fn opened(path: &str) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Ready {
    fn round(&self, what: What) -> io::Result<u64> {
        let began = Instant::now();
        let devices = match what {
            What::Process => None,
            What::Isolated => Some(devices::make(ID_BASE)?),
        };
        let (go_read, go_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (byte_read, byte_write) = pipe_with(PipeFlags::CLOEXEC)?;
        system::enter_network(self.network.as_fd())?;
        // Whoever is isolated makes that last namespace by itself, as a sandbox does.
        let flags = match what {
            What::Process => namespaces() | u64::from(libc::CLONE_NEWCGROUP.unsigned_abs()),
            What::Isolated => namespaces(),
        };
        let made = system::clone3(flags, None, ID_BASE);
        if matches!(made, Ok(Clone::Child)) {
            drop((go_write, byte_read));
            self.enter_program(go_read, &byte_write, devices.as_ref());
        }
        system::enter_network(self.own_network.as_fd())?;
        let Clone::Parent { pid, pidfd } = made? else {
            unreachable!("the child does not come here");
        };
        drop((go_read, byte_write));
        map_ids(pid, ID_BASE)?;
        fs::File::from(go_write).write_all(b"g")?;
        let mut byte = [0_u8; 1];
        // A child that fails closes the pipe without a word.
        fs::File::from(byte_read).read_exact(&mut byte)?;
        let took = began.elapsed();
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
        if byte != [FIRST_BYTE] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
    }

    fn enter_program(&self, go: OwnedFd, out: &OwnedFd, devices: Option<&OwnedFd>) -> ! {
        let is_ready = match devices {
            None => {
                let mut byte = [0_u8; 1];
                fs::File::from(go).read_exact(&mut byte).is_ok()
                    && system::become_root().is_ok()
                    && rustix::process::setsid().is_ok()
            }
            Some(devices) => child::isolate(devices, &self.filter, go).is_ok(),
        };
        if is_ready && system::duplicate_onto(out.as_raw_fd(), 1).is_ok() {
            let _ = system::exec_descriptor(&self.program, FIRST_BYTE_NAME);
        }
        system::exit_now(127)
    }
}
