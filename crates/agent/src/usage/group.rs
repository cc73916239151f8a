//! The sandbox's control group, by the files that the host hands down.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use alcove_agent_api::LIMITS_FD_COUNT;

use super::Memory;

/// The period of a processor limit in version 1, where it has a file of its own and the host leaves it as it is.
const PERIOD_US: u64 = 100_000;

/// Longest file of these.
const MAX_BYTES: usize = 16 << 10;

/// Open files of a control group of either version.
#[derive(Debug)]
pub struct GroupFiles {
    memory_used: File,
    memory_limit: File,
    memory_stat: File,
    cpu_limit: File,
}

impl GroupFiles {
    /// In the order of [`alcove_agent_api::LIMITS_FD`].
    pub fn new(files: [OwnedFd; LIMITS_FD_COUNT]) -> Self {
        let [memory_used, memory_limit, memory_stat, cpu_limit] = files.map(File::from);
        Self {
            memory_used,
            memory_limit,
            memory_stat,
            cpu_limit,
        }
    }

    pub(super) fn memory(&self) -> io::Result<Memory> {
        let number = |file| {
            let text = read(file)?;
            text.trim().parse::<u64>().map_err(io::Error::other)
        };
        let stat = read(&self.memory_stat)?;
        // Version 1 has the whole tree's under these names.
        let of_stat = |v1, v2| field(&stat, v1).or_else(|| field(&stat, v2)).unwrap_or(0);
        let inactive = of_stat("total_inactive_file", "inactive_file");
        Ok(Memory {
            // Without a limit it is a word, or more than there is.
            total: match number(&self.memory_limit) {
                Ok(limit) => limit.min(super::machine::memory()?.total),
                Err(_) => super::machine::memory()?.total,
            },
            used: number(&self.memory_used)?.saturating_sub(inactive),
            cache: of_stat("total_cache", "file"),
        })
    }

    /// Thousandths of a processor; none where there is no limit.
    pub(super) fn cpu_millis(&self) -> io::Result<Option<u64>> {
        Ok(cpu_millis(&read(&self.cpu_limit)?))
    }
}

/// `quota period` of version 2, the quota alone of version 1; `max` and -1 are no limit.
fn cpu_millis(text: &str) -> Option<u64> {
    let mut numbers = text.split_ascii_whitespace();
    let quota: u64 = numbers.next()?.parse().ok()?;
    let period = match numbers.next() {
        Some(period) => period.parse().ok().filter(|period| *period > 0)?,
        None => PERIOD_US,
    };
    Some(quota.saturating_mul(1000) / period).filter(|millis| *millis > 0)
}

fn field(stat: &str, wanted: &str) -> Option<u64> {
    stat.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == wanted)
        .and_then(|(_, value)| value.parse().ok())
}

/// The file as it is now.
fn read(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; MAX_BYTES];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            count => length += count,
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::io::Write;

    use super::*;

    fn files(contents: [&str; 4]) -> GroupFiles {
        GroupFiles::new(contents.map(|content| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.into()
        }))
    }

    #[test]
    fn both_versions_are_understood() {
        let v1 = "cache 1\ninactive_file 2\ntotal_cache 4096\ntotal_inactive_file 1000\n";
        let v1 = files(["5000\n", "1048576\n", v1, "150000\n"]);
        let v2 = "file 4096\ninactive_file 1000\n";
        let v2 = files(["5000\n", "1048576\n", v2, "150000 100000\n"]);
        for group in [v1, v2] {
            let wanted = Memory {
                total: 1_048_576,
                used: 4000,
                cache: 4096,
            };
            assert_eq!(group.memory().unwrap(), wanted);
            assert_eq!(group.cpu_millis().unwrap(), Some(1500));
        }
    }

    #[test]
    fn without_limits_the_machine_is_the_limit() {
        let total = super::super::machine::memory().unwrap().total;
        for (memory, cpu) in [("max\n", "max 100000\n"), ("9223372036854771712\n", "-1\n")] {
            let group = files(["5000\n", memory, "", cpu]);
            assert_eq!(group.memory().unwrap().total, total);
            assert_eq!(group.cpu_millis().unwrap(), None);
        }
    }
}
