//! What can go wrong between us and a registry.

use std::io;

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    #[error("{text:?} is not a reference of an image")]
    Reference {
        text: String,
        #[source]
        source: oci_spec::distribution::ParseError,
    },
    #[error("{host} does not have {what}")]
    NotFound { host: String, what: String },
    #[error("{host} wants other credentials for {repository}")]
    Unauthorized { host: String, repository: String },
    #[error("{host} limits how often it is asked; try again later")]
    TooOften { host: String },
    #[error("{host} answered {status} to a request for {what}")]
    Refused {
        host: String,
        status: u16,
        what: String,
    },
    #[error("{host} answered with more than {limit} bytes to a request for {what}")]
    AnswerTooLarge {
        host: String,
        what: String,
        limit: u64,
    },
    #[error("what {host} gave for {what} is not that: {reason}")]
    WrongContent {
        host: String,
        what: String,
        reason: String,
    },
    #[error("{host} is not at a public address; the server's operator must name it first")]
    NotPublic { host: String },
    #[error("cannot reach {host}: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("cannot read the certificates for {host}")]
    Certificates {
        host: String,
        #[source]
        source: io::Error,
    },
}

impl RegistryError {
    /// Whether asking again soon may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            _ => false,
        }
    }
}
