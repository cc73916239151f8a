//! What bad situations get, shown on the real server with real sandboxes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod acme;
mod agents;
mod backups;
mod builds;
mod disk_full;
mod hang_ups;
mod host_full;
mod images;
mod kill_points;
mod kills;
mod life;
mod login;
mod previews;
mod quotas;
mod refusals;
mod registry;
mod restart;
mod runners;
mod secrets;
mod sessions;
mod sharing;
mod sources;
mod spawners;
mod ssh;
mod storm;
mod support;
mod telemetry;
mod volumes;
mod warm;
