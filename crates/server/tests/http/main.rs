//! The HTTP face over a real store and a fake runner, all in one process.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod bodies;
mod builds;
mod errors;
mod events;
mod generations;
mod quotas;
mod registries;
mod sandboxes;
mod serving;
mod storage;
mod support;
mod tls;
mod toolbox;
mod volumes;
mod workspaces;
