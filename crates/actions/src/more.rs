//! What agents need beside the twelve actions. These are tools of MCP only: the catalogue at `/api/actions` is a contract of
//! others, and closed.

pub(crate) mod preview;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod snapshot;

use serde::Serialize;

/// The output of an action that is done, and that is all.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Nothing {}
