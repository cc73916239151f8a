//! Organizations that the administrator of the server has suspended.

use jiff::{SignedDuration, Timestamp};

use crate::{Reason, text};

/// Hours between a suspension and the stop of what runs, where nobody says.
pub const GRACE_HOURS: u32 = 24;
/// Longest such time: ten years.
pub const GRACE_HOURS_MAX: u32 = 87_600;

/// A suspended organization makes and starts nothing. What it has can be read, stopped and deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    pub since: Timestamp,
    pub reason: Option<String>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Hours after `since` when what runs is stopped.
    pub grace_hours: u32,
}

impl Suspension {
    /// # Errors
    /// Everything that is wrong: a reason that cannot be shown, an end that has passed, a time that is too long.
    pub fn parse(
        reason: Option<String>,
        until: Option<Timestamp>,
        grace_hours: Option<i64>,
        now: Timestamp,
    ) -> Result<Self, Vec<Reason>> {
        let mut reasons = Vec::new();
        let reason = reason.filter(|reason| !reason.trim().is_empty());
        if let Some(reason) = &reason {
            text::check_text("reason", reason, &mut reasons);
        }
        if until.is_some_and(|until| until <= now) {
            reasons.push(Reason::invalid("until must be in the future"));
        }
        let grace = grace_hours.map_or(Ok(GRACE_HOURS), u32::try_from);
        let grace_hours = grace.ok().filter(|hours| *hours <= GRACE_HOURS_MAX);
        match grace_hours {
            Some(grace_hours) if reasons.is_empty() => Ok(Self {
                since: now,
                reason,
                until,
                grace_hours,
            }),
            Some(_) => Err(reasons),
            None => {
                reasons.push(Reason::invalid(format!(
                    "suspensionCleanupGracePeriodHours must be from 0 to {GRACE_HOURS_MAX}"
                )));
                Err(reasons)
            }
        }
    }

    /// Whether it is in force.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether what runs is to be stopped by now. There is no time after which it is not: whoever comes late still does it.
    pub fn stops_what_runs(&self, now: Timestamp) -> bool {
        let grace = SignedDuration::from_hours(self.grace_hours.into());
        // Beyond all time is never.
        let due = self.since.checked_add(grace);
        self.holds(now) && due.is_ok_and(|due| due <= now)
    }

    /// What whoever is refused reads.
    pub fn message(&self) -> String {
        match &self.reason {
            Some(reason) => format!("Organization is suspended: {reason}"),
            None => "Organization is suspended".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour)
    }

    #[test]
    fn it_holds_until_its_end_and_stops_what_runs_after_the_grace() {
        let parsed = Suspension::parse(Some("unpaid".to_owned()), Some(at(50)), None, at(1));
        let suspension = parsed.expect("a suspension");
        assert_eq!(suspension.message(), "Organization is suspended: unpaid");
        assert!(suspension.holds(at(1)) && suspension.holds(at(49)));
        assert!(!suspension.stops_what_runs(at(24)));
        assert!(suspension.stops_what_runs(at(25)));
        assert!(!suspension.holds(at(50)) && !suspension.stops_what_runs(at(50)));
        let forever = Suspension::parse(None, None, Some(0), at(1)).expect("a suspension");
        assert!(forever.stops_what_runs(at(1)) && forever.stops_what_runs(at(100_000)));
        assert_eq!(forever.message(), "Organization is suspended");
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let reason = Some("<b>x</b>".to_owned());
        let refused = Suspension::parse(reason, Some(at(1)), Some(-1), at(1));
        assert_eq!(refused.map_err(|reasons| reasons.len()), Err(3));
    }
}
