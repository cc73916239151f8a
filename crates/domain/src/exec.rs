//! What may be asked of a program that is run as it is named.

use crate::Reason;

/// Shortest time after which a program is killed, in milliseconds.
pub const TIMEOUT_MIN_MS: u64 = 100;

/// Reads after how many milliseconds a program is to be killed.
///
/// # Errors
/// The reason why it cannot be.
pub fn parse_timeout(timeout_ms: i64) -> Result<u64, Reason> {
    u64::try_from(timeout_ms)
        .ok()
        .filter(|timeout| *timeout >= TIMEOUT_MIN_MS)
        .ok_or_else(|| {
            Reason::invalid(format!(
                "timeout must be at least {TIMEOUT_MIN_MS} milliseconds"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_a_least_length() {
        assert_eq!(parse_timeout(100), Ok(100));
        for wrong in [99, 0, -1, i64::MIN] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
    }
}
