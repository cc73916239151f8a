//! How long snapshots are kept that clients of sessions make of a sandbox.

use std::fmt;

use jiff::Timestamp;

use super::after_ms;
use crate::Reason;

/// A day: snapshots that expire are kept at least this long.
pub const EXPIRATION_MIN_MS: u64 = 86_400_000;
/// Ten years.
pub const EXPIRATION_MAX_MS: u64 = 3650 * 86_400_000;
/// Snapshots that a rule can keep.
pub const KEEP_LAST_MAX: u64 = 10;

/// What is asked for a sandbox. Milliseconds of 0 are for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    pub expiration_ms: Option<u64>,
    pub keep_last: Option<KeepLast>,
}

/// Only the newest snapshots stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepLast {
    pub count: u64,
    /// For those that stay; without it, the sandbox's own holds.
    pub expiration_ms: Option<u64>,
    /// Whether those that do not stay go at once, or at the sandbox's own time.
    pub deletes_evicted: bool,
}

/// The same as a caller wrote it; nothing is checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepLastRequest {
    pub count: i64,
    pub expiration_ms: Option<i64>,
    pub deletes_evicted: Option<bool>,
}

impl KeepLastRequest {
    pub fn check(self, reasons: &mut Vec<Reason>) -> KeepLast {
        let count = u64::try_from(self.count).unwrap_or_default();
        if !(1..=KEEP_LAST_MAX).contains(&count) {
            reasons.push(Reason::invalid(format!(
                "keepLastSnapshots.count must be from 1 to {KEEP_LAST_MAX}"
            )));
        }
        let field = "keepLastSnapshots.expiration";
        KeepLast {
            count,
            expiration_ms: self
                .expiration_ms
                .map(|ms| check_expiration(field, ms, reasons)),
            deletes_evicted: self.deletes_evicted.unwrap_or(true),
        }
    }
}

/// Reads how long a snapshot is to be kept.
pub fn check_expiration(field: &str, ms: i64, reasons: &mut Vec<Reason>) -> u64 {
    match u64::try_from(ms) {
        Ok(0) => 0,
        Ok(ms) if (EXPIRATION_MIN_MS..=EXPIRATION_MAX_MS).contains(&ms) => ms,
        _ => {
            reasons.push(Reason::invalid(format!(
                "{field} must be 0 or from {EXPIRATION_MIN_MS} to {EXPIRATION_MAX_MS} milliseconds"
            )));
            0
        }
    }
}

impl Retention {
    /// When a snapshot goes that is made now; what is asked for it alone comes first.
    pub fn expires_at(&self, asked_ms: Option<u64>, now: Timestamp) -> Option<Timestamp> {
        let of_kept = self.keep_last.and_then(|keep| keep.expiration_ms);
        after(now, asked_ms.or(of_kept).or(self.expiration_ms))
    }

    /// When one goes that is not among the newest any more and is not deleted at once.
    pub fn evicted_expires_at(&self, created_at: Timestamp) -> Option<Timestamp> {
        after(created_at, self.expiration_ms)
    }
}

fn after(at: Timestamp, ms: Option<u64>) -> Option<Timestamp> {
    ms.filter(|ms| *ms > 0).map(|ms| after_ms(at, ms))
}

impl fmt::Display for KeepLast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expiration = self.expiration_ms.map(|ms| ms.to_string());
        let expiration = expiration.unwrap_or_default();
        write!(f, "{},{expiration},{}", self.count, self.deletes_evicted)
    }
}

impl KeepLast {
    /// What was written by [`fmt::Display`]; None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let (count, expiration, deletes) = (parts.next()?, parts.next()?, parts.next()?);
        let count = count.parse().ok()?;
        if parts.next().is_some() || !(1..=KEEP_LAST_MAX).contains(&count) {
            return None;
        }
        Some(Self {
            count,
            expiration_ms: match expiration {
                "" => None,
                ms => Some(ms.parse().ok()?),
            },
            deletes_evicted: deletes.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_asked_for_one_snapshot_comes_before_the_rule_and_that_before_the_sandboxs_own() {
        let day = EXPIRATION_MIN_MS;
        let now = Timestamp::UNIX_EPOCH;
        let keep_last = Some(KeepLast {
            count: 2,
            expiration_ms: Some(3 * day),
            deletes_evicted: true,
        });
        let both = Retention {
            expiration_ms: Some(2 * day),
            keep_last,
        };
        let own = Retention {
            keep_last: None,
            ..both
        };
        let at = |ms| Some(after_ms(now, ms));
        assert_eq!(both.expires_at(Some(day), now), at(day));
        assert_eq!(both.expires_at(Some(0), now), None, "0 is for ever");
        assert_eq!(both.expires_at(None, now), at(3 * day));
        assert_eq!(own.expires_at(None, now), at(2 * day));
        assert_eq!(both.evicted_expires_at(now), at(2 * day));
        assert_eq!(Retention::default().expires_at(None, now), None);
    }

    #[test]
    fn a_rule_has_its_bounds() {
        let reasons = |count, expiration_ms| {
            let mut reasons = Vec::new();
            let request = KeepLastRequest {
                count,
                expiration_ms,
                deletes_evicted: None,
            };
            let _ = request.check(&mut reasons);
            reasons.len()
        };
        assert_eq!(reasons(1, None) + reasons(10, Some(0)), 0);
        assert_eq!(reasons(2, Some(86_400_000)), 0);
        for count in [0, -1, 11, i64::MAX] {
            assert_eq!(reasons(count, None), 1);
        }
        for expiration in [1, -5, 86_399_999, i64::MAX] {
            assert_eq!(reasons(1, Some(expiration)), 1, "{expiration}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_is_read_as_it_was_written(
            count in 1..=KEEP_LAST_MAX,
            expiration_ms in proptest::option::of(0..EXPIRATION_MAX_MS),
            deletes_evicted: bool,
        ) {
            let keep = KeepLast { count, expiration_ms, deletes_evicted };
            prop_assert_eq!(KeepLast::parse(&keep.to_string()), Some(keep));
        }

        #[test]
        fn no_text_breaks_the_reading(text in "[0-9,a-z]{0,20}") {
            if let Some(keep) = KeepLast::parse(&text) {
                prop_assert!((1..=KEEP_LAST_MAX).contains(&keep.count));
            }
        }
    }
}
