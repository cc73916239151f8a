//! The volumes of the fake host.

use std::collections::BTreeMap;

use alcove_domain::VolumeId;
use alcove_runner_api::{
    Fault, FaultCode, OrderError, SandboxSpec, VolumeGoal, VolumeOrder, VolumeOutcome,
};

use super::{FakeRunner, fault};

#[derive(Default)]
pub(super) struct Volumes {
    /// Sizes in bytes.
    kept: BTreeMap<VolumeId, u64>,
    orders: Vec<VolumeOrder>,
    failures: Vec<Fault>,
}

impl FakeRunner {
    /// The next order for a volume cannot be done.
    pub fn fail_next_volume(&self, code: FaultCode) {
        self.state().volumes.failures.insert(0, fault(code));
    }

    /// Volumes on the host and their sizes in bytes.
    pub fn volumes(&self) -> BTreeMap<VolumeId, u64> {
        self.state().volumes.kept.clone()
    }

    /// Every order for volumes that was taken, in order, repeated ones included.
    pub fn volume_orders(&self) -> Vec<VolumeOrder> {
        self.state().volumes.orders.clone()
    }

    pub(super) async fn order_volume(
        &self,
        order: VolumeOrder,
    ) -> Result<VolumeOutcome, OrderError> {
        let life = {
            let mut state = self.state();
            if !state.is_alive {
                return Err(OrderError::Unavailable);
            }
            state.volumes.orders.push(order.clone());
            state.life
        };
        // As on a real host, the work goes on when the caller has gone away.
        let host = self.clone();
        let work = tokio::spawn(async move {
            host.pass(&host.host.work_gate, life).await?;
            Ok(host.state().volumes.work(order))
        });
        let outcome = work.await.map_err(|_| OrderError::Unavailable)??;
        self.pass(&self.host.answer_gate, life).await?;
        let mut state = self.state();
        if state.lost_answers > 0 {
            state.lost_answers -= 1;
            return Err(OrderError::Unavailable);
        }
        Ok(outcome)
    }
}

impl Volumes {
    fn work(&mut self, order: VolumeOrder) -> VolumeOutcome {
        if let Some(fault) = self.failures.pop() {
            return VolumeOutcome::Failed { fault };
        }
        match order.goal {
            VolumeGoal::Present {
                source: Some(source),
                ..
            } => {
                let Some(bytes) = self.kept.get(&source).copied() else {
                    let fault = fault(FaultCode::VolumeUnusable);
                    return VolumeOutcome::Failed { fault };
                };
                self.kept.entry(order.volume).or_insert(bytes);
            }
            VolumeGoal::Present {
                bytes,
                source: None,
            } => {
                self.kept.entry(order.volume).or_insert(bytes);
            }
            VolumeGoal::Absent => {
                self.kept.remove(&order.volume);
            }
        }
        VolumeOutcome::Done
    }

    /// What a start with a volume that is not there comes to.
    pub(super) fn missing(&self, spec: &SandboxSpec) -> Option<Fault> {
        let missing = spec
            .volumes
            .iter()
            .find(|mount| !self.kept.contains_key(&mount.volume))?;
        Some(Fault {
            code: FaultCode::VolumeUnusable,
            message: format!("volume {} is not on this runner", missing.volume),
        })
    }
}
