//! Files of addresses outside.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A file that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fetch {
    /// Of scheme `http` or `https`.
    pub url: String,
    /// What is longer fails when so much has come.
    pub max_bytes: u64,
    /// What takes longer, from the first connection to the last byte, fails then.
    pub within: Duration,
}

/// Why there is nothing, or why nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
pub enum FetchError {
    #[error("it is not an address of http or https")]
    Address,
    #[error("{host} is not at a public address; the server's operator must name it first")]
    NotPublic { host: String },
    #[error("{host} answered with status {status}")]
    Refused { host: String, status: u16 },
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} broke off: {reason}")]
    Broken { host: String, reason: String },
    #[error("it is longer than {max_bytes} bytes")]
    TooLong { max_bytes: u64 },
    /// Too much is fetched already, or the runner is shutting down: ask again later.
    #[error("the runner is not available")]
    Unavailable,
}
