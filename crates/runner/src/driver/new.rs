//! How a sandbox that is not there comes to run: from a parked one, or from parts.

use alcove_runner_api::SandboxSpec;

use super::Driver;
use crate::faults::Step;
use crate::host::HostError;
use crate::journal::Record;
use crate::making::{self, Failed, LastDevice, Made, Parked, Start};

impl Driver {
    /// A new sandbox: the one that was parked under its id, or one that is made now.
    pub(super) async fn make_new(&self, spec: &SandboxSpec) -> Result<Made, Failed> {
        let host = &self.host;
        if let Some(parked) = host.warm.claim(&self.sandbox) {
            match self.hand_over(parked, spec).await {
                Ok(made) => return Ok(made),
                // Another attempt would say the same.
                Err(error @ HostError::UserMissing { .. }) => return Err(error.into()),
                Err(error) => {
                    let fault = error.to_fault();
                    tracing::warn!(
                        sandbox.id = %self.sandbox,
                        "sandbox {} is made anew: {}", self.sandbox, fault.message
                    );
                }
            }
        }
        match self.make_from_parts(spec).await {
            // What waits for nobody in particular gives way to what is wanted now.
            Err(failed) if failed.error.is_host_full() && host.warm.give_way(host).await => {
                self.make_from_parts(spec).await
            }
            made => made,
        }
    }

    async fn hand_over(&self, parked: Parked, spec: &SandboxSpec) -> Result<Made, HostError> {
        let host = &self.host;
        if parked.fits(spec) && parked.is_alive() {
            return making::hand_over(host, parked, spec, self.generation).await;
        }
        making::discard(host, parked).await;
        Err(HostError::NotSettled {
            is: "parked otherwise",
            wanted: "as ordered",
        })
    }

    async fn make_from_parts(&self, spec: &SandboxSpec) -> Result<Made, Failed> {
        let host = &self.host;
        let hit = |step| {
            host.faults.at(step).map_err(|source| HostError::Io {
                step: "pass a fault point",
                source,
            })
        };
        let full = |e| HostError::Range(crate::ranges::MakeRangeError::Full(e));
        let range = host.ranges.claim().map_err(full)?;
        let record = Record::new(
            self.sandbox.clone(),
            self.generation,
            range,
            spec.image.clone(),
        );
        let start = async {
            hit(Step::Range)?;
            host.journal.write(&record).map_err(HostError::Journal)?;
            hit(Step::RecordMaking)?;
            making::start(Start {
                host,
                sandbox: &self.sandbox,
                spec,
                record: record.clone(),
                last_device: LastDevice::NoDisk,
                extras: &self.extras,
            })
            .await
        };
        let result = start.await;
        if result.is_err() {
            making::forget(&self.host, &record);
        }
        result
    }
}
