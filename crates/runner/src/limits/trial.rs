//! Control groups tried out: a group with limits is made, looked at and removed.

use std::fs;

use alcove_domain::SandboxId;
use alcove_runner_api::Resources;

use super::hand_on::{hand_on, in_the_way, is_handed_on};
use super::layout::{self, Layout};
use super::{Group, Limits, LimitsError, make_folder};
use crate::pidfd::is_gone;

/// Followed by the number of the process that tries.
const PREFIX: &str = "alcove-probe-";

/// The one group of a trial.
const GROUP: &str = "trial";

/// What a trial group had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    pub layout: &'static str,
    pub controllers: Controllers,
    pub counts_swap: bool,
    pub can_freeze: bool,
    pub has_devices: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controllers {
    /// Limits were set.
    Tried,
    /// The top group of version 2 has not handed them on yet. The server does that at its start, and moves the
    /// processes that are in the way; a trial changes nothing.
    HandedOnAtStart { in_the_way: usize },
}

/// Makes a group and removes it.
///
/// # Errors
/// What a server would fail with.
pub(crate) fn try_out() -> Result<Trial, LimitsError> {
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(LimitsError::Mounts)?;
    let limits = Limits {
        layout: layout::find(&mounts)?,
        parent: format!("{PREFIX}{}", std::process::id()),
    };
    remove_abandoned(&limits);
    let has_tree = |controller| layout::tree_of(&mounts, controller).is_some();
    let result = try_in(&limits, has_tree("freezer"), has_tree("devices"));
    limits.close();
    result
}

/// Removes the groups of trials that were killed: those cannot remove their own.
fn remove_abandoned(limits: &Limits) {
    for tree in limits.parents().iter().filter_map(|own| own.parent()) {
        let entries = fs::read_dir(tree).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if maker.is_some_and(is_gone) {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_dir(entry.path().join(GROUP));
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

fn try_in(limits: &Limits, has_freezer: bool, has_devices: bool) -> Result<Trial, LimitsError> {
    for folder in limits.parents() {
        make_folder(&folder)?;
    }
    let name: SandboxId = GROUP.parse().expect("letters make an id");
    let group = limits.group(&name);
    let Layout::V2 { root } = &limits.layout else {
        let counts_swap = try_limits(&group, "memory.memsw.limit_in_bytes")?;
        return Ok(Trial {
            layout: "version 1 or hybrid",
            controllers: Controllers::Tried,
            counts_swap,
            can_freeze: has_freezer,
            has_devices,
        });
    };
    let parent = root.join(&limits.parent);
    let is_ready = is_handed_on(root).map_err(|source| LimitsError::Set {
        file: "cgroup.subtree_control",
        source,
    })?;
    let mut trial = Trial {
        layout: "version 2",
        controllers: Controllers::Tried,
        // On by default, and only seen in a group that has the controller.
        counts_swap: true,
        can_freeze: parent.join("cgroup.freeze").exists(),
        // Version 2 filters devices by a program, which needs no controller.
        has_devices: true,
    };
    if is_ready {
        hand_on(&parent)?;
        trial.counts_swap = try_limits(&group, "memory.swap.max")?;
    } else {
        let in_the_way = in_the_way(root);
        trial.controllers = Controllers::HandedOnAtStart { in_the_way };
    }
    Ok(trial)
}

/// Says whether the group has the file that counts swap.
fn try_limits(group: &Group, swap_file: &str) -> Result<bool, LimitsError> {
    group.create(&Resources {
        cpu_millis: 1000,
        memory_bytes: 64 << 20,
        disk_bytes: 0,
        pids: 64,
    })?;
    let counts_swap = group
        .folders
        .first()
        .is_some_and(|folder| folder.join(swap_file).exists());
    let entry = group.entry().map(drop);
    group.destroy()?;
    entry.map(|()| counts_swap)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn groups_of_killed_trials_go_with_the_next_trial_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let tree = |name: &str| folder.path().join(name);
        let limits = Limits {
            layout: Layout::V1 {
                memory: tree("memory"),
                cpu: tree("cpu"),
                pids: tree("pids"),
                freezer: None,
                cpuacct: None,
            },
            parent: "any".to_owned(),
        };
        let own = format!("{PREFIX}{}", std::process::id());
        // Above what Linux gives to processes.
        let killed = format!("{PREFIX}2147483646");
        for controller in ["memory", "cpu"] {
            fs::create_dir_all(tree(controller).join(&killed).join(GROUP)).unwrap();
            for other in [&own, "alcove-probe-x", "alcove"] {
                fs::create_dir(tree(controller).join(other)).unwrap();
            }
        }
        remove_abandoned(&limits);
        for controller in ["memory", "cpu"] {
            assert!(!tree(controller).join(&killed).exists());
            for other in [&own, "alcove-probe-x", "alcove"] {
                assert!(tree(controller).join(other).exists(), "{other}");
            }
        }
    }
}
