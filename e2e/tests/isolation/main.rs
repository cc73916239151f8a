//! Isolation, tried out from inside real sandboxes, as their user and as root.
//!
//! Each test has a control that shows that its probe would have seen the thing if it had been there: the same
//! probe on the host, or a twin of the attempt that is permitted.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod agent;
mod ceilings;
mod crashes;
mod devices;
mod identity;
mod images;
mod ipc;
mod kernel;
mod limits;
mod links;
mod mounts;
mod names;
mod names_kept;
mod network;
mod policy;
mod processes;
mod read_only_volumes;
mod reboot;
mod support;
mod toolbox;
mod tunnel;
mod volume_copies;
mod volumes;
mod world;
