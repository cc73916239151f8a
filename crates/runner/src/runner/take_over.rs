//! What an earlier runner left: adopted where it runs, taken apart where it is half-made, removed where nobody
//! knows it.

use std::fs;
use std::os::fd::OwnedFd;

use alcove_domain::SandboxId;
use alcove_runner_api::{Fault, FaultCode, NetworkSpec};

use super::{OpenError, Runner, part};
use crate::archive::Header;
use crate::disk::Disks;
use crate::disk_pool::POOL_PREFIX;
use crate::driver::{Driver, let_go_of_copied};
use crate::host::{Host, HostError};
use crate::journal::{Hold, Phase, RangeIndex, Record, SetAside, boot_id};
use crate::limits::Limits;
use crate::net::SlotIndex;

impl Runner {
    /// Adopts, stops or takes apart every sandbox that the journal knows, and removes what it does not know.
    /// A sandbox whose record is gone is what the archive has of it; where there is a record, an archive is a
    /// leftover of putting the sandbox away or of bringing it back. Disk and archive of a sandbox whose record cannot
    /// be read are left to a person.
    pub(super) async fn take_over(
        &self,
        found: Vec<Found>,
        aside: Vec<SetAside>,
        archived: Vec<Header>,
    ) -> Result<(), OpenError> {
        let host = &self.inner.host;
        let live: Vec<String> = found
            .iter()
            .filter(|found| found.pidfd.is_some())
            .map(|found| found.record.sandbox.to_string())
            .collect();
        let known = known(&found, &aside);
        let (limits, disks) = (host.limits.clone(), host.disks.clone());
        let live_names = live.clone();
        let swept = tokio::task::spawn_blocking(move || {
            sweep_groups(&limits, &live_names);
            sweep_disks(&disks, &known);
        });
        swept.await.map_err(part("remove what is left over"))?;
        tell_of_kept(&aside, &host.disks);
        sweep_sockets(&self.inner.host, &live);
        for header in archived {
            let sandbox = header.sandbox.clone();
            if found.iter().any(|found| found.record.sandbox == sandbox) {
                if let Err(error) = host.archives.remove(&sandbox) {
                    tracing::error!(sandbox.id = %sandbox, %error, "cannot remove an archive that is left over");
                }
                continue;
            }
            // A start from it would replace the disk, of which nobody knows whether it is the newer.
            if aside.iter().any(|aside| aside.name == sandbox.as_str()) {
                tracing::error!(sandbox.id = %sandbox, "an archive stays whose sandbox's record is set aside");
                continue;
            }
            let driver = Driver::archived(host.clone(), header);
            self.start_driver(&mut self.entries(), sandbox, driver);
        }

        // After the sweep has ended what a killed server left half-started: its disk is unmounted in the
        // background of the kernel, and must not be mounted a second time before that is done.
        let devices = crate::disk::backing_files();
        for found in found {
            let Found {
                record,
                pidfd,
                fault,
            } = found;
            let is_half_made = matches!(record.phase, Phase::Making);
            let sandbox = record.sandbox.clone();
            if is_half_made {
                // Nobody was told of it. The control plane orders it again if it is still wanted.
                if let Err(error) = host.disks.remove(sandbox.as_str()) {
                    tracing::error!(sandbox.id = %sandbox, %error, "cannot remove a half-made disk");
                }
                if host.journal.remove(&sandbox).is_ok() {
                    host.ranges.release(record.range);
                }
                continue;
            }
            let record = self.let_go(record, pidfd.is_some()).await;
            let device = devices.get(&host.disks.path(sandbox.as_str())).copied();
            let mut driver = Driver::adopt(host.clone(), record, pidfd, fault, device);
            if sandbox.as_str().starts_with(crate::build::SANDBOX_PREFIX) {
                // The build is ordered again and begins with the step that was cut short.
                driver.step_remove().await;
                continue;
            }
            self.start_driver(&mut self.entries(), sandbox, driver);
        }
        Ok(())
    }
}

impl Runner {
    /// Ends what a copy of a running sandbox's disk needed, and a pause that held nothing yet, where the server was
    /// killed in the middle. The control plane orders them again.
    async fn let_go(&self, mut record: Record, runs: bool) -> Record {
        let Phase::Running(running) = &mut record.phase else {
            return record;
        };
        if !runs {
            return record;
        }
        let host = &self.inner.host;
        let let_go = match running.hold {
            Hold::Nothing => return record,
            // Noted before the first process is held.
            Hold::Processes => match host.limits.group(&record.sandbox).is_frozen_or_let_go() {
                Ok(true) => return record,
                Ok(false) => Ok(()),
                Err(error) => Err(HostError::Limits(error)),
            },
            Hold::FileSystem => let_go_of_copied(host, running.loop_device).await,
        };
        match let_go {
            Ok(()) => running.hold = Hold::Nothing,
            Err(error) => {
                tracing::error!(sandbox.id = %record.sandbox, %error, "cannot let go what was held");
            }
        }
        if let Err(error) = host.journal.write(&record) {
            tracing::error!(sandbox.id = %record.sandbox, %error, "cannot write the journal");
        }
        record
    }
}

/// A record of the journal, and whether its process still runs.
pub(super) struct Found {
    pub(super) record: Record,
    pidfd: Option<OwnedFd>,
    fault: Option<Fault>,
}

impl Found {
    pub(super) fn look(record: Record, limits: &Limits) -> Self {
        let (pidfd, fault) = match &record.phase {
            Phase::Running(running) => {
                if let Some(pidfd) = running.process.open() {
                    (Some(pidfd), None)
                } else {
                    // The group of a dead sandbox stays until it is swept, and with it what was counted.
                    let had_oom_kill = limits.group(&record.sandbox).had_oom_kill();
                    let fault = absence_fault(&running.process.boot_id, had_oom_kill);
                    (None, Some(fault))
                }
            }
            Phase::Stopped { fault } => (None, fault.clone()),
            Phase::Making | Phase::Starting => (None, None),
        };
        Self {
            record,
            pidfd,
            fault,
        }
    }

    /// Where in the network it is, and what it may reach.
    pub(super) fn slot(&self) -> Option<(SlotIndex, NetworkSpec)> {
        match (&self.record.phase, &self.pidfd) {
            (Phase::Running(running), Some(_)) => {
                Some((running.slot, running.spec.network.clone()))
            }
            _ => None,
        }
    }
}

fn absence_fault(boot: &str, had_oom_kill: bool) -> Fault {
    let (code, message) = if !boot_id().is_ok_and(|id| id == boot) {
        (FaultCode::HostRebooted, "the host was rebooted")
    } else if had_oom_kill {
        let message = "the sandbox ran out of memory while the server was down";
        (FaultCode::OutOfMemory, message)
    } else {
        let message = "the agent ended while the server was down";
        (FaultCode::AgentExited, message)
    };
    Fault {
        code,
        message: message.to_owned(),
    }
}

/// The ranges that files on disks are of.
pub(super) fn ranges(found: &[Found], aside: &[SetAside]) -> impl Iterator<Item = RangeIndex> {
    let aside = aside.iter().filter_map(|aside| aside.range);
    found.iter().map(|found| found.record.range).chain(aside)
}

/// The sandboxes whose disks stay.
fn known(found: &[Found], aside: &[SetAside]) -> Vec<String> {
    let found = found.iter().map(|found| found.record.sandbox.to_string());
    let aside = aside.iter().map(|aside| aside.name.clone());
    found.chain(aside).collect()
}

/// Says where the disks are that nobody but a person can make something of.
fn tell_of_kept(aside: &[SetAside], disks: &Disks) {
    for aside in aside {
        let disk = disks.path(&aside.name);
        if disk.exists() {
            tracing::error!(
                sandbox.id = aside.name,
                "the record of sandbox {} cannot be read: it is {} now, and the disk stays as {}",
                aside.name,
                aside.path.display(),
                disk.display()
            );
        }
    }
}

/// Removes control groups without a running sandbox, with all that is in them.
fn sweep_groups(limits: &Limits, live: &[String]) {
    for name in limits.names() {
        if live.contains(&name) {
            continue;
        }
        let Ok(sandbox) = name.parse::<SandboxId>() else {
            continue;
        };
        if let Err(error) = limits.group(&sandbox).destroy() {
            tracing::error!(group = name, %error, "cannot remove a control group that is left over");
        }
    }
}

/// Removes disks without a sandbox.
fn sweep_disks(disks: &Disks, known: &[String]) {
    for name in disks.names() {
        if (name.starts_with(POOL_PREFIX) || !known.contains(&name))
            && let Err(error) = disks.remove(&name)
        {
            tracing::error!(disk = name, %error, "cannot remove a disk that is left over");
        }
    }
}

fn sweep_sockets(host: &Host, live: &[String]) {
    let Ok(folder) = fs::read_dir(crate::socket_path(&host.sockets, ".")) else {
        return;
    };
    for name in folder
        .filter_map(Result::ok)
        .filter_map(|e| e.file_name().into_string().ok())
    {
        if name != "spawner" && !live.contains(&name) {
            let _ = rustix::fs::unlinkat(&host.sockets, &name, rustix::fs::AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_runner_api::{Generation, ImageDigest};

    use super::*;
    use crate::journal::Journal;

    #[test]
    fn the_disk_of_a_record_that_cannot_be_read_survives_starts_and_that_of_nobody_goes() {
        let folder = tempfile::tempdir().unwrap();
        let sub = |name| folder.path().join(name);
        let (journal, _) = Journal::open(sub("journal")).unwrap();
        let image = ImageDigest("sha256:00".to_owned());
        let sandbox = "kept".parse().unwrap();
        let record = Record::new(sandbox, Generation(1), RangeIndex(0), image);
        journal.write(&record).unwrap();
        // As a loss of power leaves it.
        fs::write(sub("journal/empty.json"), "").unwrap();
        let disks = Disks::open(sub("disks")).unwrap();
        for name in ["kept", "empty", "nobody"] {
            fs::write(disks.path(name), "").unwrap();
        }
        for start in ["the first", "the second"] {
            let (journal, records) = Journal::open(sub("journal")).unwrap();
            let found = |record| Found {
                record,
                pidfd: None,
                fault: None,
            };
            let found: Vec<Found> = records.into_iter().map(found).collect();
            sweep_disks(&disks, &known(&found, &journal.set_aside().unwrap()));
            let mut left = disks.names();
            left.sort_unstable();
            assert_eq!(left, ["empty", "kept"], "{start}");
        }
    }
}
