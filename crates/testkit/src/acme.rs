//! An authority that speaks ACME, Debian's package `pebble`, and a name server beside it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod names;
mod pebble;

pub use names::Names;
pub use pebble::Pebble;
