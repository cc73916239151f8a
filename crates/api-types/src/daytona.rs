//! The Daytona API: what its SDKs of all generations send and read.

mod account;
mod config;
mod create_sandbox;
pub mod era;
mod health;
mod network;
mod object_storage;
mod quota;
mod registry;
mod sandbox;
mod snapshot;
mod volume;
mod workspace;

pub use account::{ApiKey, Organization, User, UserPublicKey};
pub use config::{Configuration, Oidc};
pub use create_sandbox::{CreateBuildInfo, CreateSandbox, SandboxVolume};
pub use health::{ComponentHealth, Health, Readiness};
pub use network::UpdateSandboxNetworkSettings;
pub use object_storage::StorageAccess;
pub use quota::{
    CreateRegionQuota, LimitChange, NO_LIMIT, OrganizationUsageOverview, RegionQuota,
    RegionUsageOverview, UpdateOrganizationQuota, UpdateRegionQuota,
};
pub use registry::{
    CreateDockerRegistry, DockerRegistry, RegistryPushAccess, RegistryType, UpdateDockerRegistry,
};
pub use sandbox::{
    CreateSandboxSnapshot, ForkSandbox, PortPreviewUrl, ResizeSandbox, Sandbox,
    SandboxDesiredState, SandboxLabels, SandboxListItem, SandboxPage, SandboxState, SandboxesList,
    ToolboxProxyUrl, UpdateLastActivity,
};
pub use snapshot::{CreateSnapshot, Snapshot, SnapshotPage, SnapshotState, Url};
pub use volume::{CreateVolume, Volume, VolumeState};
pub use workspace::{CreateWorkspace, Workspace, WorkspaceInfo};
