//! Ids, names, state machines and policies of Alcove, as pure functions.
//!
//! Nothing here does I/O, reads a clock or knows a wire format: a caller brings the time and the
//! facts, and gets a decision or a named refusal.

pub mod id;

pub use id::{OrganizationId, SandboxId, SnapshotId, UserId};
