//! The system calls that no safe library offers, one small function each.
#![expect(unsafe_code, reason = "raw system calls are this module's one purpose")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use alcove_spawner::protocol::ExitStatus;

use crate::seccomp::Filter;

/// What `clone3` made.
pub enum Clone {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// `clone3` with the memory copied, as `fork` does, into the namespaces of `flags`, a user namespace among them, which
/// belongs to the host's user `owner`.
///
/// The kernel counts what is in a user namespace (queues of file events, waiting signals, message queues) as its
/// owner's too, up to limits for each user. If root owned them all, one sandbox could use up what the others and the
/// host's own root may have.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>, owner: u32) -> io::Result<Clone> {
    let made = set_effective_user(owner).and_then(|()| clone3_now(flags, cgroup));
    if !matches!(made, Ok(Clone::Child)) && set_effective_user(0).is_err() {
        // As another user this process could do nothing that it is asked for.
        std::process::abort();
    }
    made
}

/// Changes the effective user and keeps the rights of root, which the kernel takes away with the number: some hosts
/// let nobody else make a user namespace, and the control group that the child is born in is root's.
fn set_effective_user(uid: u32) -> io::Result<()> {
    const UNCHANGED: libc::uid_t = libc::uid_t::MAX;
    // SAFETY: plain numbers; one thread, so there is none that would keep the old number.
    check(unsafe { libc::setresuid(UNCHANGED, uid, UNCHANGED) })?;
    let header = CapabilityHeader {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut sets = [CapabilitySet::default(); 2];
    // SAFETY: the header and the two sets have the layout that this version of the calls prescribes, and live until
    // they return. JUSTIFICATION: neither std nor libc wrap the calls.
    unsafe {
        let result = libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr());
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        for set in &mut sets {
            set.effective = set.permitted;
        }
        if libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn clone3_now(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Clone> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zero is the documented "nothing asked for" of every field.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | pidfd_flag();
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(cgroup) = cgroup {
        args.flags |= into_cgroup_flag();
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: the process has one thread, so the copy is whole; `args` and `pidfd` live until the call
    // returns. JUSTIFICATION: std's spawn can neither make namespaces nor place the child in a group.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut args),
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(Clone::Child),
        Ok(pid) if pid > 0 => {
            // SAFETY: the kernel has just put an open descriptor there, and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Clone::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

fn pidfd_flag() -> u64 {
    u64::from(libc::CLONE_PIDFD.unsigned_abs())
}

fn into_cgroup_flag() -> u64 {
    0x2_0000_0000
}

/// Becomes the user and group 0 of the own user namespace, without other groups.
pub fn become_root() -> io::Result<()> {
    // SAFETY: numbers in, nothing out; one thread, so there is none that would keep the old ids.
    let results = unsafe {
        [
            libc::setgroups(0, std::ptr::null()),
            libc::setresgid(0, 0, 0),
            libc::setresuid(0, 0, 0),
        ]
    };
    if results == [0; 3] {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the group that the process is in the root of what it sees of control groups.
pub fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: a number in; changes only what this process sees.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) })
}

/// Moves this process into a new network namespace.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: a number in; changes only what this process sees.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Moves this process into a network namespace.
pub fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor and a number in.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Loads the filter for this process and all that come from it. `no_new_privs` stays off, so that set-user-id
/// programs (`sudo`) work inside; the caller must hold `CAP_SYS_ADMIN` in its user namespace.
pub fn load_filter(filter: &Filter) -> io::Result<()> {
    let length = u16::try_from(filter.program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let header = libc::sock_fprog {
        len: length,
        filter: filter.program.as_ptr().cast_mut(),
    };
    // SAFETY: `header` points at `length` instructions, which the kernel only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            std::ptr::from_ref(&header),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes `to` a copy of `from` that stays open over exec.
pub fn duplicate_onto(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: numbers in. What `to` was before closes, which is what the caller wants.
    if unsafe { libc::dup2(from, to) } == to {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Becomes the program behind the descriptor, under this name and with an empty environment. Returns only on
/// failure.
pub fn exec_descriptor(program: &OwnedFd, name: &CStr) -> io::Error {
    let arguments = [name.as_ptr(), std::ptr::null()];
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: both arrays end in a null pointer and live, with `name`, until the call returns or the process
    // image goes.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Has the kernel end this process when its parent ends.
pub fn end_with_parent() {
    // SAFETY: numbers in; changes only what happens at the parent's end.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Waits for a signal.
pub fn pause() {
    // SAFETY: takes nothing, writes nothing.
    unsafe {
        libc::pause();
    }
}

/// Ends the process at once, without running anything that its parent had registered for its own end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns, touches no memory.
    unsafe { libc::_exit(code) }
}

/// Blocks the signals that the spawner reads from a descriptor, and ignores the terminal's.
pub fn watch_children() -> io::Result<OwnedFd> {
    // SAFETY: an all-zero set is then filled by `sigemptyset`; every pointer is to a local of this frame.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(
            libc::SIG_BLOCK,
            &raw const set,
            std::ptr::null_mut(),
        ))?;
        for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGPIPE, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes the exit status of one child that has ended, if there is one.
pub fn reap_one() -> Option<(i32, ExitStatus)> {
    let mut status: libc::c_int = 0;
    // SAFETY: the kernel writes one number into a local of this frame.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    let ended = if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    };
    Some((pid, ended))
}

/// Gives a new child the signal state of an ordinary program.
pub fn reset_signals() {
    // SAFETY: as in `watch_children`; failures cannot happen with constant arguments.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGPIPE, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
