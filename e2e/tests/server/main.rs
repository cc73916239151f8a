//! What bad situations get, shown on the real server with real sandboxes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod agents;
mod builds;
mod hang_ups;
mod host_full;
mod images;
mod kills;
mod life;
mod quotas;
mod refusals;
mod registry;
mod restart;
mod spawners;
mod storm;
mod support;
mod volumes;
