//! Folders for trials. A trial that is killed cannot remove its own; the next one does.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

use crate::pidfd::is_gone;

/// Followed by the number of the process that made it.
const PREFIX: &str = ".alcove-probe-";

/// Makes a folder for a trial, and removes those of trials whose process is gone.
pub fn scratch_in(folder: &Path) -> io::Result<TempDir> {
    for entry in fs::read_dir(folder)?.filter_map(Result::ok) {
        if entry.file_name().to_str().is_some_and(is_abandoned) {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(folder)
}

fn is_abandoned(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next())
        .is_some_and(is_gone)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn what_a_killed_trial_left_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // Above the largest number that a process can have.
        let abandoned = folder.path().join(".alcove-probe-2147483646-x");
        fs::create_dir_all(abandoned.join("disks")).unwrap();
        let live = scratch_in(folder.path()).unwrap();
        for name in ["data", ".alcove-probe-", ".alcove-probe-x-y"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let other = scratch_in(folder.path()).unwrap();
        assert!(!abandoned.exists());
        assert!(live.path().exists() && other.path().exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }
}
