//! Why input is refused. All reasons are collected, so that a caller mends everything in one go.

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A sentence for the caller.
    pub message: String,
    pub kind: ReasonKind,
}

/// What a reason means for the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonKind {
    /// The value can never be right.
    Invalid,
    /// The value makes sense, but this server does not offer what it asks for.
    Unsupported,
}

impl Reason {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: ReasonKind::Invalid,
        }
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: ReasonKind::Unsupported,
        }
    }
}
