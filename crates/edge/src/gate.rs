//! What the proxy asks the control plane.

use alcove_control::{
    Admission, AgentConnection, AgentStream, Control, DialError, Error, ToolboxCall, ToolboxTarget,
    Traffic, Visitor,
};
use alcove_domain::{Port, SandboxId};
use async_trait::async_trait;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub sandbox: SandboxId,
    /// Grows with each start of the sandbox; connections of an older one lead nowhere.
    pub generation: u64,
    pub server: Server,
}

/// Who answers in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    Agent,
    /// Whatever listens there.
    Port(Port),
}

impl Target {
    pub(crate) fn new(target: &ToolboxTarget, server: Server) -> Self {
        Self {
            sandbox: target.sandbox.clone(),
            generation: target.generation,
            server,
        }
    }
}

/// The control plane as the proxy sees it. All of it answers from memory for a busy sandbox.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Whether the visitor may use the sandbox's toolbox, and where it is.
    async fn admit_toolbox(
        &self,
        visitor: &Visitor<'_>,
        id_or_name: &str,
    ) -> Result<ToolboxTarget, Error>;

    /// Whether the visitor may reach a port of a sandbox, and where it is.
    async fn admit_port(
        &self,
        visitor: &Visitor<'_>,
        place: &str,
        port: Port,
    ) -> Result<Admission, Error>;

    /// A fresh connection to the sandbox's agent.
    async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError>;

    /// A fresh connection to what listens on a port of the sandbox.
    async fn dial_port(
        &self,
        sandbox: &SandboxId,
        port: Port,
    ) -> Result<Box<dyn AgentStream>, DialError>;

    /// Notes that the sandbox is in use. Called on the hot path.
    fn record_activity(&self, sandbox: &SandboxId);

    /// Notes a request that went to a sandbox's agent. Called on the hot path.
    fn record_call(&self, call: &ToolboxCall);

    /// Puts a request down that was answered. Called on the hot path.
    fn record_traffic(&self, traffic: Traffic<'_>);
}

#[async_trait]
impl Gate for Control {
    async fn admit_toolbox(
        &self,
        visitor: &Visitor<'_>,
        id_or_name: &str,
    ) -> Result<ToolboxTarget, Error> {
        Control::admit_toolbox(self, visitor, id_or_name).await
    }

    async fn admit_port(
        &self,
        visitor: &Visitor<'_>,
        place: &str,
        port: Port,
    ) -> Result<Admission, Error> {
        Control::admit_port(self, visitor, place, port).await
    }

    async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError> {
        Control::dial_agent(self, sandbox).await
    }

    async fn dial_port(
        &self,
        sandbox: &SandboxId,
        port: Port,
    ) -> Result<Box<dyn AgentStream>, DialError> {
        Control::dial_port(self, sandbox, port).await
    }

    fn record_activity(&self, sandbox: &SandboxId) {
        Control::record_activity(self, sandbox);
    }

    fn record_call(&self, call: &ToolboxCall) {
        Control::record_call(self, call);
    }

    fn record_traffic(&self, traffic: Traffic<'_>) {
        Control::record_traffic(self, traffic);
    }
}
