//! Whether and when a process that need not be a child has ended.

#![expect(
    unsafe_code,
    reason = "the runtime asks for a promise about the descriptor"
)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Resolves when the process has ended.
pub async fn ended(pidfd: &OwnedFd) -> io::Result<()> {
    // A copy, so that each waiter registers a descriptor of its own.
    let copy = pidfd.as_fd().try_clone_to_owned()?;
    // SAFETY: an owned descriptor stays the same one until it is dropped, and this frame drops it last.
    let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }?;
    watched.readable().await.map(drop)
}

/// Whether a text is the number of a process that is no more. A number that is none is nobody's.
pub(crate) fn is_gone(number: &str) -> bool {
    let process = number.parse().ok().and_then(rustix::process::Pid::from_raw);
    process
        .is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}
