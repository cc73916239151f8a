//! `alcove-spawner`: serves the socket that it inherits as descriptor 3.
//!
//! One thread, one loop over `poll`: requests come in, children report through a pipe that closes when they
//! enter the agent's program, and ended children are reaped. Nothing here waits for a child.
//!
//! `alcove-spawner floor` serves nobody: it measures what the kernel alone takes. Neither does
//! `alcove-spawner rehearse`: it tells whether this host lets the spawner work.

mod capabilities;
mod child;
mod devices;
mod floor;
mod rehearsal;
mod seccomp;
mod server;
mod stage;
mod system;

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::ExitCode;

/// The listening socket's number.
const LISTENER_FD: i32 = 3;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if name.as_encoded_bytes() == floor::FIRST_BYTE_NAME.to_bytes() {
        return end("say the first byte", floor::say_first_byte());
    }
    match arguments.next() {
        Some(word) if word == "floor" => return end("measure the floor", floor::run()),
        Some(word) if word == "rehearse" => return end("rehearse", rehearsal::run()),
        _ => {}
    }
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

fn end(doing: &str, result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alcove-spawner: cannot {doing}: {error}");
            ExitCode::FAILURE
        }
    }
}
