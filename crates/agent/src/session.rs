//! Sessions: long-lived shells that run one command after another.
//!
//! ```text
//!   registry ── finds sessions by id, makes and deletes them
//!      └─ Session ── what a caller sees: commands, exec, deletion
//!           ├─ driver ── one task a session; feeds the shell one command at a time and learns how each ended
//!           │     └─ pump ── one task a command; moves its output to the log, and its input to it
//!           └─ Command ── text, state, log
//! ```
//!
//! The shell sources each command from a file, in a group whose standard descriptors are named pipes of
//! that command alone. The agent holds the other ends: it labels the two outputs itself, and what a
//! background process says later still reaches the log of the command that started it. The exit status comes
//! over a named pipe of the session, by path, because programs use all descriptor numbers a shell knows. The
//! user's shell holds no variable, function or trap of ours.

pub mod command;
mod driver;
pub mod entrypoint;
pub mod folder;
pub mod log;
pub mod pump;
mod readers;
pub mod registry;
pub mod view;
