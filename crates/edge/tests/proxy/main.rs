//! The proxy in front of a real unix socket, asked over real TCP.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod requests;
mod support;
mod websockets;
