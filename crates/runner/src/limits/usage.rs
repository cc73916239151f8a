//! What a sandbox uses, as the kernel's books of its control group have it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::Group;

/// What the processes of one group use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupUsage {
    /// Processor time since the group was made. None where the host does not count it.
    pub cpu_used: Option<Duration>,
    /// Memory without the cache of files that nobody has used of late, which the kernel gives up first.
    pub memory_bytes: u64,
    /// The cache of files.
    pub cache_bytes: u64,
}

impl Group {
    /// None if the group is gone.
    pub fn usage(&self) -> Option<GroupUsage> {
        let memory = self.folders.first()?;
        let statistics = fs::read_to_string(memory.join("memory.stat")).ok()?;
        // Those of version 1 are of the group with all below it, as all of version 2 are.
        let (cache, inactive) = if self.is_v2 {
            ("file", "inactive_file")
        } else {
            ("total_cache", "total_inactive_file")
        };
        let number = |name| value_of(&statistics, name).unwrap_or_default();
        Some(GroupUsage {
            cpu_used: self.cpu_used(),
            memory_bytes: self.memory_bytes()?.saturating_sub(number(inactive)),
            cache_bytes: number(cache),
        })
    }

    /// Processor time since the group was made, also when its processes have ended.
    pub fn cpu_used(&self) -> Option<Duration> {
        if self.is_v2 {
            let statistics = fs::read_to_string(self.folders.first()?.join("cpu.stat")).ok()?;
            return value_of(&statistics, "usage_usec").map(Duration::from_micros);
        }
        let nanoseconds = |folder: &Path| {
            let text = fs::read_to_string(folder.join("cpuacct.usage")).ok()?;
            text.trim().parse().ok().map(Duration::from_nanos)
        };
        // A tree of its own comes last; see `Layout`.
        let apart = self.folders.get(4).and_then(|folder| nanoseconds(folder));
        apart.or_else(|| nanoseconds(self.folders.get(1)?))
    }
}

/// A number of a file with a name and a number in each line.
fn value_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(key, _)| *key == name)?;
    value.trim().parse().ok()
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

    // Ordinary folders stand in for the kernel's; e2e/tests/runner_limits.rs looks at real ones.
    #[test]
    fn version_2_has_all_in_one_group() {
        let root = tempfile::tempdir().unwrap();
        let group = group(&[root.path()], true);
        assert_eq!(group.usage(), None, "there is no group yet");
        let put = |file: &str, text: &str| fs::write(root.path().join(file), text).unwrap();
        put("memory.current", "4096000\n");
        put(
            "memory.stat",
            "anon 1000\nfile 2048\nfile_mapped 7\ninactive_file 1000\n",
        );
        put("cpu.stat", "usage_usec 1500000\nuser_usec 1\n");
        let expected = GroupUsage {
            cpu_used: Some(Duration::from_millis(1500)),
            memory_bytes: 4_095_000,
            cache_bytes: 2048,
        };
        assert_eq!(group.usage(), Some(expected));
    }

    #[test]
    fn version_1_counts_time_with_the_limit_or_apart() {
        let root = tempfile::tempdir().unwrap();
        let folders = ["memory", "cpu", "pids", "freezer", "cpuacct"].map(|name| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        });
        let put = |index: usize, file: &str, text: &str| {
            fs::write(folders[index].join(file), text).unwrap();
        };
        put(0, "memory.usage_in_bytes", "8192\n");
        put(
            0,
            "memory.stat",
            "cache 3\ninactive_file 1\nrss 9\ntotal_cache 4096\ntotal_inactive_file 192\n",
        );
        let paths: Vec<&Path> = folders.iter().map(std::path::PathBuf::as_path).collect();
        let (shared, apart) = (group(&paths[..4], false), group(&paths, false));
        let time = |group: &Group| group.usage().unwrap().cpu_used;
        assert_eq!(time(&shared), None, "the host does not count");
        put(1, "cpuacct.usage", "2000\n");
        assert_eq!(time(&shared), Some(Duration::from_micros(2)));
        put(4, "cpuacct.usage", "3000\n");
        assert_eq!(time(&apart), Some(Duration::from_micros(3)));
        let usage = apart.usage().unwrap();
        assert_eq!((usage.memory_bytes, usage.cache_bytes), (8000, 4096));
    }
}
