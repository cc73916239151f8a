//! What bad situations get, shown on the real server with real sandboxes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod agents;
mod host_full;
mod refusals;
mod spawners;
mod support;
