//! Exits of children, and limits of other processes.

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
}

impl ExitStatus {
    /// The code as a shell would put it: 128 and the signal's number for a death by signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// The code as execute puts it: -1 for a death by signal.
    pub fn execute_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(_) => -1,
        }
    }
}

/// A child that has exited and is not reaped yet; it stays so.
pub fn peek_exited_child() -> Option<i32> {
    wait(
        libc::P_ALL,
        0,
        libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
    )
    .map(|(pid, _)| pid)
}

/// Takes the status of a child that has exited or is about to, and frees its number.
pub fn reap_child(pid: i32) -> Option<ExitStatus> {
    wait(libc::P_PID, pid.unsigned_abs(), libc::WEXITED).map(|(_, status)| status)
}

fn wait(kind: libc::idtype_t, id: libc::id_t, options: i32) -> Option<(i32, ExitStatus)> {
    loop {
        // SAFETY: `info` is plain memory that the kernel fills in; zeroed it reads as "no child".
        // JUSTIFICATION: rustix does not tell the number of the child that it found.
        let (result, pid, code, status) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result = libc::waitid(kind, id, &raw mut info, options);
            (result, info.si_pid(), info.si_code, info.si_status())
        };
        if result < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
            continue;
        }
        if result < 0 || pid == 0 {
            return None;
        }
        let status = if code == libc::CLD_EXITED {
            ExitStatus::Code(status)
        } else {
            ExitStatus::Signal(status)
        };
        return Some((pid, status));
    }
}

/// Has orphans of our descendants become our children, as they do for process 1.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: the call takes plain numbers. JUSTIFICATION: the safe wrapper takes a process number and hides
    // that only "some" and "none" matter.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The soft limit of file locks of any process.
pub fn soft_lock_limit(pid: i32) -> io::Result<u64> {
    // SAFETY: `limit` is plain memory that the kernel fills in. JUSTIFICATION: rustix reads the limits of
    // the calling process only.
    unsafe {
        let mut limit: libc::rlimit64 = std::mem::zeroed();
        if libc::prlimit64(pid, libc::RLIMIT_LOCKS, std::ptr::null(), &raw mut limit) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(limit.rlim_cur)
    }
}

/// Closes a descriptor and says what the system says to that.
pub fn close_checked(fd: std::os::fd::OwnedFd) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: we own the descriptor and give it up here, so nobody closes it again. JUSTIFICATION: dropping it
    // throws the result away, and with it the failure of a write that the file system had put off.
    if unsafe { libc::close(fd.into_raw_fd()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Watches a descriptor for being readable.
pub fn watch_readable(fd: std::os::fd::OwnedFd) -> io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    watch_descriptor(fd, Interest::READABLE)
}

/// Watches a descriptor for what is of interest.
pub fn watch_descriptor(
    fd: std::os::fd::OwnedFd,
    interest: Interest,
) -> io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    // SAFETY: an `OwnedFd` is open as long as it lives and always names the same descriptor, which is all that
    // the registration asks for; the `AsyncFd` owns it and drops the registration first. JUSTIFICATION: the safe
    // constructor is deprecated because it takes types that keep no such promise.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}
