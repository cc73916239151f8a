//! The S3 face, in the test's own process, with a signer of its own. The official clients try it as well: see
//! `conformance`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod escapes;
mod objects;
mod support;
mod uploads;
