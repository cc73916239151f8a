//! The store as the control plane uses it, on SQLite and on PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod audit;
mod copies;
mod doubt;
mod fleet;
mod host_bounds;
mod lists;
mod logins;
mod members;
mod orders;
mod places;
mod registries;
mod sandboxes;
mod sealed;
mod ssh_accesses;
mod ssh_keys;
mod support;
mod usage;
mod vault;
mod volumes;
mod warm_pools;
mod webhooks;
