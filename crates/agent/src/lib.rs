//! The static program that is process 1 of every sandbox.
//!
//! It answers the toolbox API on a unix socket that the host owns; nothing listens on the sandbox's network.
//! `start` takes over what the spawner hands down, `http` is the API, the other folders do the work;
//! `git` leaves its own to a program apart, so that no C library is in this one. One thread runs everything but file work, which has a small pool: idle
//! memory is what a host pays for each sandbox.

mod agent;
mod attached;
mod build;
mod exec;
mod file;
#[cfg(test)]
mod fuzz;
mod git;
mod home;
mod http;
mod interpreter;
mod log;
mod lsp;
mod passwd;
mod port;
mod process;
mod pty;
mod session;
mod start;
mod sys;
mod text;
mod usage;

pub use start::main;
