//! Orders for volumes.

use alcove_runner_api::{OrderError, VolumeGoal, VolumeOrder, VolumeOutcome};

use super::Runner;
use crate::host::{HostError, admit};

impl Runner {
    /// Works an order for a volume off. Resolves when its goal is reached, or has failed.
    pub async fn apply_volume(&self, order: VolumeOrder) -> Result<VolumeOutcome, OrderError> {
        if self.inner.stop.is_cancelled() {
            return Err(OrderError::Unavailable);
        }
        Ok(match self.work_on_volume(&order).await {
            Ok(()) => VolumeOutcome::Done,
            Err(error) => {
                let fault = error.to_fault();
                tracing::warn!(
                    volume.id = %order.volume,
                    code = ?fault.code,
                    "an order for volume {} failed: {}",
                    order.volume,
                    fault.message
                );
                VolumeOutcome::Failed { fault }
            }
        })
    }

    async fn work_on_volume(&self, order: &VolumeOrder) -> Result<(), HostError> {
        let host = &self.inner.host;
        match &order.goal {
            VolumeGoal::Present { bytes, source } => {
                admit(&host.bounds, &host.data_dir)?;
                let made = match source {
                    None => host.volumes.ensure(&order.volume, *bytes).await.map(drop),
                    Some(source) => host.volumes.ensure_copy(&order.volume, source).await,
                };
                made.map_err(HostError::Volume)
            }
            VolumeGoal::Absent => {
                let removed = host.volumes.remove(&order.volume).await;
                removed.map_err(HostError::Volume)
            }
        }
    }
}
