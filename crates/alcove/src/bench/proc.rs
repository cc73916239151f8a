//! What `/proc` says about memory and load.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// Memory of the host that an idle sandbox may take, by the kernel's own books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct HostMemory {
    pub available_bytes: u64,
    /// Slab that cannot be given back, kernel stacks, page tables, per-processor areas: what the kernel holds for
    /// processes, mounts, namespaces and interfaces.
    pub kernel_bytes: u64,
}

impl HostMemory {
    pub fn read() -> std::io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/meminfo")?))
    }

    fn parse(text: &str) -> Self {
        let field = |name| field_bytes(text, name).unwrap_or(0);
        Self {
            available_bytes: field("MemAvailable"),
            kernel_bytes: field("SUnreclaim")
                + field("KernelStack")
                + field("PageTables")
                + field("Percpu"),
        }
    }
}

/// Memory of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ProcessMemory {
    pub resident_bytes: u64,
    /// What would be free without the process: pages that it shares with nobody.
    pub private_bytes: u64,
}

impl ProcessMemory {
    /// `None` where the process has gone or may not be looked at.
    pub fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            resident_bytes: field_bytes(text, "Rss")?,
            private_bytes: field_bytes(text, "Private_Clean")?
                + field_bytes(text, "Private_Dirty")?,
        })
    }
}

/// Forgets the most memory that a process ever had: from here on it is what the process has now.
pub fn reset_peak(pid: i32) -> std::io::Result<()> {
    // The kernel's word for it.
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// The most resident memory that a process has had.
pub fn peak_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field_bytes(&text, "VmHWM")
}

/// The threads of a process, all told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessTasks {
    pub threads: usize,
    /// How often they have been put on a processor after they had waited for something.
    pub switches: u64,
}

impl ProcessTasks {
    /// `None` where the process has gone or may not be looked at.
    pub fn read(pid: i32) -> Option<Self> {
        let mut tasks = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let status = task.ok()?.path().join("status");
            // A thread may end between the two reads.
            let Ok(text) = fs::read_to_string(status) else {
                continue;
            };
            tasks.threads += 1;
            tasks.switches += voluntary_switches(&text)?;
        }
        Some(tasks)
    }
}

/// Processor time that a process has had, in user and kernel mode, its ended threads included.
pub fn processor_time(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    processor_ticks(&stat).map(|ticks| Duration::from_millis(ticks * TICK_MS))
}

/// `sysconf(_SC_CLK_TCK)` is 100 on every Linux of today.
const TICK_MS: u64 = 10;

fn processor_ticks(stat: &str) -> Option<u64> {
    // The name stands in brackets and may hold any character, brackets too; the times are the 14th and 15th field.
    let (_, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn voluntary_switches(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// `Name:   123 kB` in bytes.
fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The child of `parent` whose name begins like this.
pub fn child_named(parent: i32, name: &str) -> Option<i32> {
    let entries = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.into_iter().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| is_child_named(&stat, parent, name))
    })
}

/// The kernel keeps 15 bytes of a name.
fn is_child_named(stat: &str, parent: i32, name: &str) -> bool {
    // The name stands in brackets and may hold any character, brackets too.
    let Some((head, tail)) = stat.rsplit_once(')') else {
        return false;
    };
    let own = head.split_once('(').map_or("", |(_, own)| own);
    let own_parent = tail.split_whitespace().nth(1);
    own.starts_with(name) && own_parent == Some(parent.to_string().as_str())
}

/// The one-minute load average, which tells whether others were busy meanwhile.
pub fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_what_stands_behind_a_name_of_any_kind() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 5 0 0 0 120 34 0 0 20 0 9 0 1 2 3";
        assert_eq!(processor_ticks(stat), Some(154));
        assert_eq!(processor_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn the_kernels_share_is_summed_from_its_four_books() {
        let text = "MemTotal: 9 kB\nMemAvailable:   100 kB\nSlab: 50 kB\nSReclaimable: 40 kB\n\
                    SUnreclaim:  10 kB\nKernelStack:  4 kB\nPageTables: 2 kB\nSecPageTables: 7 kB\nPercpu:  1 kB\n";
        let memory = HostMemory::parse(text);
        assert_eq!(memory.available_bytes, 100 << 10);
        assert_eq!(memory.kernel_bytes, 17 << 10);
    }

    #[test]
    fn a_process_owns_its_private_pages_clean_or_dirty() {
        let text = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:   1852 kB\nPss: 900 kB\n\
                    Private_Clean:  12 kB\nPrivate_Dirty: 170 kB\n";
        let memory = ProcessMemory::parse(text).expect("both fields are there");
        assert_eq!(memory.resident_bytes, 1852 << 10);
        assert_eq!(memory.private_bytes, 182 << 10);
        assert_eq!(ProcessMemory::parse("Rss: 1 kB\n"), None);
    }

    #[test]
    fn threads_are_counted_and_only_waiting_ends_in_a_wake_up() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t30\n";
        assert_eq!(voluntary_switches(status), Some(12));
        let own = i32::try_from(std::process::id())
            .ok()
            .and_then(ProcessTasks::read);
        assert!(own.is_some_and(|tasks| tasks.threads > 0));
    }

    #[test]
    fn a_peak_begins_anew_where_it_is_reset() {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        assert!(peak_bytes(own).is_some_and(|bytes| bytes > 0));
        assert!(reset_peak(own).is_ok());
    }

    #[test]
    fn a_child_is_known_by_its_parent_and_the_beginning_of_its_name() {
        let stat = "812 (alcove-spawner-) S 800 812 812 0 -1 4194560";
        assert!(is_child_named(stat, 800, "alcove-spawner"));
        assert!(!is_child_named(stat, 812, "alcove-spawner"));
        assert!(!is_child_named(stat, 800, "alcove-agent"));
        assert!(is_child_named("1 (a) b (c) S 2 3", 2, "a) b"));
    }

    #[test]
    fn the_own_process_can_be_read() {
        let own = i32::try_from(std::process::id())
            .ok()
            .and_then(ProcessMemory::read);
        assert!(own.is_some_and(|m| m.resident_bytes >= m.private_bytes && m.private_bytes > 0));
    }
}
