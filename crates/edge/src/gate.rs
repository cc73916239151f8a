//! What the proxy asks the control plane.

use alcove_control::{AgentConnection, Control, DialError, Error};
use alcove_domain::SandboxId;
use async_trait::async_trait;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub sandbox: SandboxId,
    /// Grows with each start of the sandbox; connections of an older one lead nowhere.
    pub generation: u64,
}

/// Why a request does not go through.
#[derive(Debug)]
pub enum Refusal {
    /// No usable credential.
    Unauthenticated,
    /// The control plane's word, with its own code.
    Control(Error),
}

/// The control plane as the proxy sees it. All of it answers from memory for a busy sandbox.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Whether the holder of `bearer` may reach the sandbox, and where it is.
    async fn admit(&self, bearer: &str, id_or_name: &str) -> Result<Target, Refusal>;

    /// A fresh connection to the sandbox's agent.
    async fn dial(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError>;

    /// Notes that the sandbox is in use. Called on the hot path.
    fn record_activity(&self, sandbox: &SandboxId);
}

#[async_trait]
impl Gate for Control {
    async fn admit(&self, bearer: &str, id_or_name: &str) -> Result<Target, Refusal> {
        let caller = self.authenticate(bearer).await.map_err(Refusal::Control)?;
        let target = self
            .resolve_toolbox(&caller, id_or_name)
            .map_err(Refusal::Control)?;
        Ok(Target {
            sandbox: target.sandbox,
            generation: target.generation,
        })
    }

    async fn dial(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError> {
        self.dial_agent(sandbox).await
    }

    fn record_activity(&self, sandbox: &SandboxId) {
        Control::record_activity(self, sandbox);
    }
}
