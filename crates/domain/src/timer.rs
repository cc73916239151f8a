//! When a sandbox is due for something by itself.

use jiff::Timestamp;

use crate::interval::after_minutes;
use crate::{DesiredState, Phase, Sandbox};

/// A sandbox in `error` stays at least this long, whatever its intervals, so that someone can read why.
pub const ERROR_KEPT_MINUTES: u32 = 10;

/// A sandbox whose image could not be built stays this long where nothing else is said: nothing ever ran in it.
const BUILD_FAILED_KEPT_MINUTES: u32 = 7 * 24 * 60;

/// What a timer does. Of two that are due at once, the earlier of this list is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Delete it: it has been stopped for its interval, or its time to live is over.
    AutoDelete,
    /// Stop it: nobody used it for its interval, or its run has had its time.
    AutoStop,
    /// Pause it: nobody used it for its interval.
    AutoPause,
    /// Archive it: it has been stopped for its interval.
    AutoArchive,
}

/// What is due next and when. `last_activity_at` is brought by the caller, who may know a later one than
/// the row.
pub fn next_due(sandbox: &Sandbox, last_activity_at: Timestamp) -> Option<(Timestamp, Due)> {
    let intervals = &sandbox.intervals;
    let life = &sandbox.lifecycle;
    if life.desired == DesiredState::Destroyed {
        return None;
    }
    let idle_since = last_activity_at.max(life.state_changed_at);
    let after = |minutes| after_minutes(idle_since, minutes);
    let when_idle = |minutes: u32| {
        (matches!(life.phase, Phase::Started) && minutes > 0).then(|| after(minutes))
    };
    let end_of_run = sandbox
        .stop_at
        .filter(|_| matches!(life.phase, Phase::Started | Phase::Paused));
    let archive = match life.phase {
        Phase::Stopped { .. } if !intervals.is_ephemeral() => {
            Some(after(intervals.auto_archive_minutes))
        }
        _ => None,
    };
    let delete = match (&life.phase, intervals.auto_delete_minutes) {
        (Phase::Stopped { .. } | Phase::Archived, Some(minutes)) => Some(after(minutes)),
        (Phase::Error { .. } | Phase::BuildFailed { .. }, Some(minutes)) => {
            Some(after(minutes.max(ERROR_KEPT_MINUTES)))
        }
        (Phase::BuildFailed { .. }, None) => Some(after(BUILD_FAILED_KEPT_MINUTES)),
        _ => None,
    };
    [
        (sandbox.auto_destroy_at, Due::AutoDelete),
        (delete, Due::AutoDelete),
        (end_of_run, Due::AutoStop),
        (when_idle(intervals.auto_stop_minutes), Due::AutoStop),
        (when_idle(intervals.auto_pause_minutes), Due::AutoPause),
        (archive, Due::AutoArchive),
    ]
    .into_iter()
    .filter_map(|(at, due)| Some((at?, due)))
    .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::sample;
    use crate::{Fault, FaultCode, Intervals};

    fn minute(minute: i64) -> Timestamp {
        after_minutes(Timestamp::UNIX_EPOCH, u32::try_from(minute).unwrap_or(0))
    }

    fn sandbox(phase: Phase, desired: DesiredState, intervals: Intervals) -> Sandbox {
        let mut sandbox = sample(Timestamp::UNIX_EPOCH);
        sandbox.lifecycle.phase = phase;
        sandbox.lifecycle.desired = desired;
        sandbox.intervals = intervals;
        sandbox.set_ttl(intervals.ttl_minutes, Timestamp::UNIX_EPOCH);
        sandbox
    }

    #[test]
    fn of_pause_and_stop_the_shorter_idle_time_counts_and_what_is_paused_stays() {
        let both = |pause| Intervals {
            auto_pause_minutes: pause,
            ..intervals(15, None)
        };
        let started = sandbox(Phase::Started, DesiredState::Started, both(5));
        let due = next_due(&started, minute(0));
        assert_eq!(due, Some((minute(5), Due::AutoPause)));
        let started = sandbox(Phase::Started, DesiredState::Started, both(20));
        let due = next_due(&started, minute(0));
        assert_eq!(due, Some((minute(15), Due::AutoStop)));
        let paused = sandbox(Phase::Paused, DesiredState::Paused, both(5));
        assert_eq!(next_due(&paused, minute(0)), None);
    }

    #[test]
    fn a_stopped_sandbox_is_archived_after_its_interval_and_an_archived_one_is_still_deleted() {
        let archive = Intervals {
            auto_archive_minutes: 4,
            ..intervals(15, Some(9))
        };
        let stopped = sandbox(
            Phase::Stopped { fault: None },
            DesiredState::Stopped,
            archive,
        );
        let due = next_due(&stopped, minute(1));
        assert_eq!(due, Some((minute(5), Due::AutoArchive)));
        let archived = sandbox(Phase::Archived, DesiredState::Archived, archive);
        let due = next_due(&archived, minute(1));
        assert_eq!(due, Some((minute(10), Due::AutoDelete)));
        let never = sandbox(Phase::Archived, DesiredState::Archived, intervals(15, None));
        assert_eq!(next_due(&never, minute(1)), None);
    }

    fn intervals(stop: u32, delete: Option<u32>) -> Intervals {
        Intervals {
            auto_stop_minutes: stop,
            auto_delete_minutes: delete,
            ..Intervals::default()
        }
    }

    #[test]
    fn a_started_sandbox_is_stopped_after_its_idle_time() {
        let started = sandbox(
            Phase::Started,
            DesiredState::Started,
            intervals(15, Some(5)),
        );
        assert_eq!(
            next_due(&started, minute(0)),
            Some((minute(15), Due::AutoStop))
        );
        assert_eq!(
            next_due(&started, minute(7)),
            Some((minute(22), Due::AutoStop))
        );
    }

    #[test]
    fn a_run_with_an_end_is_stopped_then_however_busy_it_is() {
        let mut started = sandbox(Phase::Started, DesiredState::Started, intervals(0, None));
        started.stop_at = Some(minute(3));
        let due = next_due(&started, minute(2));
        assert_eq!(due, Some((minute(3), Due::AutoStop)));
        let stopped = Phase::Stopped { fault: None };
        started.lifecycle.phase = stopped;
        let (_, due) = next_due(&started, minute(0)).expect("it is archived");
        assert_eq!(due, Due::AutoArchive);
    }

    #[test]
    fn a_zero_interval_never_stops() {
        let started = sandbox(Phase::Started, DesiredState::Started, intervals(0, None));
        assert_eq!(next_due(&started, minute(0)), None);
    }

    #[test]
    fn a_stopped_sandbox_is_deleted_after_its_interval_and_an_ephemeral_one_at_once() {
        let stopped = || Phase::Stopped { fault: None };
        let kept = sandbox(stopped(), DesiredState::Stopped, intervals(15, None));
        let (_, due) = next_due(&kept, minute(0)).expect("it is archived");
        assert_eq!(due, Due::AutoArchive);
        let later = sandbox(stopped(), DesiredState::Stopped, intervals(15, Some(5)));
        assert_eq!(
            next_due(&later, minute(3)),
            Some((minute(8), Due::AutoDelete))
        );
        let ephemeral = sandbox(stopped(), DesiredState::Stopped, intervals(15, Some(0)));
        assert_eq!(
            next_due(&ephemeral, minute(3)),
            Some((minute(3), Due::AutoDelete))
        );
    }

    #[test]
    fn a_broken_ephemeral_sandbox_stays_long_enough_to_be_read() {
        let phase = Phase::Error {
            fault: Fault::new(FaultCode::Internal, "x"),
            has_disk: false,
        };
        let broken = sandbox(phase, DesiredState::Started, intervals(15, Some(0)));
        let due = minute(i64::from(ERROR_KEPT_MINUTES));
        assert_eq!(next_due(&broken, minute(0)), Some((due, Due::AutoDelete)));
    }

    #[test]
    fn what_was_never_built_goes_after_a_week_and_what_broke_stays() {
        let fault = Fault::new(FaultCode::Internal, "x");
        let phase = Phase::BuildFailed {
            fault: fault.clone(),
        };
        let failed = sandbox(phase, DesiredState::Started, intervals(15, None));
        let week = minute(7 * 24 * 60);
        assert_eq!(next_due(&failed, minute(0)), Some((week, Due::AutoDelete)));
        let phase = Phase::Error {
            fault,
            has_disk: true,
        };
        let broken = sandbox(phase, DesiredState::Started, intervals(15, None));
        assert_eq!(next_due(&broken, minute(0)), None);
    }

    #[test]
    fn the_time_to_live_ends_every_state_but_never_a_deleted_sandbox() {
        let with_ttl = Intervals {
            ttl_minutes: Some(3),
            ..intervals(15, None)
        };
        let starting = sandbox(Phase::Creating, DesiredState::Started, with_ttl);
        assert_eq!(
            next_due(&starting, minute(9)),
            Some((minute(3), Due::AutoDelete))
        );
        let going = sandbox(Phase::Destroying, DesiredState::Destroyed, with_ttl);
        assert_eq!(next_due(&going, minute(9)), None);
    }
}
