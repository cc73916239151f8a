//! A small typed client of the public API, over HTTP with TLS or without.
//!
//! It is used by the command line, the benchmarks and the end-to-end tests. Connections are kept and used
//! again; a request is sent once, except where it provably never left. A server
//! with TLS is trusted if the host trusts its certificate.

mod error;
mod sandboxes;
mod socket;
mod toolbox;
mod transport;

pub use error::{ApiError, ClientError};
pub use sandboxes::{Client, ListFilter};
pub use socket::{Socket, SocketMessage};
pub use toolbox::{Download, Toolbox};
