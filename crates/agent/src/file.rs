//! Files: what is there, and how it is changed, read and written.
//!
//! Everything here blocks and is called from the pool of blocking threads. The agent's user has the rights it
//! has; there is no further jail.

pub mod cancel;
pub mod copy;
pub mod entry;
pub mod error;
pub mod find;
mod lines;
pub mod read;
pub mod replace;
pub mod traffic;
pub mod tree;
pub mod unpack;
pub mod walk;
pub mod write;
