//! How the host is: what it has, and how much of it is used.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use alcove_runner_api::HostStatus;
use rustix::fs::StatVfs;

use super::Runner;
use crate::host::available_memory;

/// How long the processors are watched.
const WATCHED_FOR: Duration = Duration::from_millis(100);

/// What processors did since the host was booted, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

/// What a host has, whoever uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostSize {
    pub memory_bytes: u64,
    /// Of the file system that a folder is on.
    pub disk_bytes: u64,
}

impl HostSize {
    /// Reads it from the kernel.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        Self::read(&memory, &rustix::fs::statvfs(folder)?)
    }

    fn read(memory: &str, space: &StatVfs) -> io::Result<Self> {
        Ok(Self {
            memory_bytes: total_memory(memory).ok_or_else(|| unread("/proc/meminfo"))?,
            disk_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        })
    }
}

impl Runner {
    /// Reads it from the kernel; takes a tenth of a second, in which the processors are watched.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub async fn host_status(&self) -> io::Result<HostStatus> {
        let before = ticks(&fs::read_to_string("/proc/stat")?)?;
        tokio::time::sleep(WATCHED_FOR).await;
        let after = ticks(&fs::read_to_string("/proc/stat")?)?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let load = fs::read_to_string("/proc/loadavg")?;
        read(
            used(before, after),
            &memory,
            &load,
            &self.inner.host.data_dir,
        )
    }
}

fn read(cpu_used_percent: f64, memory: &str, load: &str, folder: &Path) -> io::Result<HostStatus> {
    let cores = std::thread::available_parallelism()?.get();
    let cpu_cores = u32::try_from(cores).unwrap_or(u32::MAX);
    let space = rustix::fs::statvfs(folder)?;
    let has = HostSize::read(memory, &space)?;
    let free = available_memory(memory).ok_or_else(|| unread("/proc/meminfo"))?;
    let fifteen = load.split_ascii_whitespace().nth(2);
    let fifteen: f64 = fifteen
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| unread("/proc/loadavg"))?;
    let left = space.f_bavail.saturating_mul(space.f_frsize);
    Ok(HostStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpu_cores,
        memory_bytes: has.memory_bytes,
        disk_bytes: has.disk_bytes,
        cpu_used_percent,
        load_average: fifteen / f64::from(cpu_cores),
        memory_used_percent: percent(has.memory_bytes.saturating_sub(free), has.memory_bytes),
        disk_used_percent: percent(has.disk_bytes.saturating_sub(left), has.disk_bytes),
        // Tried by whoever opened this runner.
        capabilities: None,
    })
}

fn unread(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} has another form"),
    )
}

/// The first line is of all processors: user, nice, system, idle, waiting for devices, and so on.
fn ticks(stat: &str) -> io::Result<Ticks> {
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.strip_prefix("cpu ");
    let numbers = numbers.ok_or_else(|| unread("/proc/stat"))?;
    // Time of guests is in that of users already.
    let numbers: Vec<u64> = numbers
        .split_ascii_whitespace()
        .take(8)
        .map_while(|number| number.parse().ok())
        .collect();
    if numbers.len() < 5 {
        return Err(unread("/proc/stat"));
    }
    Ok(Ticks {
        idle: numbers[3] + numbers[4],
        all: numbers.iter().sum(),
    })
}

fn used(before: Ticks, after: Ticks) -> f64 {
    let all = after.all.saturating_sub(before.all);
    let idle = after.idle.saturating_sub(before.idle);
    percent(all.saturating_sub(idle), all)
}

fn total_memory(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of a host")]
fn percent(part: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        100.0 * part as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn processors_are_used_for_what_is_neither_idle_nor_waiting() {
        let before = ticks("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(
            before,
            Ticks {
                idle: 800,
                all: 1000
            }
        );
        let after = ticks("cpu  160 10 130 790 110 0 0 0 90 0\n").unwrap();
        assert!((used(before, after) - 50.0).abs() < 0.01);
        assert!(used(before, before).abs() < 0.01);
        for text in ["", "cpu0 1 2 3 4 5", "cpu  1 2 x 4 5"] {
            assert!(ticks(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn memory_and_load_are_read_as_the_kernel_writes_them() {
        let memory = "MemTotal: 4000 kB\nMemFree: 1 kB\nMemAvailable: 1000 kB\n";
        let found = read(1.5, memory, "0.10 0.20 0.30 1/200 77\n", Path::new("/")).unwrap();
        assert_eq!(found.memory_bytes, 4000 << 10);
        assert!((found.memory_used_percent - 75.0).abs() < 0.01);
        assert!((found.load_average * f64::from(found.cpu_cores) - 0.3).abs() < 0.01);
        assert!(found.disk_bytes > 0 && found.disk_used_percent <= 100.0);
        assert!(read(0.0, "MemTotal: 1 kB\n", "0 0 0", Path::new("/")).is_err());
        assert!(read(0.0, memory, "0.1", Path::new("/")).is_err());
    }
}
