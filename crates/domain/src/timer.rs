//! When a sandbox is due for something by itself.

use jiff::Timestamp;

use crate::interval::after_minutes;
use crate::{DesiredState, Phase, Sandbox};

/// A sandbox in `error` stays at least this long, whatever its intervals, so that someone can read why.
pub const ERROR_KEPT_MINUTES: u32 = 10;

/// What a timer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Stop it: nobody used it for its interval.
    AutoStop,
    /// Delete it: it has been stopped for its interval, or its time to live is over.
    AutoDelete,
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
    let stop = match life.phase {
        Phase::Started if intervals.auto_stop_minutes > 0 => Some((
            after_minutes(idle_since, intervals.auto_stop_minutes),
            Due::AutoStop,
        )),
        _ => None,
    };
    let delete = match (&life.phase, intervals.auto_delete_minutes) {
        (Phase::Stopped { .. }, Some(minutes)) => Some(after_minutes(idle_since, minutes)),
        (Phase::Error { .. } | Phase::BuildFailed { .. }, Some(minutes)) => {
            Some(after_minutes(idle_since, minutes.max(ERROR_KEPT_MINUTES)))
        }
        _ => None,
    };
    let delete = [delete, sandbox.auto_destroy_at()]
        .into_iter()
        .flatten()
        .min()
        .map(|at| (at, Due::AutoDelete));
    [stop, delete].into_iter().flatten().min()
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
        sandbox
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
    fn a_zero_interval_never_stops() {
        let started = sandbox(Phase::Started, DesiredState::Started, intervals(0, None));
        assert_eq!(next_due(&started, minute(0)), None);
    }

    #[test]
    fn a_stopped_sandbox_is_deleted_after_its_interval_and_an_ephemeral_one_at_once() {
        let stopped = || Phase::Stopped { fault: None };
        let kept = sandbox(stopped(), DesiredState::Stopped, intervals(15, None));
        assert_eq!(next_due(&kept, minute(0)), None);
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
