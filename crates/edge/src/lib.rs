//! What reaches into sandboxes: the toolbox proxy and previews.
//!
//! A request for `/toolbox/{sandbox}/...`, or for a port of a sandbox, is authenticated, freed of everything that is
//! between the client and us, and streamed to the sandbox over a kept connection; the answer streams back. Nothing is
//! buffered, nothing is decoded, and nothing that may change something is sent twice. Rules live in `alcove-control`; the
//! way to it is the [`Gate`], so that the proxy is tested without one.

mod client;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gate;
mod headers;
mod path;
mod pool;
mod preview;
mod proxy;
mod terminal;
mod tunnel;
mod watch;

pub use client::{Client, LetIn, is_websocket};
pub use error::RequestId;
pub use gate::{Gate, Server, Target};
pub use preview::{PreviewRequest, Previews};
pub use proxy::{Arrival, Edge, Refused};
