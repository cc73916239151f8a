//! How a failure reads.

use serde::{Deserialize, Serialize};

/// The body of every answer of 400 and above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VercelErrorBody {
    pub error: VercelError,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VercelError {
    /// A word for programs, in lower case.
    pub code: String,
    pub message: String,
}
