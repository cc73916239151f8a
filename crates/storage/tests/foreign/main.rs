//! Objects in a bucket of another S3 store, which is moto and a process of its own.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod away;
mod doubts;
mod kill;
mod objects;
mod same;
mod support;
