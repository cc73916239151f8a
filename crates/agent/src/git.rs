//! Git: the operations of `/git` on repositories of the sandbox.
//!
//! libgit2 is C that is fed by repositories and servers which nobody vouches for, so it never runs in the agent, which
//! is process 1 and holds the sandbox's secret. Each operation is a process of its own: the agent's program once more,
//! called with [`ARGUMENT`], with a bound on its memory and no rights beyond the user's. [`run`] is the agent's end,
//! [`helper`] the other one; between them go one line of JSON (`order`) and what comes back (`answer`). The rest is
//! what the operations do, and runs in the helper only.
//!
//! No hook, filter or credential program that a repository names is ever run: libgit2 runs none, and the one program
//! that is (`program`, for addresses that need ssh) is told not to.

mod answer;
mod branches;
mod carry;
mod clone;
mod commit;
mod config;
mod credentials;
mod fault;
pub mod helper;
mod http;
mod names;
mod network;
pub mod order;
mod pathspec;
mod program;
mod push;
mod remotes;
mod repository;
mod reset;
mod resolver;
mod restore;
pub mod run;
mod stage;
mod status;
mod sync;
mod transport;
mod url;

pub use fault::Fault;

/// First argument of the agent's program when it is to be a helper.
pub const ARGUMENT: &str = "git";
