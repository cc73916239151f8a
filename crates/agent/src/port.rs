//! TCP ports of the sandbox: which ones something listens on, and requests to what does.

mod diag;
mod listening;
pub mod loopback;

pub use listening::listening;
