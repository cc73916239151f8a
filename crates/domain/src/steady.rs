//! The time of a host whose clock may be set: it never jumps, and never goes back.
//!
//! Timers, leases and deadlines compare times that were written before with the time it is now. A clock that is set
//! forward by hours would make all of them due at once, and one that is set back would hold them up for as long. So the
//! time that is told follows the host's clock at a bounded pace: at most twice as fast as time passes, and at least half as
//! fast.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// As far as this the host's clock is followed at once: that is what keeping it right does.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);

/// The furthest that what was written before counts for more than the host's clock. Beyond it, that must have been wrong
/// then.
const BEHIND_MAX: SignedDuration = SignedDuration::from_hours(24);

/// The time that was told last, and when that was.
#[derive(Debug, Clone)]
pub struct SteadyTime {
    told: Timestamp,
    passed: Duration,
}

impl SteadyTime {
    /// Begins with what the host's clock says. `passed` is time that passes whatever is done to that clock, counted from
    /// anywhere.
    pub fn new(host: Timestamp, passed: Duration) -> Self {
        Self { told: host, passed }
    }

    /// What the time is.
    pub fn now(&mut self, host: Timestamp, passed: Duration) -> Timestamp {
        let elapsed = signed(passed.saturating_sub(self.passed));
        let next = self.told.saturating_add(elapsed).unwrap_or(Timestamp::MAX);
        let off = host.duration_since(next);
        self.passed = self.passed.max(passed);
        self.told = if off.abs() <= TOLERANCE {
            host.max(self.told)
        } else if off.is_positive() {
            next.saturating_add(off.min(elapsed))
                .unwrap_or(Timestamp::MAX)
        } else {
            let back = off.abs().min(elapsed / 2);
            next.saturating_sub(back).unwrap_or(next)
        };
        self.told
    }

    /// How far the host's clock is ahead of the time that was told last.
    pub fn lag(&self, host: Timestamp) -> SignedDuration {
        host.duration_since(self.told)
    }

    /// What was written down earlier is not later than now. False if that cannot be.
    pub fn not_before(&mut self, written: Timestamp) -> bool {
        let behind = written.duration_since(self.told);
        if behind > BEHIND_MAX {
            return false;
        }
        self.told = self.told.max(written);
        true
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    const HOUR: i64 = 3600;

    #[test]
    fn a_clock_that_is_kept_right_is_told_as_it_is() {
        let mut time = SteadyTime::new(second(0), Duration::ZERO);
        for passed in 1..100_u32 {
            let host = second(passed.into()) + SignedDuration::from_millis(700);
            assert_eq!(time.now(host, Duration::from_secs(passed.into())), host);
        }
    }

    #[test]
    fn hours_forward_are_caught_up_at_twice_the_pace() {
        let mut time = SteadyTime::new(second(0), Duration::ZERO);
        let host = |passed| second(6 * HOUR + passed);
        assert_eq!(time.now(host(0), Duration::ZERO), second(0));
        assert_eq!(time.now(host(60), Duration::from_mins(1)), second(120));
        let last = 7 * HOUR;
        assert_eq!(time.now(host(last), Duration::from_hours(7)), host(last));
    }

    #[test]
    fn hours_back_are_waited_for_at_half_the_pace() {
        let mut time = SteadyTime::new(second(6 * HOUR), Duration::ZERO);
        assert_eq!(time.now(second(0), Duration::ZERO), second(6 * HOUR));
        assert_eq!(
            time.now(second(60), Duration::from_mins(1)),
            second(6 * HOUR + 30)
        );
        let passed = 13 * HOUR;
        let told = time.now(second(passed), Duration::from_hours(13));
        assert_eq!(told, second(passed));
    }

    #[test]
    fn what_was_written_before_a_start_is_not_later_than_it() {
        let mut time = SteadyTime::new(second(0), Duration::ZERO);
        assert!(time.not_before(second(6 * HOUR)));
        assert_eq!(time.now(second(0), Duration::ZERO), second(6 * HOUR));
        // A clock that was years ahead once does not count for ever.
        let mut time = SteadyTime::new(second(0), Duration::ZERO);
        assert!(!time.not_before(second(1000 * HOUR)));
        assert_eq!(time.now(second(0), Duration::ZERO), second(0));
    }

    proptest! {
        #[test]
        fn it_never_jumps_and_never_goes_back(
            steps in prop::collection::vec((0_u64..5000, -100_000_000_i64..100_000_000), 1..60),
        ) {
            let mut time = SteadyTime::new(second(0), Duration::ZERO);
            let (mut passed, mut offset) = (Duration::ZERO, SignedDuration::ZERO);
            let mut last = second(0);
            for (step, set) in steps {
                let step = Duration::from_millis(step);
                passed += step;
                // Set now and then, by as much as a day and more.
                if set % 3 == 0 {
                    offset += SignedDuration::from_millis(set);
                }
                let host = Timestamp::UNIX_EPOCH + signed(passed) + offset;
                let told = time.now(host, passed);
                prop_assert!(told >= last, "back from {last} to {told}");
                let most = signed(step) * 2 + TOLERANCE;
                prop_assert!(told.duration_since(last) <= most, "{last} to {told} in {step:?}");
                last = told;
            }
            // Left alone, it comes to what the host says.
            let calm = Duration::from_hours(24 * 365);
            let host = Timestamp::UNIX_EPOCH + signed(passed + calm) + offset;
            prop_assert_eq!(time.now(host, passed + calm), host);
        }
    }
}
