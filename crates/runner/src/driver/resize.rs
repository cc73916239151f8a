//! Other limits for a sandbox that runs, and a larger disk for one that is stopped.

use alcove_runner_api::{Generation, Resources};

use super::Driver;
use super::held::{Held, Live};
use super::inbox::Inbox;
use crate::faults::{Faults, Step};
use crate::host::{HostError, admit};
use crate::journal::{Journal, Phase, Record};
use crate::limits::Group;

impl Driver {
    pub(super) async fn resize(
        &mut self,
        resources: Resources,
        inbox: &mut Inbox,
    ) -> Result<(), HostError> {
        match &mut self.held {
            Held::Running(live) => {
                let host = &self.host;
                let group = host.limits.group(&self.sandbox);
                let generation = self.generation;
                set(
                    live,
                    generation,
                    resources,
                    &group,
                    &host.journal,
                    &*host.faults,
                )
            }
            Held::Stopped { device, .. } => {
                let device = *device;
                self.release_disk(device).await?;
                self.grow(resources.disk_bytes, inbox).await
            }
            Held::Absent { .. } | Held::Archived { .. } => Err(self.not("running or stopped")),
        }
    }

    async fn grow(&mut self, bytes: u64, inbox: &mut Inbox) -> Result<(), HostError> {
        let (disks, name) = (self.host.disks.clone(), self.sandbox.to_string());
        if disks.size(&name).map_err(HostError::ChangeDisk)? >= bytes {
            return Ok(());
        }
        admit(&self.host.bounds, &self.host.data_dir)?;
        let faults = self.host.faults.clone();
        self.long(inbox, move |cancel| {
            let draft = disks
                .larger(&name, bytes, cancel)
                .map_err(HostError::ChangeDisk)?;
            faults.at(Step::DiskGrown).map_err(|source| HostError::Io {
                step: "pass a fault point",
                source,
            })?;
            disks.settle(&draft, &name).map_err(HostError::ChangeDisk)
        })
        .await
    }
}

/// Sets other limits and writes them down. What cannot be written down is not in force either: the control plane is
/// told that nothing has changed.
fn set(
    live: &mut Live,
    generation: Generation,
    resources: Resources,
    group: &Group,
    journal: &Journal,
    faults: &dyn Faults,
) -> Result<(), HostError> {
    let before = live.running.spec.resources;
    let mut running = live.running.clone();
    running.spec.resources = Resources {
        disk_bytes: before.disk_bytes,
        ..resources
    };
    let record = Record {
        generation,
        phase: Phase::Running(running.clone()),
        ..live.record.clone()
    };
    let step = "pass a fault point";
    let set = group
        .resize(&resources)
        .map_err(HostError::Limits)
        .and_then(|()| {
            let passed = faults.at(Step::Sized);
            passed.map_err(|source| HostError::Io { step, source })
        })
        .and_then(|()| journal.write(&record).map_err(HostError::Journal));
    if set.is_err() {
        if let Err(error) = group.resize(&before) {
            tracing::error!(sandbox.id = %record.sandbox, %error, "cannot set the limits back");
        }
        return set;
    }
    live.running = running;
    live.record = record;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;
    use std::fs;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use alcove_runner_api::{DiskOrigin, ImageDigest, NetworkSpec, SandboxSpec};

    use super::*;
    use crate::disk::LoopNumber;
    use crate::faults::NoFaults;
    use crate::journal::{Hold, ProcessIdentity, RangeIndex, Running};
    use crate::net::SlotIndex;

    /// Of the same number of digits each time: an ordinary file in place of the kernel's keeps what is behind.
    fn resources(mib: u64, cpu_millis: u32) -> Resources {
        Resources {
            cpu_millis,
            memory_bytes: mib << 20,
            disk_bytes: 1 << 30,
            pids: 100,
        }
    }

    fn live(resources: Resources) -> Live {
        let image = ImageDigest("sha256:00".to_owned());
        let running = Running {
            spec: SandboxSpec {
                image: image.clone(),
                resources,
                user: String::new(),
                env: BTreeMap::new(),
                disk: DiskOrigin::New,
                entrypoint: Vec::new(),
                volumes: Vec::new(),
                network: NetworkSpec::default(),
            },
            process: ProcessIdentity::of(1).unwrap(),
            slot: SlotIndex(0),
            address: Ipv4Addr::LOCALHOST,
            loop_device: LoopNumber(0),
            token: String::new(),
            agent_version: String::new(),
            hold: Hold::Nothing,
        };
        let record = Record::new("a".parse().unwrap(), Generation(1), RangeIndex(0), image);
        Live {
            record: Record {
                phase: Phase::Running(running.clone()),
                ..record
            },
            running,
            pidfd: Arc::new(fs::File::open("/dev/null").unwrap().into()),
        }
    }

    #[test]
    fn limits_that_cannot_be_written_down_are_not_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let group = Group::stand_in(&folder.path().join("group"));
        let (journal, _) = Journal::open(folder.path().join("journal")).unwrap();
        let limits = || {
            ["memory.max", "cpu.max"]
                .map(|file| fs::read_to_string(folder.path().join("group").join(file)).unwrap())
        };
        let (small, large) = (resources(64, 1500), resources(80, 2500));
        group.create(&small).unwrap();
        let mut live = live(small);
        let mut resize = |journal: &Journal| {
            let set = set(&mut live, Generation(2), large, &group, journal, &NoFaults);
            (set, live.running.spec.resources, live.record.clone())
        };

        // A folder in the way of the draft fails the write as a full disk does.
        let draft = folder.path().join("journal/a.draft");
        fs::create_dir(&draft).unwrap();
        let before = limits();
        let (set, noted, record) = resize(&journal);
        assert!(matches!(set, Err(HostError::Journal(_))), "{set:?}");
        assert_eq!(limits(), before);
        assert_eq!((noted, record.generation), (small, Generation(1)));

        fs::remove_dir(&draft).unwrap();
        let (set, noted, record) = resize(&journal);
        set.unwrap();
        assert_eq!(limits(), ["83886080", "250000 100000"]);
        assert_eq!((noted, record.generation), (large, Generation(2)));
        assert_eq!(journal.find(&record.sandbox), Some(record));
    }
}
