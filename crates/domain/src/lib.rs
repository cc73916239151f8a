//! Ids, names, state machines and policies of Alcove, as pure functions.
//!
//! Nothing here does I/O, reads a clock or knows a wire format: a caller brings the time and the
//! facts, and gets a decision or a named refusal.

pub mod account;
pub mod audit;
pub mod bounds;
pub mod build;
pub mod create;
mod device;
pub mod exec;
mod host_bound;
pub mod id;
pub mod interval;
pub mod invitation;
pub mod lifecycle;
pub mod link;
pub mod login;
pub mod mail;
pub mod member;
pub mod network;
pub mod otel;
pub mod port;
pub mod query;
pub mod quota;
pub mod rate_limit;
pub mod reason;
pub mod region;
pub mod registry;
pub mod resize;
pub mod role;
pub mod runner;
pub mod sandbox;
pub mod service;
pub mod session;
pub mod snapshot;
pub mod ssh;
pub mod ssh_key;
pub mod sso;
pub mod steady;
pub mod suspension;
pub mod text;
pub mod timer;
pub mod vault;
pub mod volume;
pub mod warm_pool;
pub mod webhook;

pub use account::{
    ApiKey, ApiKeyHash, NewApiKey, NewUser, Organization, OrganizationState, Permission,
    Permissions, User, UserRequest,
};
pub use audit::{AuditEntry, AuditFilter, AuditKey, AuditRow, AuditScope, audit_text};
pub use build::{BuildInfo, ImageBuild, NewBuiltSnapshot};
pub use create::{BuildCreatePlan, CreateFacts, CreatePlan, NewSandbox};
pub use device::{DeviceCodeHash, DeviceDecision, DeviceLogin};
pub use host_bound::{HostBound, HostIsPromised, Promised};
pub use id::{
    BuildId, InvitationId, MailId, OrganizationId, PendingSsoLinkId, RegionId, RegistryId, RoleId,
    RunnerId, SandboxId, ServiceCredentialId, SnapshotId, SshAccessId, SshKeyId, SsoProviderId,
    UserId, VaultSecretId, VolumeId, WarmPoolId, WebhookEndpointId, WebhookMessageId,
};
pub use interval::Intervals;
pub use invitation::{Invitation, InvitationRefusal, InvitationStatus};
pub use lifecycle::{
    BuildNews, Command, DesiredState, Effect, Fault, FaultCode, Goal, Lifecycle, Observation,
    Origin, Phase, Refusal, SandboxState, Step,
};
pub use link::LinkFacts;
pub use login::{
    AttemptPolicy, Attempts, LinkHash, LoginSession, PasswordLink, RecoveryHash, SealedTotp,
    SessionHash,
};
pub use mail::{MailKind, QueuedMail};
pub use member::{Access, Member, MemberRefusal, MemberRole};
pub use network::{
    DomainList, DomainPattern, HostName, Ipv4Network, NetworkPolicy, NetworkSettings,
    OutboundProxy, SandboxNetwork, SealedProxy, proxy_variables,
};
pub use otel::{OtelRequest, OtelTarget};
pub use port::Port;
pub use query::{
    CursorPage, OffsetPage, SandboxFilter, SandboxSort, SnapshotFilter, SnapshotParent,
    SnapshotSort, SortOrder,
};
pub use quota::{Quota, QuotaExceeded, Usage, UsagePeriod};
pub use reason::Reason;
pub use region::{CustomRegion, ManagerLogin, RegionChange, RegionUrls, ServiceKeyHash, UrlChange};
pub use registry::{Registry, RegistryKind, RegistryRequest, RegistryUrl, Secret};
pub use resize::ResizeRequest;
pub use role::{NewRole, Role};
pub use runner::{
    Capabilities, Capability, Capacity, Heartbeat, Load, NewRunner, Placing, Runner, RunnerAddress,
    RunnerState,
};
pub use sandbox::{Resources, Sandbox, SandboxClass};
pub use service::{ServiceCredential, ServiceCredentialHash, ServiceRole};
pub use snapshot::{
    Lineage, NewSnapshot, Snapshot, SnapshotEvent, SnapshotPlan, SnapshotRefusal, SnapshotState,
};
pub use ssh::{SshAccess, SshAccessEnd, SshTokenHash, SshTokenRefusal};
pub use ssh_key::{SshKey, SshKeyFingerprint, SshKeyRefusal, SshPublicKey};
pub use sso::{PendingSsoLink, SsoOrigin, SsoProvider, SsoProviderRequest};
pub use steady::SteadyTime;
pub use suspension::Suspension;
pub use timer::Due;
pub use vault::{
    NewVaultSecret, VaultSecret, VaultSecretChange, VaultSecretCursor, VaultSecretSort,
};
pub use volume::{
    MountRequest, TooManyVolumes, Volume, VolumeEvent, VolumeMount, VolumePhase, VolumeRefusal,
    VolumeState, check_mounts,
};
pub use warm_pool::{WarmPool, WarmPoolView};
pub use webhook::{
    EndpointRequest, WebhookAttempt, WebhookEndpoint, WebhookEvent, WebhookMessage, WebhookUrl,
};
