//! The control plane over a real store and a fake runner, in one process.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod api_keys;
mod builds;
mod built;
mod clock;
mod closing;
mod events;
mod invitations;
mod kills;
mod life;
mod lifecycle;
mod links;
mod lists;
mod network;
mod oidc;
mod organizations;
mod outbound_proxies;
mod previews;
mod quotas;
mod registries;
mod reports;
mod resumed_events;
mod second_factor;
mod settings;
mod sign_in;
mod signed_files;
mod snapshots;
mod ssh;
mod ssh_keys;
mod support;
mod telemetry;
mod timers;
mod volumes;
mod warm;
mod webhooks;
