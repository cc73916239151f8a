//! Control groups: what a sandbox may use, and who is in it.
//!
//! Version 2 where the host has it with controllers, version 1 (each controller its own tree) otherwise;
//! hybrid hosts count as version 1. The runner makes one folder a sandbox below a parent of its own and
//! never writes a process number into it: the child enters by itself (version 1) or is born inside
//! (version 2), because the other way waits for a grace period of the kernel.

mod change;
mod hand_on;
mod layout;
pub(crate) mod trial;
mod usage;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alcove_domain::SandboxId;
use alcove_runner_api::{FaultCode, Resources};
use alcove_spawner::protocol::{AGENT_LIMITS_COUNT, CgroupEntry};

use self::hand_on::hand_on;
use self::layout::Layout;
pub use self::usage::GroupUsage;

/// Controllers without which a sandbox would not be limited.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The kernel's usual accounting period for processor time.
const CPU_PERIOD_US: u64 = 100_000;

/// How long ended processes may take to leave a group before the group counts as stuck.
const EMPTY_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    #[error("the host has no control group controller {controller:?}")]
    ControllerMissing { controller: &'static str },
    #[error("cannot read the list of mounts")]
    Mounts(#[source] io::Error),
    #[error("cannot make the control group {path}")]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot set {file} of a control group")]
    Set {
        file: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot open {file} of a control group")]
    Open {
        file: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot move the processes of the control group {path} out of the way")]
    Occupied {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this host has no freezer to hold processes with")]
    NoFreezer,
    #[error("the processes of the sandbox cannot all be held within {} s", limit.as_secs())]
    NotHeld { limit: Duration },
    #[error("processes do not leave the control group {path}")]
    Stuck { path: PathBuf },
    #[error("cannot remove the control group {path}")]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl LimitsError {
    /// The word for it in the runner's reports.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            // A control group is kernel memory and nothing else, and ENOSPC is how the kernel says that it
            // has no number left for one.
            Self::Make { source, .. }
                if matches!(
                    source.raw_os_error(),
                    Some(libc::ENOMEM | libc::ENOSPC | libc::EAGAIN)
                ) =>
            {
                FaultCode::HostMemoryFull
            }
            Self::NoFreezer => FaultCode::Unsupported,
            _ => FaultCode::Internal,
        }
    }
}

/// Where this runner's control groups are.
#[derive(Debug, Clone)]
pub struct Limits {
    layout: Layout,
    parent: String,
}

impl Limits {
    /// Finds the layout and makes the parent groups.
    pub fn open(parent: &str) -> Result<Self, LimitsError> {
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(LimitsError::Mounts)?;
        let limits = Self {
            layout: layout::find(&mounts)?,
            parent: parent.to_owned(),
        };
        for folder in limits.parents() {
            make_folder(&folder)?;
        }
        if let Layout::V2 { root } = &limits.layout {
            hand_on(root)?;
            hand_on(&root.join(parent))?;
        }
        Ok(limits)
    }

    fn parents(&self) -> Vec<PathBuf> {
        match &self.layout {
            Layout::V1 {
                memory,
                cpu,
                pids,
                freezer,
                cpuacct,
            } => [memory, cpu, pids]
                .into_iter()
                .chain(freezer)
                .chain(cpuacct)
                .map(|tree| tree.join(&self.parent))
                .collect(),
            Layout::V2 { root } => vec![root.join(&self.parent)],
        }
    }

    /// The group of one sandbox, whether or not it exists.
    pub fn group(&self, sandbox: &SandboxId) -> Group {
        let folders = self
            .parents()
            .into_iter()
            .map(|p| p.join(sandbox.as_str()))
            .collect();
        Group {
            folders,
            is_v2: matches!(self.layout, Layout::V2 { .. }),
        }
    }

    /// Names of all groups below the parent, of sandboxes known or not.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .parents()
            .iter()
            .filter_map(|parent| fs::read_dir(parent).ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Removes the parent groups, if they are empty.
    pub fn close(&self) {
        for parent in self.parents() {
            // Not empty means that sandboxes keep running; they still need it.
            let _ = fs::remove_dir(parent);
        }
    }
}

fn make_folder(path: &Path) -> Result<(), LimitsError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|source| LimitsError::Make {
            path: path.to_owned(),
            source,
        }),
    }
}

/// One sandbox's group in every tree of the layout. For version 1 the order is memory, cpu, pids, and the
/// freezer where there is one, then what counts processor time where that is apart.
#[derive(Debug, Clone)]
pub struct Group {
    folders: Vec<PathBuf>,
    is_v2: bool,
}

impl Group {
    /// Makes the group with its limits; what had been made is removed again if that fails.
    pub fn create(&self, resources: &Resources) -> Result<(), LimitsError> {
        let result = self.try_create(resources);
        if result.is_err() {
            for folder in &self.folders {
                let _ = fs::remove_dir(folder);
            }
        }
        result
    }

    /// A group of version 2 of ordinary files.
    #[cfg(test)]
    pub(crate) fn stand_in(folder: &Path) -> Self {
        Self {
            folders: vec![folder.to_owned()],
            is_v2: true,
        }
    }

    fn try_create(&self, resources: &Resources) -> Result<(), LimitsError> {
        for folder in &self.folders {
            make_folder(folder)?;
        }
        let quota_us = u64::from(resources.cpu_millis) * CPU_PERIOD_US / 1000;
        let memory = resources.memory_bytes.to_string();
        let pids = resources.pids.to_string();
        let set = |folder: &PathBuf, file: &'static str, value: &str| {
            fs::write(folder.join(file), value).map_err(|source| LimitsError::Set { file, source })
        };
        match self.folders.as_slice() {
            [group] => {
                set(group, "memory.max", &memory)?;
                skip_missing(set(group, "memory.swap.max", "0"))?;
                set(group, "cpu.max", &format!("{quota_us} {CPU_PERIOD_US}"))?;
                set(group, "pids.max", &pids)
            }
            [memory_group, cpu_group, pids_group, ..] => {
                set(memory_group, "memory.limit_in_bytes", &memory)?;
                // Absent where the kernel does not count swap; such a host needs swap off (see doctor).
                skip_missing(set(memory_group, "memory.memsw.limit_in_bytes", &memory))?;
                set(cpu_group, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
                set(cpu_group, "cpu.cfs_quota_us", &quota_us.to_string())?;
                set(pids_group, "pids.max", &pids)
            }
            _ => unreachable!("a group has one folder, or three to five"),
        }
    }

    /// What the child needs to get in.
    pub fn entry(&self) -> Result<(CgroupEntry, Vec<OwnedFd>), LimitsError> {
        let opened = |path: PathBuf, write: bool| {
            OpenOptions::new()
                .read(!write)
                .write(write)
                .open(&path)
                .map(OwnedFd::from)
                .map_err(|source| LimitsError::Make { path, source })
        };
        if self.is_v2 {
            let folder = self.folders.iter().map(|f| opened(f.clone(), false));
            return Ok((CgroupEntry::BornInto, folder.collect::<Result<_, _>>()?));
        }
        let tasks = self
            .folders
            .iter()
            .map(|folder| opened(folder.join("tasks"), true));
        Ok((CgroupEntry::WriteTasks, tasks.collect::<Result<_, _>>()?))
    }

    /// Files by which the agent learns what its sandbox may use and uses, in the order in which it expects them. They
    /// are of this one group and lead to no other.
    pub fn for_agent(&self) -> Result<[OwnedFd; AGENT_LIMITS_COUNT], LimitsError> {
        let names = match self.folders.as_slice() {
            [group] => [
                (group, "memory.current"),
                (group, "memory.max"),
                (group, "memory.stat"),
                (group, "cpu.max"),
            ],
            [memory, cpu, ..] => [
                (memory, "memory.usage_in_bytes"),
                (memory, "memory.limit_in_bytes"),
                (memory, "memory.stat"),
                (cpu, "cpu.cfs_quota_us"),
            ],
            _ => unreachable!("a group has one folder, or three to five"),
        };
        let open = |(folder, file): (&PathBuf, &'static str)| {
            fs::File::open(folder.join(file))
                .map(OwnedFd::from)
                .map_err(|source| LimitsError::Open { file, source })
        };
        let [used, limit, stat, cpu] = names.map(open);
        Ok([used?, limit?, stat?, cpu?])
    }

    /// Whether the kernel has killed a process of this group for want of memory.
    pub fn had_oom_kill(&self) -> bool {
        let file = if self.is_v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let Some(text) = self
            .folders
            .first()
            .and_then(|f| fs::read_to_string(f.join(file)).ok())
        else {
            return false;
        };
        text.lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    }

    /// Memory that is charged to the group, in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        let file = if self.is_v2 {
            "memory.current"
        } else {
            "memory.usage_in_bytes"
        };
        let text = fs::read_to_string(self.folders.first()?.join(file)).ok()?;
        text.trim().parse().ok()
    }

    pub fn exists(&self) -> bool {
        self.folders.iter().any(|folder| folder.exists())
    }

    /// Kills whatever is in the group and removes it. Blocks until the last process has left.
    pub fn destroy(&self) -> Result<(), LimitsError> {
        let deadline = Instant::now() + EMPTY_DEADLINE;
        for folder in &self.folders {
            let mut pause = Duration::from_micros(200);
            loop {
                match fs::remove_dir(folder) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    // Busy: someone is inside, or an ended process has not been taken off the books yet.
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                    Err(source) => {
                        return Err(LimitsError::Remove {
                            path: folder.clone(),
                            source,
                        });
                    }
                }
                if Instant::now() > deadline {
                    return Err(LimitsError::Stuck {
                        path: folder.clone(),
                    });
                }
                if self.is_v2 {
                    // All at once, so that nothing can fork its way out. What fails here is tried again, and
                    // the deadline tells.
                    let _ = fs::write(folder.join("cgroup.kill"), "1");
                } else {
                    kill_members(folder);
                    // A process that is held ends when it is let go.
                    let _ = fs::write(folder.join("freezer.state"), "THAWED");
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

fn kill_members(folder: &Path) {
    let Ok(text) = fs::read_to_string(folder.join("cgroup.procs")) else {
        return;
    };
    for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()) {
        let Some(pid) = rustix::process::Pid::from_raw(pid) else {
            continue;
        };
        // Through a descriptor, and looked at again: the number may belong to someone else by now.
        let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        else {
            continue;
        };
        let still = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        if still
            .lines()
            .any(|line| line == pid.as_raw_nonzero().to_string())
        {
            let _ = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
        }
    }
}

fn skip_missing(result: Result<(), LimitsError>) -> Result<(), LimitsError> {
    match result {
        Err(LimitsError::Set { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn group(folders: &[&Path], is_v2: bool) -> Group {
        Group {
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
            is_v2,
        }
    }

    fn resources() -> Resources {
        Resources {
            cpu_millis: 1500,
            memory_bytes: 64 << 20,
            disk_bytes: 1 << 30,
            pids: 100,
        }
    }

    fn contents(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        files.sort();
        files
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    // Ordinary folders stand in for the kernel's: they show what is written where. That the kernel takes it is
    // shown with real sandboxes (e2e/tests/runner_limits.rs), of version 2 in `make guest`.
    #[test]
    fn limits_of_version_2_stand_in_one_group() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a");
        group(&[&folder], true).create(&resources()).unwrap();
        let expected = [
            ("cpu.max", "150000 100000"),
            ("memory.max", "67108864"),
            ("memory.swap.max", "0"),
            ("pids.max", "100"),
        ];
        assert_eq!(contents(&folder), pairs(&expected));
    }

    #[test]
    fn limits_of_version_1_stand_in_a_group_of_each_tree() {
        let root = tempfile::tempdir().unwrap();
        let [memory, cpu, pids] = ["memory", "cpu", "pids"].map(|name| root.path().join(name));
        group(&[&memory, &cpu, &pids], false)
            .create(&resources())
            .unwrap();
        let expected = [
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "67108864"),
        ];
        assert_eq!(contents(&memory), pairs(&expected));
        let expected = [
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "150000"),
        ];
        assert_eq!(contents(&cpu), pairs(&expected));
        assert_eq!(contents(&pids), pairs(&[("pids.max", "100")]));
    }

    #[test]
    fn a_kill_for_want_of_memory_is_read_from_either_version() {
        let root = tempfile::tempdir().unwrap();
        for (is_v2, file) in [(true, "memory.events"), (false, "memory.oom_control")] {
            let group = group(&[root.path()], is_v2);
            assert!(!group.had_oom_kill(), "{file} is not there");
            fs::write(root.path().join(file), "oom 3\noom_kill 0\n").unwrap();
            assert!(!group.had_oom_kill(), "{file}");
            fs::write(root.path().join(file), "oom 3\noom_kill 2\n").unwrap();
            assert!(group.had_oom_kill(), "{file}");
        }
    }
}
