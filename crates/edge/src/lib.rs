//! What reaches into sandboxes: the toolbox proxy.
//!
//! A request for `/toolbox/{sandbox}/...` is authenticated, freed of everything that is between the
//! client and us, and streamed to the sandbox's agent over a kept connection; the answer streams back.
//! Nothing is buffered, nothing is decoded, and no request is ever sent twice. Rules live in
//! `alcove-control`; the way to it is the [`Gate`], so that the proxy is tested without one.

mod error;
mod gate;
mod headers;
mod path;
mod pool;
mod proxy;
mod tunnel;

pub use error::RequestId;
pub use gate::{Gate, Refusal, Target};
pub use proxy::Edge;
