//! The end of a run: what it used is read before it is given back.

use std::sync::Arc;

use alcove_runner_api::{NetworkUsage, Observed, RunUsage};

use super::Driver;
use super::held::{Held, Live, Why, observed};
use crate::disk_pool::blocking;
use crate::host::HostError;
use crate::journal::{Phase, Record};
use crate::making::{self, LastDevice};

impl Driver {
    /// What the run that ended last has used, if that is why there is no run now.
    pub(super) fn used(&self) -> Option<RunUsage> {
        match observed(&self.held) {
            Observed::Stopped { .. } => self.last_run,
            _ => None,
        }
    }

    /// What went through the network of the run that has ended, as far as it was seen before.
    pub(super) fn note_traffic(&mut self, traffic: Option<NetworkUsage>) {
        if let Some(run) = &mut self.last_run {
            run.network = run.network.or(traffic);
        }
    }

    /// Gives back what a running sandbox has on the host, apart from its disk.
    pub(super) async fn release(&mut self, live: &Live) {
        let (host, slot) = (Arc::clone(&self.host), live.running.slot);
        let group = self.host.limits.group(&self.sandbox);
        let ended = blocking(move || {
            let used = RunUsage {
                cpu_used: group.cpu_used(),
                network: host.network.traffic_of(slot),
            };
            (used, group.destroy())
        });
        match ended.await {
            Ok((used, destroyed)) => {
                self.last_run = Some(used);
                if let Err(error) = destroyed {
                    tracing::error!(sandbox.id = %self.sandbox, %error, "cannot remove a control group");
                }
            }
            Err(error) => {
                tracing::error!(sandbox.id = %self.sandbox, %error, "cannot remove a control group");
            }
        }
        making::remove_listener(&self.host, &self.sandbox);
        self.host.network.release(live.running.slot);
    }

    /// After the end of the process: everything is given back, the disk is written and let go of.
    pub(super) async fn wind_up(&mut self, live: Live, why: Why) -> Held {
        self.release(&live).await;
        let number = live.running.loop_device;
        let released = self
            .host
            .disk_pool
            .await_release(self.sandbox.as_str(), Some(number))
            .await;
        let device = match released {
            Ok(()) => LastDevice::Released,
            Err(error) => {
                // The next start waits again; it never mounts a disk twice.
                tracing::warn!(sandbox.id = %self.sandbox, %error, "a stopped sandbox's disk is slow to go");
                LastDevice::Known(number)
            }
        };
        self.stopped(live.record, device, why).await
    }

    pub(super) async fn stopped(&self, record: Record, device: LastDevice, why: Why) -> Held {
        let phase = Phase::Stopped {
            fault: why.fault().cloned(),
        };
        let record = Record {
            generation: self.generation,
            phase,
            ..record
        };
        if let Err(error) = self.write_down(record.clone()).await {
            // The old record says that it runs; the next start of the runner sees that it does not.
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot write the journal");
        }
        Held::Stopped {
            record: Box::new(record),
            device,
            why,
        }
    }

    pub(super) async fn note_generation(&self, record: &Record) {
        let record = Record {
            generation: self.generation,
            ..record.clone()
        };
        if let Err(error) = self.write_down(record).await {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot write the journal");
        }
    }

    /// Writes a record that waits for the host's disk, on a thread that may.
    pub(super) async fn write_down(&self, record: Record) -> Result<(), HostError> {
        let host = Arc::clone(&self.host);
        let written = blocking(move || host.journal.write(&record)).await;
        written
            .map_err(HostError::Disk)?
            .map_err(HostError::Journal)
    }
}
