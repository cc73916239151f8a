//! The public JSON of the API, one module a client family.
//!
//! Shapes only: what a field is called, whether it must be there, how it is read. What a value means
//! and whether it is allowed is decided in `alcove-control`. Every shape is the union of what all
//! generations of clients know; [`daytona::era`] takes away what an old client could not read.

pub mod actions;
pub mod body;
pub mod daytona;
mod error;
mod time;
pub mod vercel;

pub use error::{ErrorBody, ErrorSource};
pub use time::Timestamp;
