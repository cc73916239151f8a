//! The actions as tools of the Model Context Protocol, over HTTP and over standard input and output.
//!
//! A tool is an action under its own name, with its schemas. What it does stands in `alcove-actions`; this crate speaks the
//! protocol. A tool whose action did not succeed is no error of the protocol: `success` tells, as everywhere, since clients
//! make exceptions of errors.

mod http;
mod stdio;
mod tools;

pub use http::{BODY_MAX_BYTES, serve_request};
pub use stdio::{StdioError, serve_stdio};
