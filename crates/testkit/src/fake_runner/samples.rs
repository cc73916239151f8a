//! What sandboxes of a played host use.

use alcove_domain::Capability;
use alcove_runner_api::{HostCapabilities, HostStatus, OrderError, Sample};

use tokio::sync::watch;

use super::FakeRunner;

pub(super) struct Samples {
    told: Vec<Sample>,
    rounds: usize,
    host: HostStatus,
    /// Whether the host says how it is.
    says: watch::Sender<bool>,
}

impl Default for Samples {
    /// A host of some size that is half used and can do everything.
    fn default() -> Self {
        Self {
            told: Vec::new(),
            rounds: 0,
            says: watch::Sender::new(true),
            host: HostStatus {
                version: "fake-1".to_owned(),
                cpu_cores: 8,
                memory_bytes: 32 << 30,
                disk_bytes: 500 << 30,
                cpu_used_percent: 50.0,
                load_average: 0.5,
                memory_used_percent: 50.0,
                disk_used_percent: 50.0,
                capabilities: Some(HostCapabilities {
                    architecture: "x86_64".to_owned(),
                    can: Capability::ALL.into(),
                }),
            },
        }
    }
}

impl FakeRunner {
    /// What the host says from now on when it is asked what sandboxes use.
    pub fn set_samples(&self, samples: Vec<Sample>) {
        self.state().samples.told = samples;
    }

    /// How often the host was asked.
    pub fn sample_rounds(&self) -> usize {
        self.state().samples.rounds
    }

    /// What the host says from now on when it is asked how it is.
    pub fn set_host_status(&self, host: HostStatus) {
        self.state().samples.host = host;
    }

    /// The host does not say how it is until [`FakeRunner::resume_status`].
    pub fn hold_status(&self) {
        self.state().samples.says.send_replace(false);
    }

    pub fn resume_status(&self) {
        self.state().samples.says.send_replace(true);
    }

    /// What the host can do from now on.
    pub fn set_capabilities(&self, can: impl IntoIterator<Item = Capability>) {
        self.state().samples.host.capabilities = Some(HostCapabilities {
            architecture: "x86_64".to_owned(),
            can: can.into_iter().collect(),
        });
    }

    pub(super) async fn tell_host_status(&self) -> Result<HostStatus, OrderError> {
        let mut says = self.state().samples.says.subscribe();
        // The sender lives in `self`.
        let _ = says.wait_for(|says| *says).await;
        let state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        Ok(state.samples.host.clone())
    }

    pub(super) fn tell_samples(&self) -> Result<Vec<Sample>, OrderError> {
        let mut state = self.state();
        state.samples.rounds += 1;
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        Ok(state.samples.told.clone())
    }
}
