//! `alcove-spawner floor`: the least that the kernel takes to isolate a process, as a measure for the rest.
//!
//! A round is what a spawn cannot do without: born into all namespaces of a sandbox and into a network
//! namespace that waits, ids mapped, a static program entered. It ends with that program's first byte. There is
//! no root, no `/proc`, no limit and no filter. It is measured here, and not where it is asked for, because
//! `clone3` copies the page tables of its caller: a large program would measure itself.
//!
//! Each byte of standard input is answered with the nanoseconds of one round as eight bytes, lowest first.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::server::{map_ids, namespaces};
use crate::system::{self, Clone};

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
    };
    let mut asks = io::stdin().lock();
    let mut answers = io::stdout().lock();
    let mut ask = [0_u8; 1];
    while asks.read(&mut ask)? == 1 {
        let nanoseconds = ready.round()?;
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
    fn round(&self) -> io::Result<u64> {
        let began = Instant::now();
        let (go_read, go_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (byte_read, byte_write) = pipe_with(PipeFlags::CLOEXEC)?;
        system::enter_network(self.network.as_fd())?;
        let flags = namespaces() | u64::from(libc::CLONE_NEWCGROUP.unsigned_abs());
        let made = system::clone3(flags, None, ID_BASE);
        if matches!(made, Ok(Clone::Child)) {
            drop((go_write, byte_read));
            self.enter_program(go_read, &byte_write);
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

    fn enter_program(&self, go: OwnedFd, out: &OwnedFd) -> ! {
        let mut byte = [0_u8; 1];
        let is_ready = fs::File::from(go).read_exact(&mut byte).is_ok()
            && system::become_root().is_ok()
            && rustix::process::setsid().is_ok()
            && system::duplicate_onto(out.as_raw_fd(), 1).is_ok();
        if is_ready {
            let _ = system::exec_descriptor(&self.program, FIRST_BYTE_NAME);
        }
        system::exit_now(127)
    }
}
