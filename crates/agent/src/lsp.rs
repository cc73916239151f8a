//! Language servers: programs of the image that know a language, one for each language and project.
//!
//! ```text
//!   registry ──> server ──> process ──> link ──> frame
//!                  │           │          └ requests and their answers
//!                  │           └ a running program, its end, its last words
//!                  └ what a client sees: operations, open documents, a new process when the last one died
//! ```
//!
//! A process is ended, with all that it started, when nobody holds it any more.

mod answer;
mod frame;
mod language;
mod link;
mod message;
mod place;
mod process;
pub mod registry;
pub mod server;

pub use language::Language;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LspError {
    #[error("unsupported language: {0}; there are python, typescript and javascript")]
    UnknownLanguage(String),
    #[error("the language server is not started")]
    NotStarted,
    #[error("the project {0} is not a folder")]
    NotAFolder(String),
    #[error("too many language servers at a time")]
    TooManyServers,
    #[error("too many open documents")]
    TooManyDocuments,
    #[error("{0} is not installed in this sandbox")]
    NotInstalled(&'static str),
    #[error("cannot start the language server: {0}")]
    Start(String),
    /// What is wrong with the document of the request.
    #[error("{0}")]
    Document(String),
    /// The server's own words.
    #[error("the language server refused: {0}")]
    Refused(String),
    #[error("cannot understand the language server: {0}")]
    Garbled(String),
    /// The process is gone; how it ended.
    #[error("the language server ended: {0}")]
    Ended(String),
    #[error("the language server did not answer within {0} s")]
    Timeout(u64),
    #[error("the sandbox is stopping")]
    Stopping,
}
