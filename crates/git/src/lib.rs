//! Git: the operations of `/git` on repositories of the sandbox, one in each process.
//!
//! libgit2 is C that is fed by repositories and servers which nobody vouches for, so it never runs in the agent, which
//! is process 1 and holds the sandbox's secret. The agent starts this program for each operation, with a bound on its
//! memory and no rights beyond the user's; what the two say to each other is [`alcove_agent_api::GitOrder`], one line
//! of JSON, and what comes back (`answer`). `helper` is the way from the one to the other, the rest is what the
//! operations do.
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
mod download;
mod fault;
mod helper;
mod http;
mod libgit2;
mod names;
mod network;
mod pathspec;
mod program;
mod push;
mod remotes;
mod repository;
mod reset;
mod resolver;
mod restore;
mod stage;
mod status;
mod sync;
mod transport;
mod url;

pub use helper::main;

use fault::Fault;
