//! Version 2: a group hands its controllers on to those below it.
//!
//! The kernel refuses that to a group that has processes of its own, the top of the tree excepted. A server in
//! a container sees its own group as the top, and is in it. The processes there then move one level down, into
//! a group beside those of the sandboxes; the whole tree that a container sees is its own to arrange.

use std::fs;
use std::io;
use std::path::Path;

use super::{CONTROLLERS, LimitsError};

/// Where the processes of the top group go.
const HOST_GROUP: &str = "alcove-host";

/// A process may have been born between our reading of the list and our writing of the controllers. Who
/// forks faster than this cannot be moved at all.
const ATTEMPTS: usize = 16;

const FILE: &str = "cgroup.subtree_control";

/// Makes the controllers available to the groups below.
pub(super) fn hand_on(group: &Path) -> Result<(), LimitsError> {
    let file = group.join(FILE);
    let failed = |source| LimitsError::Set { file: FILE, source };
    let active = fs::read_to_string(&file).map_err(failed)?;
    // Not written again where it is so already: systemd writes there too, and a mount may be read-only.
    let wanted = missing(&active);
    if wanted.is_empty() {
        return Ok(());
    }
    for _ in 0..ATTEMPTS {
        match fs::write(&file, &wanted) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                move_down(group).map_err(|source| LimitsError::Occupied {
                    path: group.to_owned(),
                    source,
                })?;
            }
            other => return other.map_err(failed),
        }
    }
    Err(failed(io::Error::from_raw_os_error(libc::EBUSY)))
}

/// Whether the groups below have the controllers already.
pub(super) fn is_handed_on(group: &Path) -> io::Result<bool> {
    Ok(missing(&fs::read_to_string(group.join(FILE))?).is_empty())
}

/// Processes that stand in the way and will be moved.
pub(super) fn in_the_way(group: &Path) -> usize {
    // The top of the whole tree has no type, and may have processes.
    if !group.join("cgroup.type").exists() {
        return 0;
    }
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    processes.lines().count()
}

/// The text that asks for what is not active yet.
fn missing(active: &str) -> String {
    let asked: Vec<String> = CONTROLLERS
        .iter()
        .filter(|name| !active.split_whitespace().any(|word| word == **name))
        .map(|name| format!("+{name}"))
        .collect();
    asked.join(" ")
}

fn move_down(group: &Path) -> io::Result<()> {
    let leaf = group.join(HOST_GROUP);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let target = leaf.join("cgroup.procs");
    for pid in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
        // A process of a process number namespace that we do not see. To write the zero would move us.
        if pid == "0" {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match fs::write(&target, pid) {
            // Ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_active_is_asked_for() {
        assert_eq!(missing(""), "+memory +cpu +pids");
        assert_eq!(missing("cpuset cpu io pids\n"), "+memory");
        assert_eq!(missing("memory pids cpu\n"), "");
    }
}
