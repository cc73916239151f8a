//! The HTTP face over a real store and a fake runner, all in one process.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod actions;
mod bodies;
mod builds;
mod errors;
mod event_streams;
mod events;
mod generations;
mod matrix;
mod mcp;
mod metrics;
mod network;
mod organizations;
mod previews;
mod quotas;
mod rate_limits;
mod regions;
mod registries;
mod sandboxes;
mod secrets;
mod serving;
mod sign_in;
mod ssh;
mod storage;
mod support;
mod telemetry;
mod tls;
mod tokens;
mod toolbox;
mod vercel;
mod vercel_rest;
mod volumes;
mod warm_pools;
mod webhooks;
mod workspaces;
