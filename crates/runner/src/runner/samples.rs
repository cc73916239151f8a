//! What the sandboxes of this host use, as the host sees it: nothing inside of them wakes up for it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use alcove_domain::SandboxId;
use alcove_runner_api::{DiskUsage, Resources, Sample};
use rustix::fs::{Mode, OFlags};

use super::{Entry, Runner};
use crate::disk_pool::blocking;
use crate::host::Host;
use crate::making;
use crate::net::SlotIndex;

/// What is needed to look at what a sandbox with processes uses.
#[derive(Debug, Clone)]
pub struct Occupied {
    /// Its first process.
    pub pid: i32,
    pub pidfd: Arc<OwnedFd>,
    pub slot: SlotIndex,
    pub resources: Resources,
}

impl Runner {
    /// What every sandbox with processes uses now, paused ones among them. One that ends meanwhile is left out.
    pub async fn samples(&self) -> Vec<Sample> {
        let occupied = self.occupied();
        if occupied.is_empty() {
            return Vec::new();
        }
        let host = Arc::clone(&self.inner.host);
        let samples = blocking(move || look(&host, occupied)).await;
        samples.unwrap_or_default()
    }

    fn occupied(&self) -> Vec<(SandboxId, Arc<Occupied>)> {
        let entries = self.entries();
        let found = entries.iter().filter_map(|(sandbox, entry)| {
            let Entry::Driven { view, .. } = entry else {
                return None;
            };
            let view = view.read().unwrap_or_else(PoisonError::into_inner);
            Some((sandbox.clone(), Arc::clone(view.occupied.as_ref()?)))
        });
        found.collect()
    }
}

fn look(host: &Host, occupied: Vec<(SandboxId, Arc<Occupied>)>) -> Vec<Sample> {
    let traffic = host.network.traffic();
    let samples = occupied.into_iter().filter_map(|(sandbox, occupied)| {
        let usage = host.limits.group(&sandbox).usage()?;
        Some(Sample {
            cpu_used: usage.cpu_used,
            cpu_millis: occupied.resources.cpu_millis,
            memory_bytes: usage.memory_bytes,
            cache_bytes: usage.cache_bytes,
            memory_limit_bytes: occupied.resources.memory_bytes,
            disk: disk(&occupied),
            network: traffic.get(&occupied.slot).copied(),
            sandbox,
        })
    });
    samples.collect()
}

/// The file system below the root of a sandbox's first process, which only we change.
fn disk(occupied: &Occupied) -> Option<DiskUsage> {
    let path = format!("/proc/{}/root", occupied.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    // A number is only taken by another process after the end of this one.
    if !making::is_alive(&occupied.pidfd) {
        return None;
    }
    let space = rustix::fs::fstatvfs(&root).ok()?;
    Some(DiskUsage {
        used_bytes: space.f_blocks.saturating_sub(space.f_bfree) * space.f_frsize,
        total_bytes: space.f_blocks * space.f_frsize,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;

    fn occupied(child: &std::process::Child) -> Occupied {
        let pid = i32::try_from(child.id()).unwrap();
        let process = rustix::process::Pid::from_raw(pid).unwrap();
        Occupied {
            pid,
            pidfd: Arc::new(pidfd_open(process, PidfdFlags::empty()).unwrap()),
            slot: SlotIndex(0),
            resources: Resources {
                cpu_millis: 1000,
                memory_bytes: 1 << 20,
                disk_bytes: 1 << 30,
                pids: 10,
            },
        }
    }

    #[test]
    fn the_disk_is_that_of_the_process_and_of_no_later_one() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let mut occupied = occupied(&child);
        let found = disk(&occupied).expect("it lives");
        assert!(found.used_bytes <= found.total_bytes && found.total_bytes > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(disk(&occupied), None, "it has ended");
        // As if its number had been given to this process.
        occupied.pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(disk(&occupied), None);
    }
}
