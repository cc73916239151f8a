//! Use-cases, reconcilers and timers.
//!
//! [`Control`] is the one door: a handler authenticates a caller, calls one method and turns the
//! answer into its own words. Nothing here knows HTTP, and only `alcove-store` knows SQL. Time,
//! randomness and the way to the runner are parameters.

mod caller;
mod clock;
mod control;
mod error;
mod event;
mod list;
mod rng;
mod runner;
mod settings;

pub use caller::Caller;
pub use clock::{Clock, SystemClock};
pub use control::{Bootstrap, Control, Readiness, ToolboxTarget};
pub use error::Error;
pub use event::{Event, EventBody, EventStream};
pub use list::{ListSandboxes, ListSnapshots, PageSandboxes};
pub use rng::{Rng, SystemRng};
pub use runner::{AgentConnection, AgentStream, DialError, RunnerClient};
pub use settings::{Region, Settings};
