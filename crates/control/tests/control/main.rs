//! The control plane over a real store and a fake runner, in one process.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod builds;
mod events;
mod kills;
mod life;
mod lifecycle;
mod lists;
mod quotas;
mod registries;
mod reports;
mod settings;
mod snapshots;
mod support;
mod timers;
mod volumes;
