//! Ids, names, state machines and policies of Alcove, as pure functions.
//!
//! Nothing here does I/O, reads a clock or knows a wire format: a caller brings the time and the
//! facts, and gets a decision or a named refusal.

pub mod account;
pub mod bounds;
pub mod build;
pub mod create;
pub mod id;
pub mod interval;
pub mod lifecycle;
pub mod network;
pub mod query;
pub mod quota;
pub mod reason;
pub mod registry;
pub mod resize;
pub mod sandbox;
pub mod snapshot;
pub mod text;
pub mod timer;
pub mod volume;

pub use account::{ApiKey, ApiKeyHash, Organization, Permission, Permissions, User};
pub use build::{BuildInfo, ImageBuild, NewBuiltSnapshot};
pub use create::{CreateFacts, CreatePlan, NewSandbox};
pub use id::{BuildId, OrganizationId, RegistryId, SandboxId, SnapshotId, UserId, VolumeId};
pub use interval::Intervals;
pub use lifecycle::{
    Command, DesiredState, Effect, Fault, FaultCode, Goal, Lifecycle, Observation, Origin, Phase,
    Refusal, SandboxState, Step,
};
pub use network::NetworkSettings;
pub use query::{
    CursorPage, OffsetPage, SandboxFilter, SandboxSort, SnapshotFilter, SnapshotSort, SortOrder,
};
pub use quota::{Quota, QuotaExceeded, Usage};
pub use reason::Reason;
pub use registry::{Registry, RegistryKind, RegistryRequest, RegistryUrl, Secret};
pub use resize::ResizeRequest;
pub use sandbox::{Resources, Sandbox, SandboxClass};
pub use snapshot::{
    NewSnapshot, Snapshot, SnapshotEvent, SnapshotPlan, SnapshotRefusal, SnapshotState,
};
pub use timer::Due;
pub use volume::{
    MountRequest, TooManyVolumes, Volume, VolumeEvent, VolumeMount, VolumePhase, VolumeRefusal,
    VolumeState,
};
