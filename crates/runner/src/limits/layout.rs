//! Which trees of control groups the host has.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CONTROLLERS, LimitsError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// One mount point a controller.
    V1 {
        memory: PathBuf,
        cpu: PathBuf,
        pids: PathBuf,
        /// Where the host has it. Without it nothing can be paused.
        freezer: Option<PathBuf>,
        /// What counts processor time, where it has a tree of its own. Mostly it shares that of `cpu`. Hosts that have it
        /// apart and no freezer are not known to exist; there it is left out.
        cpuacct: Option<PathBuf>,
    },
    V2 {
        root: PathBuf,
    },
}

/// The controllers' trees, from the kernel's list of mounts.
pub(super) fn find(mounts: &str) -> Result<Layout, LimitsError> {
    let mut v1 = std::collections::HashMap::new();
    let mut v2 = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(point), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        match kind {
            "cgroup" => {
                for option in options.split(',') {
                    v1.entry(option.to_owned())
                        .or_insert_with(|| PathBuf::from(point));
                }
            }
            "cgroup2" => v2 = Some(PathBuf::from(point)),
            _ => {}
        }
    }
    if let [Some(memory), Some(cpu), Some(pids)] = CONTROLLERS.map(|name| v1.get(name).cloned()) {
        let freezer = v1.get("freezer").cloned();
        let cpuacct = v1.get("cpuacct").filter(|tree| **tree != cpu).cloned();
        let cpuacct = cpuacct.filter(|_| freezer.is_some());
        return Ok(Layout::V1 {
            memory,
            cpu,
            pids,
            freezer,
            cpuacct,
        });
    }
    let root = v2.ok_or(LimitsError::ControllerMissing {
        controller: "memory",
    })?;
    let has = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    for controller in CONTROLLERS {
        if !has.split_whitespace().any(|name| name == controller) {
            return Err(LimitsError::ControllerMissing { controller });
        }
    }
    Ok(Layout::V2 { root })
}

/// Where a controller that nobody here needs is, if it is there: version 1 has a tree for it.
pub(super) fn tree_of<'a>(mounts: &'a str, controller: &str) -> Option<&'a Path> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let has = kind == "cgroup" && options.split(',').any(|option| option == controller);
        has.then(|| Path::new(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_counts_as_version_1() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/cpuacct cgroup rw,relatime,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
                      cgroup /sys/fs/cgroup/freezer cgroup rw,relatime,freezer 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let expected = Layout::V1 {
            memory: "/sys/fs/cgroup/memory".into(),
            cpu: "/sys/fs/cgroup/cpu".into(),
            pids: "/sys/fs/cgroup/pids".into(),
            freezer: Some("/sys/fs/cgroup/freezer".into()),
            cpuacct: Some("/sys/fs/cgroup/cpuacct".into()),
        };
        assert_eq!(find(mounts).ok(), Some(expected));
        assert_eq!(
            tree_of(mounts, "pids"),
            Some(Path::new("/sys/fs/cgroup/pids"))
        );
        assert_eq!(tree_of(mounts, "devices"), None);
    }

    #[test]
    fn a_tree_that_two_controllers_share_is_one() {
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
                      cgroup /sys/fs/cgroup/freezer cgroup rw,relatime,freezer 0 0\n";
        let found = find(mounts);
        assert!(
            matches!(found, Ok(Layout::V1 { cpuacct: None, .. })),
            "{found:?}"
        );
    }

    #[test]
    fn a_host_without_controllers_is_refused_by_name() {
        let error = find("proc /proc proc rw 0 0\n").expect_err("there is no controller");
        assert!(error.to_string().contains("memory"), "{error}");
    }
}
