//! What can be changed about a group while its sandbox runs: its limits, and whether its processes run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alcove_runner_api::Resources;

use super::{CPU_PERIOD_US, Group, LimitsError, skip_missing};

/// How long the kernel may take to hold the last process. One that waits for a disk is held when it has
/// what it waits for.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

const FREEZE_POLL_MAX: Duration = Duration::from_millis(20);

impl Group {
    /// Sets other limits for processor and memory. Blocks.
    pub fn resize(&self, resources: &Resources) -> Result<(), LimitsError> {
        let quota_us = u64::from(resources.cpu_millis) * CPU_PERIOD_US / 1000;
        let memory = resources.memory_bytes.to_string();
        match self.folders.as_slice() {
            [group] => {
                set(group, "memory.max", &memory)?;
                set(group, "cpu.max", &format!("{quota_us} {CPU_PERIOD_US}"))
            }
            [memory_group, cpu_group, ..] => {
                // Memory alone may never be allowed more than memory and swap together, so the order
                // depends on the direction: what is refused first is taken the second time.
                let both =
                    || skip_missing(set(memory_group, "memory.memsw.limit_in_bytes", &memory));
                let is_early = both().is_ok();
                set(memory_group, "memory.limit_in_bytes", &memory)?;
                if !is_early {
                    both()?;
                }
                set(cpu_group, "cpu.cfs_quota_us", &quota_us.to_string())
            }
            [] => unreachable!("a group has a folder"),
        }
    }

    /// Holds every process where it is. Blocks until the last one is held; where that takes too long, all
    /// of them go on.
    pub fn freeze(&self) -> Result<(), LimitsError> {
        self.set_frozen(true)?;
        let deadline = Instant::now() + FREEZE_LIMIT;
        let mut pause = Duration::from_micros(200);
        while !self.is_frozen() {
            if Instant::now() > deadline {
                self.thaw()?;
                return Err(LimitsError::NotHeld {
                    limit: FREEZE_LIMIT,
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(FREEZE_POLL_MAX);
        }
        Ok(())
    }

    /// Lets every process go on; those that go on already do so.
    pub fn thaw(&self) -> Result<(), LimitsError> {
        match self.set_frozen(false) {
            Err(LimitsError::NoFreezer) => Ok(()),
            other => other,
        }
    }

    /// Whether every process is held. Where not all of them are, as after a kill in the middle of
    /// [`Group::freeze`], none is afterwards.
    pub fn is_frozen_or_let_go(&self) -> Result<bool, LimitsError> {
        let is_frozen = self.is_frozen();
        if !is_frozen {
            self.thaw()?;
        }
        Ok(is_frozen)
    }

    /// Whether every process is held.
    pub fn is_frozen(&self) -> bool {
        let Some(folder) = self.freezer() else {
            return false;
        };
        if self.is_v2 {
            let events = fs::read_to_string(folder.join("cgroup.events")).unwrap_or_default();
            return events.lines().any(|line| line == "frozen 1");
        }
        let state = fs::read_to_string(folder.join("freezer.state")).unwrap_or_default();
        state.trim() == "FROZEN"
    }

    fn set_frozen(&self, is_frozen: bool) -> Result<(), LimitsError> {
        let folder = self.freezer().ok_or(LimitsError::NoFreezer)?;
        let (file, value) = match (self.is_v2, is_frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        match set(folder, file, value) {
            Err(LimitsError::Set { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(LimitsError::NoFreezer)
            }
            other => other,
        }
    }

    fn freezer(&self) -> Option<&PathBuf> {
        self.folders.get(if self.is_v2 { 0 } else { 3 })
    }
}

fn set(folder: &Path, file: &'static str, value: &str) -> Result<(), LimitsError> {
    // Not created: only the kernel makes these files.
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).open(folder.join(file))?;
        io::Write::write_all(&mut file, value.as_bytes())
    };
    write().map_err(|source| LimitsError::Set { file, source })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    // Ordinary folders stand in for the kernel's; that the kernel takes it is shown with real sandboxes.
    #[test]
    fn a_group_without_a_freezer_says_so_and_thaws_at_no_cost() {
        let root = tempfile::tempdir().unwrap();
        let three = Group {
            folders: vec![root.path().to_owned(); 3],
            is_v2: false,
        };
        assert!(matches!(three.freeze(), Err(LimitsError::NoFreezer)));
        three.thaw().unwrap();
        assert!(!three.is_frozen());
    }

    #[test]
    fn processes_that_are_not_all_held_are_let_go_and_a_frozen_group_stays_so() {
        let root = tempfile::tempdir().unwrap();
        let at = |file| root.path().join(file);
        for (is_v2, said, is, half, held) in [
            (
                true,
                "cgroup.freeze",
                "cgroup.events",
                "frozen 0\n",
                "frozen 1\n",
            ),
            (
                false,
                "freezer.state",
                "freezer.state",
                "FREEZING\n",
                "FROZEN\n",
            ),
        ] {
            let group = Group {
                folders: vec![root.path().to_owned(); if is_v2 { 1 } else { 4 }],
                is_v2,
            };
            fs::write(at(said), "1").unwrap();
            fs::write(at(is), half).unwrap();
            assert!(!group.is_frozen_or_let_go().unwrap());
            let let_go = if is_v2 { "0" } else { "THAWED" };
            assert!(fs::read_to_string(at(said)).unwrap().starts_with(let_go));

            fs::write(at(said), "1").unwrap();
            fs::write(at(is), held).unwrap();
            assert!(group.is_frozen_or_let_go().unwrap());
            assert!(!fs::read_to_string(at(said)).unwrap().starts_with(let_go));
        }
    }

    #[test]
    fn a_frozen_group_is_known_by_the_kernel_of_either_version() {
        let root = tempfile::tempdir().unwrap();
        for (is_v2, files) in [
            (
                true,
                [
                    ("cgroup.freeze", ""),
                    ("cgroup.events", "populated 1\nfrozen 1\n"),
                ],
            ),
            (false, [("freezer.state", ""), ("other", "")]),
        ] {
            for (file, text) in files {
                fs::write(root.path().join(file), text).unwrap();
            }
            let group = Group {
                folders: vec![root.path().to_owned(); if is_v2 { 1 } else { 4 }],
                is_v2,
            };
            group.freeze().unwrap();
            assert!(group.is_frozen());
            let said = if is_v2 {
                ("cgroup.freeze", "1")
            } else {
                ("freezer.state", "FROZEN")
            };
            assert_eq!(
                fs::read_to_string(root.path().join(said.0)).unwrap(),
                said.1
            );
        }
    }
}
