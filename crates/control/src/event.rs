//! What happened, for those who listen.

use std::sync::Arc;

use alcove_domain::{DesiredState, OrganizationId, Sandbox, SandboxState};
use futures_util::stream::BoxStream;
use jiff::Timestamp;

/// One thing that happened, as the outbox keeps it. The sequence grows by commit order.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub sequence: i64,
    pub organization: OrganizationId,
    pub at: Timestamp,
    pub body: EventBody,
}

/// What happened. The sandbox is the whole object as it was right after the event.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    SandboxCreated {
        sandbox: Arc<Sandbox>,
    },
    SandboxStateUpdated {
        sandbox: Arc<Sandbox>,
        old_state: SandboxState,
        new_state: SandboxState,
    },
    SandboxDesiredStateUpdated {
        sandbox: Arc<Sandbox>,
        old_desired_state: DesiredState,
        new_desired_state: DesiredState,
    },
}

/// Events of one organization, in order, from the moment of subscription on.
pub type EventStream = BoxStream<'static, Event>;
