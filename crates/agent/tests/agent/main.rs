//! The agent as a program of its own: a real socket, real commands on this machine.
//!
//! Each test has its own agent with its own home folder. Runs as any user; what takes root is skipped
//! otherwise.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod attached;
mod bad_input;
mod build_fetch;
mod code_run;
mod downloads;
mod entrypoint;
mod environment;
mod errors;
mod exec;
mod execute;
mod files;
mod git;
mod git_server;
mod go;
mod interpreter;
mod lifecycle;
mod logs;
mod lsp;
mod metrics;
mod odd_files;
mod ports;
mod proxy;
mod pty;
mod search;
mod sessions;
mod support;
mod terminals;
mod traps;
