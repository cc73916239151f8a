//! Use-cases, reconcilers and timers.
//!
//! [`Control`] is the one door: a handler authenticates a caller, calls one method and turns the
//! answer into its own words. Nothing here knows HTTP, and only `alcove-store` knows SQL. Time,
//! randomness and the way to the runner are parameters.

mod audit;
mod auth;
mod builds;
mod caller;
mod clock;
mod control;
mod credentials;
mod cursor;
mod device;
mod directory;
mod driver;
mod error;
mod event;
mod fleet;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod images;
mod invitation_links;
mod keys;
mod links;
mod list;
mod mail;
mod network;
mod object_storage;
mod oidc;
mod order;
mod organizations;
mod otel;
mod outbound_proxies;
mod own_secret;
mod passwords;
mod preview;
mod probe;
mod quota;
mod rate_limits;
mod reconcile;
mod registries;
mod rng;
mod runner;
mod sandboxes;
mod seal;
mod sealing;
mod second_factor;
mod services;
mod sessions;
mod settings;
mod shared;
mod sign_in;
mod signed_files;
mod snapshots;
mod ssh;
mod ssh_keys;
mod suspension;
mod telemetry;
mod timers;
mod token;
mod totp;
mod traffic;
mod uses;
mod vault;
mod volumes;
mod warm;
mod webhooks;
mod work;

pub use alcove_store::{Deed, acting};
pub use audit::{AuditSettings, NewDeed};
pub use builds::BuildLog;
pub use caller::{Actor, Caller, CameWith};
pub use clock::{Clock, SystemClock};
pub use control::ListUsage;
pub use control::Statistics;
pub use control::drive::{Drive, DriveSort, ListDrives};
pub use control::sealing::KeysHeld;
pub use control::{AUDIT_PAGE_MAX, AuditExport, AuditList, AuditQuery, WrittenAudit};
pub use control::{ActivityKind, ActivityList, ActivityQuery};
pub use control::{Bootstrap, Control, Readiness, ToolboxTarget};
pub use control::{CreatedEndpoint, Replay, WebhookManager, WebhookStatus};
pub use control::{InvitationView, MemberView};
pub use control::{ListAllSandboxes, ListOrganizations};
pub use control::{ListLogs, TelemetryRange, TraceSummary};
pub use credentials::{ConfiguredCredentials, CredentialsSource};
pub use device::{DeviceCodes, DeviceRefusal, DeviceRequest, DeviceView};
pub use error::Error;
pub use event::{Event, EventBody, EventStream, ResumedEvents};
pub use fleet::{
    CreatedRunner, Draining, Gate, IssuedCredentials, Job, JobEnd, JobKind, JobStatus, JobsPage,
    ListedRegion, NewRegion, RegionKey, RunnerView, service_key_hash,
};
pub use forward::{ForwardingStatistics, OtlpOutcome, OtlpRequest, OtlpSender};
pub use invitation_links::{InvitationOffer, InvitedAccount, Joined};
pub use keys::CreatedApiKey;
pub use list::{ListSandboxes, ListSnapshots, PageSandboxes};
pub use mail::{Mail, MailBody, MailFault, MailSender};
pub use object_storage::ObjectStorageAccess;
pub use oidc::arrival::{SsoArrival, SsoDeparture};
pub use oidc::issuer::{DocumentSource, IdentityProvider};
pub use oidc::jwt::is_token;
pub use oidc::link::AccountProvider;
pub use oidc::pending::PendingSsoLinkView;
pub use oidc::sso::{CodeExchange, SsoWeb};
pub use organizations::Departed;
pub use otel::OrganizationSettings;
pub use passwords::PasswordCost;
pub use preview::{Admission, Credential, Pass, SIGNED_MAX_SECONDS, SignedLabel, Visitor};
pub use probe::{Probe, Step};
pub use quota::{OwnQuota, QuotaUse};
pub use rate_limits::{Counted, RateLimits};
pub use registries::{CreateRegistry, RegistryLogin, RegistryPushAccess, RegistryVisitor};
pub use rng::{Rng, SystemRng};
pub use runner::{
    AgentConnection, AgentStream, DialError, FetchedPieces, PortListener, RunnerClient,
};
pub use seal::{KeyKeeper, SealingKey, SealingKeys, SealingStatus};
pub use second_factor::NewTotp;
pub use services::{CreatedServiceCredential, ServiceCredentialView};
pub use sessions::{Filling, KeepLastChange, NewSession, Session, SessionChange, SourcePieces};
pub use settings::{Region, Settings, SnapshotLimits};
pub use sign_in::session::OrganizationChoice;
pub use sign_in::{Entrance, NewPasswordLink, SignedIn};
pub use signed_files::{FileUse, SignedFile};
pub use snapshots::tree::{SnapshotNode, SnapshotTree};
pub use ssh::{SshEnd, SshGrant, SshRefusal, SshSession};
pub use telemetry::{TelemetrySettings, ToolboxCall};
pub use traffic::{Traffic, TrafficBody, TrafficVisitor, is_body_told};
pub use vault::{ListVaultSecrets, VaultSecretPage};
pub use warm::NewWarmPool;
pub use webhooks::{WebhookRequest, WebhookSender};
pub use work::{Work, WorkKind};
