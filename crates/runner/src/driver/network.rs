//! Another network policy for a sandbox that has processes.

use alcove_runner_api::NetworkSpec;

use super::Driver;
use super::held::Held;
use crate::faults::Step;
use crate::host::HostError;
use crate::journal::{Phase, Record, Running};

impl Driver {
    /// Puts the policy in force and cuts what it does not allow. One that does not run has nothing to be held to, and a
    /// version that is in force or outdated is done.
    ///
    /// The record comes first: a server that is killed in between finds the new policy in it, and puts that in force. On
    /// failure the record goes back to the policy that counts as being in force, and the control plane asks again.
    pub(super) async fn network(&mut self, wanted: NetworkSpec) -> Result<(), HostError> {
        let Held::Running(live) = &mut self.held else {
            return Ok(());
        };
        let before = live.running.spec.network.clone();
        if wanted.version <= before.version {
            return Ok(());
        }
        self.note_network(&wanted)?;
        let set = self.put_in_force(&wanted).await;
        if set.is_err()
            && let Err(error) = self.note_network(&before)
        {
            // The record names the new policy, which the next server puts in force.
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot write the journal");
        }
        set
    }

    async fn put_in_force(&self, wanted: &NetworkSpec) -> Result<(), HostError> {
        let Held::Running(live) = &self.held else {
            return Ok(());
        };
        let (network, slot) = (&self.host.network, live.running.slot);
        self.hit(Step::NetworkNoted)?;
        network
            .set_policy(slot, wanted)
            .await
            .map_err(HostError::Policy)?;
        self.hit(Step::NetworkSet)?;
        network.cut(slot).await.map_err(HostError::Policy)
    }

    fn note_network(&mut self, network: &NetworkSpec) -> Result<(), HostError> {
        let generation = self.generation;
        let Held::Running(live) = &mut self.held else {
            return Ok(());
        };
        let mut running: Running = live.running.clone();
        running.spec.network = network.clone();
        let record = Record {
            generation,
            phase: Phase::Running(running.clone()),
            ..live.record.clone()
        };
        let written = self.host.journal.write(&record);
        written.map_err(HostError::Journal)?;
        live.running = running;
        live.record = record;
        Ok(())
    }
}
