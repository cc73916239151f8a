//! Objects in a folder, from outside.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
mod kill;
mod lists;
mod objects;
mod owners;
mod support;
mod uploads;
