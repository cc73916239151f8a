//! The public API as flat actions: one JSON object in, one JSON object out, and nothing is ever raised.
//!
//! An action reads its input, says it to the API as any client would, by way of [`Api`], and turns the answer into its
//! output. So it holds no rule of the platform: who may do what, what counts as use, what is a good value, is decided
//! where it always is. What an action has of its own is the form: closed schemas, `success: false` in place of errors,
//! bounds on time and on the size of files.
//!
//! The same code stands behind `/api/actions` and the tools of MCP, over a server in the same process or one that is
//! reached by HTTP.

mod action;
mod api;
mod catalogue;
mod content;
mod failure;
mod files;
mod git;
mod input;
mod more;
mod process;
mod room;
mod sandbox;
mod schema;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use action::{Effect, Entry, Outcome};
pub use api::{Api, ApiBody, Unreachable};
pub use catalogue::{ACTIONS, TOOLS, find, find_tool};
pub use content::{DOWNLOAD_MAX_BYTES, INPUT_MAX_BYTES, UPLOAD_MAX_BYTES};
pub use room::{Held, Room};
