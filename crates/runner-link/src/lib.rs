//! The way between a control plane and a runner in another process.
//!
//! The runner opens one connection to the server, with its key. From then on the server asks and the runner answers: HTTP/2
//! the other way round, with every order a request of its own and every connection into a sandbox a tunnel. So a runner
//! needs no address, and nothing here assumes that the two are on one host. See docs/adr/0053.
//!
//! [`RemoteRunner`] is the server's side, [`serve`] the runner's. A connection that breaks ends everything on it, and
//! means nothing for what was ordered: both sides say all of it again on the next one.

mod answering;
mod call;
mod frame;
mod limit;
mod listening;
mod remote;

use std::time::Duration;

pub use self::answering::serve;
pub use self::limit::CutOff;
pub use self::remote::{LinkError, RemoteRunner};

/// What the connection is upgraded to. Another version is another word, so that the two never misread each other.
pub const PROTOCOL: &str = "alcove-runner/1";

/// How often each side looks whether the other still answers, and how long it waits for that.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(20);

/// Orders and connections under way at once. Each sandbox has a few at most.
const STREAMS_MAX: u32 = 100_000;

/// Bytes that one tunnel, and the whole connection, may have on their way: a bulk transfer needs more than the 64 KiB that
/// HTTP/2 begins with.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// One order. What runners may answer is less: see `limit.rs`.
const ORDER_MAX: usize = 64 << 20;
