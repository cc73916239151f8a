//! Numbers about the whole server, for those who watch it.

use std::collections::BTreeMap;

use super::{Control, Readiness};
use crate::{Caller, Error, ForwardingStatistics};

/// How the server is.
#[derive(Debug, Clone)]
pub struct Statistics {
    pub readiness: Readiness,
    /// Those that are there, by state.
    pub sandboxes: BTreeMap<&'static str, u64>,
    /// Endpoints of webhooks that something waits for.
    pub webhook_queues: usize,
    /// Telemetry on its way to endpoints of organizations.
    pub forwarding: ForwardingStatistics,
}

impl Control {
    /// Of all organizations together: for the operator.
    pub async fn statistics(&self) -> Statistics {
        let mut sandboxes = BTreeMap::new();
        for entry in self.shared.directory.entries() {
            *sandboxes
                .entry(entry.sandbox().state().as_str())
                .or_default() += 1;
        }
        Statistics {
            readiness: self.readiness().await,
            sandboxes,
            webhook_queues: self.shared.webhooks.queues(),
            forwarding: self.shared.forwarding.statistics(),
        }
    }

    /// The same for the administrator of the server.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for everybody else.
    pub async fn statistics_as_admin(&self, caller: &Caller) -> Result<Statistics, Error> {
        self.shared.require_admin(caller).await?;
        Ok(self.statistics().await)
    }
}
