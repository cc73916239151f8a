//! The proxy in front of a real unix socket, asked over real TCP.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod previews;
mod requests;
mod support;
mod terminals;
mod transport;
mod warnings;
mod websockets;
