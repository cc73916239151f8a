//! What the sandbox may use and what it uses.
//!
//! Memory and limits come from the sandbox's own control group, by files that the host opens and hands down: inside,
//! the kernel's general tables tell about the host. Processor time is added up over the processes, which are all in
//! our own process namespace; what ended ones took is in the account of whoever waited for them, in the end ours.
//! Without those files (an agent that was started by hand) the machine is the limit.
//!
//! Nothing is sampled while nobody asks.

mod group;
mod machine;

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alcove_agent_api::SystemMetrics;
use tokio::time::{Instant, sleep};

pub use group::GroupFiles;

/// Shortest time over which processor time is averaged: the kernel counts it in steps of 10 ms.
const SHORTEST_WINDOW: Duration = Duration::from_millis(250);

/// Longest: what was used before is not what is used now.
const LONGEST_WINDOW: Duration = Duration::from_secs(10);

/// In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: u64,
    used: u64,
    cache: u64,
}

/// The sandbox's use of the machine.
#[derive(Debug)]
pub struct Usage {
    group: Option<GroupFiles>,
    last: Mutex<Option<Sample>>,
}

/// Processor time used up to a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    busy: Duration,
}

impl Usage {
    pub fn new(group: Option<GroupFiles>) -> Self {
        Self {
            group,
            last: Mutex::new(None),
        }
    }

    /// Waits for a moment unless it was asked a little while ago.
    ///
    /// # Errors
    /// The kernel's files cannot be read.
    #[expect(
        clippy::disallowed_methods,
        reason = "tells people when; nothing is decided by it"
    )]
    pub async fn measure(&self) -> io::Result<SystemMetrics> {
        let start = match self.recent() {
            Some(sample) => sample,
            None => sample().await?,
        };
        sleep(SHORTEST_WINDOW.saturating_sub(start.at.elapsed())).await;
        let end = sample().await?;
        *self.lock() = Some(end);
        // Less than before if a process ended whose parent did not wait for it.
        let busy = end.busy.saturating_sub(start.busy).as_secs_f64();
        let window = end.at.duration_since(start.at).as_secs_f64();

        let (memory, cpu_millis) = match &self.group {
            Some(group) => (group.memory()?, group.cpu_millis()?),
            None => (machine::memory()?, None),
        };
        let cpu_millis = cpu_millis.unwrap_or_else(machine::cpu_millis);
        let disk = rustix::fs::statvfs("/")?;
        let now = jiff::Timestamp::now();
        Ok(SystemMetrics {
            cpu_count: cpu_millis.div_ceil(1000),
            cpu_used_pct: percent(busy, window, cpu_millis),
            disk_total: disk.f_blocks * disk.f_frsize,
            disk_used: disk.f_blocks.saturating_sub(disk.f_bfree) * disk.f_frsize,
            disk_free: disk.f_bavail * disk.f_frsize,
            mem_total: memory.total,
            mem_used: memory.used,
            mem_cache: memory.cache,
            timestamp: now.to_string(),
            timestamp_unix: now.as_second(),
        })
    }

    fn recent(&self) -> Option<Sample> {
        self.lock()
            .filter(|sample| sample.at.elapsed() < LONGEST_WINDOW)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Sample>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sample() -> io::Result<Sample> {
    let busy = tokio::task::spawn_blocking(machine::processor_time).await;
    Ok(Sample {
        busy: busy.map_err(io::Error::other)??,
        at: Instant::now(),
    })
}

/// Of the processors that may be used, to two places.
fn percent(busy: f64, window: f64, cpu_millis: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "thousandths of processors are few"
    )]
    let most = window * cpu_millis as f64 / 1000.0;
    if most <= 0.0 {
        return 0.0;
    }
    // The window and the kernel's steps do not end together.
    ((busy / most * 10_000.0).round() / 100.0).min(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_limit_is_a_part_of_a_hundred() {
        let is = |busy, window, millis, wanted: f64| {
            assert!((percent(busy, window, millis) - wanted).abs() < 0.001);
        };
        is(0.5, 1.0, 1000, 50.0);
        is(0.5, 1.0, 2000, 25.0);
        is(0.5, 1.0, 250, 100.0);
        is(0.5, 0.0, 1000, 0.0);
    }
}
