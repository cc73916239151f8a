//! `alcove-spawner SOCKET`: serves the socket that it inherits as descriptor 3.
//!
//! One thread, one loop over `poll`: requests come in, children report through a pipe that closes when they
//! enter the agent's program, and ended children are reaped. Nothing here waits for a child.

mod capabilities;
mod child;
mod devices;
mod seccomp;
mod server;
mod stage;
mod system;

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::ExitCode;

/// The listening socket's number.
const LISTENER_FD: i32 = 3;

fn main() -> ExitCode {
    #[expect(unsafe_code, reason = "an inherited descriptor has no other owner")]
    // SAFETY: the runner starts this program with the socket at this number, and nothing has run before.
    let listener = unsafe { OwnedFd::from_raw_fd(LISTENER_FD) };
    match server::Server::start(listener).and_then(server::Server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("alcove-spawner: {text}");
            ExitCode::FAILURE
        }
    }
}
