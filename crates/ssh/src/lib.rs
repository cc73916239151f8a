//! The SSH gateway: sessions, files and forwarded ports of sandboxes, behind one port of the server.
//!
//! SSH ends here. There is no SSH server in a sandbox: programs are started, and files served, by the agent over its own
//! socket, and ports are reached from the host. Who may come in, and when a session has to end, `alcove-control` says.
//!
//! `gateway` takes connections and counts them, `peer` speaks with one client, `program`, `raw` and `forward` carry the
//! bytes of a channel. `inbox` and `wire` keep what a client sends ahead of its reader within bounds.

mod agent;
mod channel;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gateway;
mod hostkey;
mod inbox;
mod limits;
mod login;
mod peer;
mod program;
mod raw;
mod turned_away;
mod wire;

pub use gateway::{Gateway, Limits};
pub use hostkey::{HostKey, HostKeyError};
