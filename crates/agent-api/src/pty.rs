//! Terminals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod protocol;

pub use protocol::{
    PTY_ENV_PREFIX, PTY_EXIT_CONTROL, PtyControl, PtyExit, PtyOffer, PtyOfferError, PtyStatus,
    error_close_reason,
};

/// Most columns, and most rows.
pub const PTY_MAX_SIDE: u16 = 1000;

/// Columns and rows of a terminal, each from 1 to [`PTY_MAX_SIDE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PtySize {
    cols: u16,
    rows: u16,
}

/// A side of the terminal is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cols and rows must be from 1 to {PTY_MAX_SIDE}")]
pub struct PtySizeError;

impl PtySize {
    pub const DEFAULT: Self = Self { cols: 80, rows: 24 };

    /// # Errors
    /// A side is out of bounds.
    pub fn new(cols: u64, rows: u64) -> Result<Self, PtySizeError> {
        let side = |given: u64| {
            u16::try_from(given)
                .ok()
                .filter(|side| (1..=PTY_MAX_SIDE).contains(side))
                .ok_or(PtySizeError)
        };
        Ok(Self {
            cols: side(cols)?,
            rows: side(rows)?,
        })
    }

    pub fn cols(self) -> u16 {
        self.cols
    }

    pub fn rows(self) -> u16 {
        self.rows
    }
}

/// Body of `POST /process/pty`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PtyCreateRequest {
    #[serde(default)]
    pub id: String,
    /// Absolute, or relative to the work dir; the work dir where absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
    /// 80 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cols: Option<u64>,
    /// 24 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The shell starts when the first client connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lazy_start: Option<bool>,
}

/// Answer of `POST /process/pty`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PtyCreateResponse {
    pub session_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PtyInfo {
    pub id: String,
    pub cwd: String,
    pub envs: BTreeMap<String, String>,
    pub cols: u16,
    pub rows: u16,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// False only for a terminal that waits for its first client.
    pub active: bool,
    pub lazy_start: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PtyList {
    /// In order of creation.
    pub sessions: Vec<PtyInfo>,
}

/// Body of `POST /process/pty/{id}/resize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PtyResizeRequest {
    #[serde(default)]
    pub cols: u64,
    #[serde(default)]
    pub rows: u64,
}

/// Answer of `DELETE /process/pty/{id}`. There is nothing in it: the Go client cannot read a text here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PtyDeleted {}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn sides_are_from_one_to_a_thousand() {
        assert_eq!(PtySize::new(80, 24), Ok(PtySize::DEFAULT));
        let largest = PtySize::new(1000, 1000).unwrap();
        assert_eq!((largest.cols(), largest.rows()), (1000, 1000));
        for (cols, rows) in [(0, 24), (80, 0), (1001, 24), (80, 1001), (80, 1 << 40)] {
            assert_eq!(PtySize::new(cols, rows), Err(PtySizeError), "{cols}x{rows}");
        }
    }
}
