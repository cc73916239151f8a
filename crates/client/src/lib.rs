//! A small typed client of the public API, over plain HTTP.
//!
//! It is used by the command line, the benchmarks and the end-to-end tests. Connections are kept and used
//! again; a request is sent once, except where it provably never left. There is no TLS here: the
//! programs that use it run beside the server.

mod error;
mod sandboxes;
mod socket;
mod toolbox;
mod transport;

pub use error::{ApiError, ClientError};
pub use sandboxes::{Client, ListFilter};
pub use socket::{Socket, SocketMessage};
pub use toolbox::{Download, Toolbox};
