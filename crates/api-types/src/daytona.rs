//! The Daytona API: what its SDKs of all generations send and read.

mod account;
mod config;
mod create_sandbox;
pub mod era;
mod health;
mod sandbox;
mod snapshot;

pub use account::{ApiKey, Organization, User, UserPublicKey};
pub use config::{Configuration, Oidc};
pub use create_sandbox::{CreateBuildInfo, CreateSandbox, SandboxVolume};
pub use health::{ComponentHealth, Health, Readiness};
pub use sandbox::{
    Sandbox, SandboxDesiredState, SandboxLabels, SandboxListItem, SandboxPage, SandboxState,
    SandboxesList, ToolboxProxyUrl,
};
pub use snapshot::{Snapshot, SnapshotPage, SnapshotState};
