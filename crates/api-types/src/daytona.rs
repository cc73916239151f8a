//! The Daytona API: what its SDKs of all generations send and read.

mod account;
mod administration;
mod audit;
mod config;
mod create_sandbox;
mod device;
pub mod era;
mod health;
mod identity_provider;
mod image;
mod job;
mod network;
mod object_storage;
mod organization;
mod otel;
mod preview;
mod quota;
mod region;
mod registry;
mod runner;
mod sandbox;
mod secret;
mod service;
mod sign_in;
mod snapshot;
mod ssh;
mod telemetry;
mod volume;
mod warm_pool;
mod webhook;
mod workspace;

pub use account::{ApiKey, ApiKeyResponse, CreateApiKey, Organization, User, UserPublicKey};
pub use administration::{
    AdministeredOrganization, AdministeredOrganizations, AdministeredSandboxes, SetSnapshotGeneral,
    Work,
};
pub use audit::{
    AuditLog, AuditScenarios, AuditTargetScenario, CreateAuditLog, ExportedAuditLog,
    PaginatedAuditLogs, SandboxActivity, SandboxActivityList,
};
pub use config::{Configuration, Oidc, RateLimitEntry, RateLimits};
pub use create_sandbox::{BuildInfo, CreateBuildInfo, CreateSandbox, SandboxVolume};
pub use device::{
    DecideOnDevice, DeviceAuthorization, DeviceRefusalBody, DeviceToken, WaitingDevice,
};
pub use health::{ComponentHealth, Health, Readiness, ServerNumbers};
pub use identity_provider::{
    ArriveBySso, CreateIdentityProvider, DepartBySso, GenerateWorkosAdminPortalLink,
    IdentityProvider, OidcIdPConfig, OidcIdPConfigResponse, SsoDeparture,
    TestIdentityProviderConnection, TestIdentityProviderConnectionResponse, UpdateIdentityProvider,
    UpdateOidcIdPConfig, WorkosAdminPortalIntent, WorkosSsoConnection,
};
pub use image::{BuildImage, CreateImage, Image, ImagePage, ImageState, ToggleImage};
pub use job::{
    Job, JobStatus, PaginatedJobs, PollJobsResponse, UpdateJobStatus, UpdateSandboxState,
};
pub use network::{OrganizationLimitedEgress, UpdateSandboxNetworkSettings};
pub use object_storage::StorageAccess;
pub use organization::{
    AvailableSandboxClass, CreateOrganization, CreateOrganizationInvitation,
    CreateOrganizationRole, CreateUser, CreatedUser, OrganizationInvitation, OrganizationRole,
    OrganizationSuspension, OrganizationUser, UpdateOrganizationDefaultRegion,
    UpdateOrganizationInvitation, UpdateOrganizationMemberAccess, UpdateOrganizationRole,
};
pub use otel::{
    GpuCapacity, GpuCapacityResponse, OtelConfig, SandboxIdentity,
    UpdateOrganizationDefaultQueueTimeout,
};
pub use preview::PreviewWarning;
pub use quota::{
    CreateRegionQuota, LimitChange, NO_LIMIT, OrganizationUsageOverview, RegionQuota,
    RegionUsageOverview, UpdateOrganizationQuota, UpdateRegionQuota, UsagePeriod, UsagePeriodPage,
};
pub use region::{
    CreateRegion, CreateRegionResponse, RegenerateApiKeyResponse, Region, RegionType,
    SnapshotManagerCredentials, UpdateRegion,
};
pub use registry::{
    CreateDockerRegistry, DockerRegistry, RegistryPushAccess, RegistryType, UpdateDockerRegistry,
};
pub use runner::{
    AdminCreateRunner, CreateRunner, CreateRunnerResponse, Runner, RunnerCapabilities, RunnerFull,
    RunnerHealthMetrics, RunnerHealthcheck, RunnerServiceHealth, RunnerSnapshot, RunnerState,
    UpdateRunnerDraining, UpdateRunnerScheduling,
};
pub use sandbox::{
    CreateSandboxSnapshot, ForkSandbox, PortPreviewUrl, ResizeSandbox, Sandbox,
    SandboxDesiredState, SandboxLabels, SandboxListItem, SandboxPage, SandboxState, SandboxesList,
    SignedPortPreviewUrl, ToolboxProxyUrl, UpdateLastActivity,
};
pub use secret::{
    CreateSecret, SandboxSecret, Secret, SecretPage, UpdateSandboxSecrets, UpdateSecret,
};
pub use service::{CreateServiceCredential, CreatedServiceCredential, ServiceCredential};
pub use sign_in::{
    AcceptByLink, AccountProvider, BeginTotp, ChangePassword, ConfirmTotp, CreateLinkedAccount,
    CreatePasswordLink, InvitationOffer, JoinedByLink, LookAtInvitation, NewTotp, PasswordLink,
    PendingSsoLink, RecoveryCodes, RemoveTotp, SetPassword, SignIn, SignInSession,
};
pub use snapshot::{CreateSnapshot, Snapshot, SnapshotPage, SnapshotState, Url};
pub use ssh::{CreateSshKey, SshAccess, SshAccessValidation, SshKey};
pub use telemetry::{
    LogEntry, LogPage, MetricDataPoint, MetricSeries, MetricsResponse, TracePage, TraceSpan,
    TraceSummary,
};
pub use volume::{CreateVolume, Volume, VolumeState};
pub use warm_pool::{CreateWarmPool, UpdateWarmPool, WarmPool};
pub use webhook::{
    CreateWebhookEndpoint, ReplayWebhooks, ReplayedWebhooks, SendWebhook, UpdateWebhookEndpoint,
    WebhookAppPortalAccess, WebhookAttempt, WebhookEnabled, WebhookEndpoint, WebhookEndpointSecret,
    WebhookInitializationStatus, WebhookMessage, WebhookNews, WebhookPayload,
};
pub use workspace::{CreateWorkspace, Workspace, WorkspaceInfo};

/// Whole numbers that answers have for older clients and that are no part of their types, by the names of the schemas.
pub const OLDER_NUMBERS: [(&str, &[&str]); 2] = [
    ("Organization", &account::OLDER_TOTALS),
    ("OrganizationUsageOverview", &quota::SUMS),
];
