//! Use-cases, reconcilers and timers.
//!
//! [`Control`] is the one door: a handler authenticates a caller, calls one method and turns the
//! answer into its own words. Nothing here knows HTTP, and only `alcove-store` knows SQL. Time,
//! randomness and the way to the runner are parameters.

mod auth;
mod builds;
mod caller;
mod clock;
mod control;
mod credentials;
mod cursor;
mod directory;
mod driver;
mod error;
mod event;
mod images;
mod list;
mod object_storage;
mod order;
mod probe;
mod quota;
mod reconcile;
mod registries;
mod rng;
mod runner;
mod sandboxes;
mod seal;
mod settings;
mod shared;
mod snapshots;
mod timers;
mod token;
mod volumes;

pub use builds::BuildLog;
pub use caller::Caller;
pub use clock::{Clock, SystemClock};
pub use control::{Bootstrap, Control, Readiness, ToolboxTarget};
pub use credentials::{ConfiguredCredentials, CredentialsSource};
pub use error::Error;
pub use event::{Event, EventBody, EventStream};
pub use list::{ListSandboxes, ListSnapshots, PageSandboxes};
pub use object_storage::ObjectStorageAccess;
pub use probe::{Probe, Step};
pub use quota::{OwnQuota, QuotaUse};
pub use registries::{CreateRegistry, RegistryLogin, RegistryPushAccess, RegistryVisitor};
pub use rng::{Rng, SystemRng};
pub use runner::{AgentConnection, AgentStream, DialError, RunnerClient};
pub use seal::SealingKey;
pub use settings::{Region, Settings, SnapshotLimits};
