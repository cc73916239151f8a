//! Control groups, and whether swap is counted.

use std::fs;

use super::{Check, Subject, Trouble};
use crate::limits::trial::{Controllers, Trial, try_out as try_group};

const GROUPS: Subject = Subject::required(
    "control-groups",
    "control groups with the controllers memory, cpu and pids",
);
const FREEZER: Subject = Subject::wished("freezer", "a way to freeze all processes of a sandbox");
const DEVICES: Subject = Subject::wished("device-groups", "control over devices by group");
const SWAP: Subject = Subject::wished("swap", "swap that is off or counted");

#[derive(Debug)]
pub(super) struct Groups {
    trial: Result<Trial, Trouble>,
    has_swap: bool,
}

pub(super) async fn try_out() -> Groups {
    let trial = match tokio::task::spawn_blocking(try_group).await {
        Ok(result) => result.map_err(|error| Trouble::of(&error, None)),
        Err(error) => Err(Trouble::of(&error, None)),
    };
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    Groups {
        trial,
        // The first line is the heading.
        has_swap: swaps.lines().count() > 1,
    }
}

pub(super) fn judge(groups: &Groups) -> Vec<Check> {
    let trial = match &groups.trial {
        Ok(trial) => trial,
        Err(trouble) => {
            let advice = "Mount them for writing; on a virtual machine or in a container, allow them to the guest.";
            return vec![
                GROUPS.judge(Some(&Err(trouble.clone())), advice),
                FREEZER.not_tried(),
                DEVICES.not_tried(),
                SWAP.not_tried(),
            ];
        }
    };
    let how = match trial.controllers {
        Controllers::Tried => "a group with limits was made".to_owned(),
        Controllers::HandedOnAtStart { in_the_way: 0 } => {
            "the server hands the controllers on when it starts".to_owned()
        }
        Controllers::HandedOnAtStart { in_the_way } => format!(
            "the server hands the controllers on when it starts, and moves {in_the_way} processes for it"
        ),
    };
    let found = format!("{}, {how}", trial.layout);
    vec![
        GROUPS.ok(found),
        if trial.can_freeze {
            FREEZER.ok("there")
        } else {
            FREEZER.lacking("none", "Pausing sandboxes will need it; nothing uses it yet.")
        },
        if trial.has_devices {
            DEVICES.ok("there")
        } else {
            let advice = "Nothing depends on it: no device node can be made or opened inside a sandbox.";
            DEVICES.lacking("none", advice)
        },
        match (groups.has_swap, trial.counts_swap) {
            (false, _) => SWAP.ok("off"),
            (true, true) => SWAP.ok("on and counted"),
            (true, false) => SWAP.lacking(
                "on and not counted",
                "Turn swap off, or boot with swapaccount=1: sandboxes could use it beyond their memory.",
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Status::{self, Degraded, Missing, Ok as Fine};
    use super::*;

    fn groups(change: impl FnOnce(&mut Trial)) -> Groups {
        let mut trial = Trial {
            layout: "version 2",
            controllers: Controllers::Tried,
            counts_swap: true,
            can_freeze: true,
            has_devices: true,
        };
        change(&mut trial);
        Groups {
            trial: Ok(trial),
            has_swap: true,
        }
    }

    #[test]
    fn each_finding_is_judged_under_its_own_name() {
        for (groups, expected) in [
            (groups(|_| {}), [Fine; 4]),
            (
                groups(|t| t.can_freeze = false),
                [Fine, Degraded, Fine, Fine],
            ),
            (
                groups(|t| t.has_devices = false),
                [Fine, Fine, Degraded, Fine],
            ),
            (
                groups(|t| t.counts_swap = false),
                [Fine, Fine, Fine, Degraded],
            ),
            (
                Groups {
                    has_swap: false,
                    ..groups(|t| t.counts_swap = false)
                },
                [Fine; 4],
            ),
        ] {
            let statuses: Vec<Status> = judge(&groups).iter().map(|check| check.status).collect();
            assert_eq!(statuses, expected, "{groups:?}");
        }
    }

    #[test]
    fn a_host_without_a_controller_is_refused_by_name() {
        let error = crate::limits::LimitsError::ControllerMissing {
            controller: "memory",
        };
        let checks = judge(&Groups {
            trial: Err(Trouble::of(&error, None)),
            has_swap: false,
        });
        assert_eq!(checks[0].status, Missing);
        assert!(checks[0].found.contains("memory"), "{checks:?}");
    }

    #[test]
    fn processes_that_will_be_moved_are_told() {
        let checks = judge(&groups(|t| {
            t.controllers = Controllers::HandedOnAtStart { in_the_way: 3 };
        }));
        assert!(checks[0].found.contains("moves 3 processes"), "{checks:?}");
    }
}
