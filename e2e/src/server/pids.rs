//! A limit on the number of processes that a few programs of the host share.

use std::fs;
use std::path::PathBuf;

/// A control group of its own that holds given processes. Dropping it lets them out again.
#[derive(Debug)]
pub struct PidsLimit {
    group: PathBuf,
    before: PathBuf,
}

impl PidsLimit {
    /// Moves the processes into a group without a limit yet.
    ///
    /// # Panics
    /// When the host has no control groups for it.
    pub fn around(name: &str, pids: &[i32]) -> Self {
        let tree = tree("pids").expect("the host limits processes");
        let own = fs::read_to_string("/proc/self/cgroup").expect("the kernel has control groups");
        let own = own
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(_, rest)| rest.split_once(':'))
            .find(|(names, _)| names.split(',').any(|name| name == "pids") || names.is_empty())
            .map(|(_, path)| path.trim_start_matches('/').to_owned());
        let before = tree.join(own.expect("every process is in a group"));
        let group = tree.join(name);
        fs::create_dir(&group).expect("a group of our own");
        let limit = Self { group, before };
        for pid in pids {
            fs::write(limit.group.join("cgroup.procs"), pid.to_string()).expect("it can be moved");
        }
        limit
    }

    /// From now on no process inside can make another, and those that are there go on.
    ///
    /// # Panics
    /// When the limit cannot be set.
    pub fn close(&self) {
        self.set("1");
    }

    /// # Panics
    /// When the limit cannot be set.
    pub fn open(&self) {
        self.set("max");
    }

    /// How often the kernel has refused a new process.
    ///
    /// # Panics
    /// When the kernel does not count.
    pub fn refusals(&self) -> u64 {
        let text = fs::read_to_string(self.group.join("pids.events")).expect("the kernel counts");
        let count = text.lines().find_map(|line| line.strip_prefix("max "));
        count
            .and_then(|count| count.trim().parse().ok())
            .expect("a number")
    }

    fn set(&self, limit: &str) {
        fs::write(self.group.join("pids.max"), limit).expect("a limit of our own group");
    }
}

impl Drop for PidsLimit {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("pids.max"), "max");
        let inside = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines() {
            // One that has ended meanwhile need not be moved.
            let _ = fs::write(self.before.join("cgroup.procs"), pid);
        }
        if let Err(error) = fs::remove_dir(&self.group) {
            eprintln!("cannot remove {}: {error}", self.group.display());
        }
    }
}

/// Where the tree of a controller is: its own, or the one for all.
pub fn tree(controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut unified = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields.as_slice() {
            [_, point, "cgroup", options, ..] if options.split(',').any(|o| o == controller) => {
                return Some(PathBuf::from(point));
            }
            [_, point, "cgroup2", ..] => unified = Some(PathBuf::from(point)),
            _ => {}
        }
    }
    unified
}
