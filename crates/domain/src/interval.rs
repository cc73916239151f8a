//! Minutes after which a sandbox is stopped, archived or deleted by itself.

use jiff::{SignedDuration, Timestamp};

use crate::Reason;

/// The largest number of minutes taken anywhere: ten years. It keeps every due time representable.
pub const INTERVAL_MAX_MINUTES: i64 = 10 * 366 * 24 * 60;
/// What `autoArchiveInterval` 0 stands for, and its ceiling: 30 days.
pub const AUTO_ARCHIVE_MAX_MINUTES: u32 = 43_200;
/// Idle minutes before a sandbox is stopped when its maker names none.
pub const AUTO_STOP_DEFAULT_MINUTES: u32 = 15;
/// Stopped minutes before a sandbox is archived when its maker names none: 7 days.
pub const AUTO_ARCHIVE_DEFAULT_MINUTES: u32 = 10_080;

/// A sandbox's own timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Idle minutes until it is stopped; 0 is never.
    pub auto_stop_minutes: u32,
    /// Idle minutes until it is paused; 0 is never.
    pub auto_pause_minutes: u32,
    /// Stopped minutes until it is archived; never 0.
    pub auto_archive_minutes: u32,
    /// Stopped minutes until it is deleted; None is never, 0 makes the stop itself a delete.
    pub auto_delete_minutes: Option<u32>,
    /// Minutes until it is deleted, whatever its state, counted from when they were set; None is never.
    pub ttl_minutes: Option<u32>,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            auto_stop_minutes: AUTO_STOP_DEFAULT_MINUTES,
            auto_pause_minutes: 0,
            auto_archive_minutes: AUTO_ARCHIVE_DEFAULT_MINUTES,
            auto_delete_minutes: None,
            ttl_minutes: None,
        }
    }
}

impl Intervals {
    pub fn is_ephemeral(&self) -> bool {
        self.auto_delete_minutes == Some(0)
    }

    /// The end of a time to live that begins at `from`.
    pub fn auto_destroy_at(&self, from: Timestamp) -> Option<Timestamp> {
        self.ttl_minutes.map(|minutes| after_minutes(from, minutes))
    }
}

/// `from` plus `minutes`, held at the end of time where the sum would pass it.
pub fn after_minutes(from: Timestamp, minutes: u32) -> Timestamp {
    from.saturating_add(SignedDuration::from_mins(i64::from(minutes)))
        .unwrap_or(Timestamp::MAX)
}

/// Minutes of `autoStopInterval`.
pub fn parse_auto_stop(minutes: i64) -> Result<u32, Reason> {
    bounded("autoStopInterval", minutes)
}

/// Minutes of `autoArchiveInterval`; 0 and everything above the maximum become the maximum.
pub fn parse_auto_archive(minutes: i64) -> Result<u32, Reason> {
    if minutes < 0 {
        return Err(negative("autoArchiveInterval"));
    }
    Ok(match u32::try_from(minutes) {
        Ok(minutes @ 1..=AUTO_ARCHIVE_MAX_MINUTES) => minutes,
        Ok(_) | Err(_) => AUTO_ARCHIVE_MAX_MINUTES,
    })
}

/// Minutes of `autoDeleteInterval`; negative is never.
pub fn parse_auto_delete(minutes: i64) -> Result<Option<u32>, Reason> {
    if minutes < 0 {
        return Ok(None);
    }
    bounded("autoDeleteInterval", minutes).map(Some)
}

/// Minutes of the time to live; 0 is never.
pub fn parse_ttl(minutes: i64) -> Result<Option<u32>, Reason> {
    Ok(match bounded("ttlMinutes", minutes)? {
        0 => None,
        minutes => Some(minutes),
    })
}

/// Minutes of `autoPauseInterval`; 0 is never.
pub fn parse_auto_pause(minutes: i64) -> Result<u32, Reason> {
    bounded("autoPauseInterval", minutes)
}

fn negative(field: &str) -> Reason {
    Reason::invalid(format!("{field} must be a non-negative integer"))
}

fn bounded(field: &str, minutes: i64) -> Result<u32, Reason> {
    if minutes < 0 {
        return Err(negative(field));
    }
    if minutes > INTERVAL_MAX_MINUTES {
        return Err(Reason::invalid(format!(
            "{field} must not be greater than {INTERVAL_MAX_MINUTES}"
        )));
    }
    u32::try_from(minutes).map_err(|_| negative(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_stop_and_archive_are_refused_and_negative_delete_is_never() {
        assert!(parse_auto_stop(-1).is_err());
        assert!(parse_auto_archive(-1).is_err());
        assert_eq!(parse_auto_delete(-5), Ok(None));
        assert!(parse_ttl(-1).is_err());
    }

    #[test]
    fn archive_zero_and_too_much_become_the_maximum() {
        for minutes in [0, i64::from(AUTO_ARCHIVE_MAX_MINUTES) + 1, i64::MAX] {
            assert_eq!(parse_auto_archive(minutes), Ok(AUTO_ARCHIVE_MAX_MINUTES));
        }
        assert_eq!(parse_auto_archive(7), Ok(7));
    }

    #[test]
    fn the_largest_interval_still_has_a_due_time() {
        assert!(parse_auto_stop(INTERVAL_MAX_MINUTES).is_ok());
        assert!(parse_auto_stop(INTERVAL_MAX_MINUTES + 1).is_err());
        assert_eq!(after_minutes(Timestamp::MAX, u32::MAX), Timestamp::MAX);
    }
}
