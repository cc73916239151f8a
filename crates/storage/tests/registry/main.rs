//! The registry's protocol, in the test's own process.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod blobs;
mod collect;
mod manifests;
mod support;
