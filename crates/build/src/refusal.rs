//! Why a Dockerfile is not built.

/// The line is that of the instruction's first word, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Dockerfile line {line}: {reason}")]
pub struct Refusal {
    pub line: usize,
    pub reason: String,
}

impl Refusal {
    pub fn new(line: usize, reason: impl Into<String>) -> Self {
        Self {
            line,
            reason: reason.into(),
        }
    }
}
