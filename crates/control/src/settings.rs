//! What the operator decides about the control plane.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::runner::PlacingRules;
use alcove_domain::{HostBound, Quota, Resources, ServiceKeyHash};

use crate::credentials::{ConfiguredCredentials, CredentialsSource};
use crate::{
    AuditSettings, Draining, IdentityProvider, MailSender, OtlpSender, PasswordCost, RateLimits,
    SealingKeys, SsoWeb, TelemetrySettings, WebhookSender,
};

/// Where sandboxes are: what the API calls a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub id: String,
    pub name: String,
}

/// What organizations may have of snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// Snapshots of one organization, inactive and broken ones not counted. None is no limit.
    pub quota: Option<u64>,
    /// Bytes of one image, compressed and unpacked.
    pub max_bytes: u64,
    /// One that no sandbox was made of for so long is made inactive. None is never.
    pub unused: Option<Duration>,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            quota: None,
            max_bytes: 20 << 30,
            unused: Some(Duration::from_hours(14 * 24)),
        }
    }
}

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub region: Region,
    /// Name of the snapshot that a create without one gets.
    pub default_snapshot: String,
    /// Sizes of snapshots that are made from the runner's images.
    pub default_resources: Resources,
    /// Limits of organizations that have none of their own.
    pub default_quota: Quota,
    /// What the server's host may promise to sandboxes and volumes of all organizations together.
    pub host_bound: HostBound,
    pub snapshots: SnapshotLimits,
    /// Whom registries know.
    pub credentials: Arc<dyn CredentialsSource>,
    /// The size that new volumes never grow beyond, in bytes.
    pub volume_bytes: u64,
    /// Volumes that an organization may have that has no number of its own.
    pub volume_quota: u64,
    /// Whether tokens for SSH are given out: something must take them.
    pub has_ssh: bool,
    /// What sandboxes that are made ahead of need may take of the host's memory, in bytes; 0 makes none.
    pub warm_pool_bytes: u64,
    /// Processes and threads that one sandbox may have.
    pub pids_per_sandbox: u32,
    /// How long create, start and stop hold the call for the state that was asked for.
    pub settle_wait: Duration,
    /// How long a create that names an image instead of a snapshot holds the call while the image is pulled.
    pub image_wait: Duration,
    /// Between the polite signal and the kill when a sandbox stops.
    pub stop_grace: Duration,
    /// Longest time that one order may take before the sandbox is called broken.
    pub order_timeout: Duration,
    /// The same for orders that go through a whole disk: archive and restore, resize, snapshot, fork.
    pub work_timeout: Duration,
    /// How often activity is written down, and how often the inventory is compared as a safety net.
    pub activity_flush: Duration,
    pub safety_net: Duration,
    /// Whether a visitor of a port who shows a credential starts a stopped sandbox.
    pub visitors_start: bool,
    /// Seals what the store keeps of other people's passwords. Without one, none are taken.
    pub sealing_key: Option<SealingKeys>,
    pub password_cost: PasswordCost,
    /// Whose tokens let people in, beside keys and passwords.
    pub identity_provider: Option<IdentityProvider>,
    /// Asks the identity providers that organizations name. Without one, they name none.
    pub sso: Option<Arc<dyn SsoWeb>>,
    /// Sends webhooks. Without one, there are none.
    pub webhooks: Option<Arc<dyn WebhookSender>>,
    /// Sends mail. Without one, there is none.
    pub mail: Option<Arc<dyn MailSender>>,
    /// What is kept of sandboxes' telemetry, and where. Without it, nothing.
    pub telemetry: Option<TelemetrySettings>,
    /// Sends telemetry on to the endpoints of organizations. Without it, none is sent.
    pub otlp: Option<Arc<dyn OtlpSender>>,
    /// How many requests are taken of whom. What is not in here has no limit.
    pub rate_limits: RateLimits,
    pub audit: AuditSettings,
    /// What a host that is drained does with what is on it.
    pub draining: Draining,
    /// Which runner outside of the server takes a sandbox.
    pub placing: PlacingRules,
    /// What a proxy comes with that stands before the whole server and is no part of it. Without one there is none.
    pub proxy_key: Option<ServiceKeyHash>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: Region {
                id: "us".to_owned(),
                name: "us".to_owned(),
            },
            default_snapshot: "default".to_owned(),
            default_resources: Resources::DEFAULT,
            default_quota: Quota::default(),
            host_bound: HostBound::default(),
            snapshots: SnapshotLimits::default(),
            credentials: Arc::new(ConfiguredCredentials::default()),
            volume_bytes: 10 << 30,
            volume_quota: 100,
            has_ssh: false,
            warm_pool_bytes: 0,
            pids_per_sandbox: 4096,
            settle_wait: Duration::from_secs(30),
            image_wait: Duration::from_mins(5),
            stop_grace: Duration::from_secs(10),
            order_timeout: Duration::from_mins(5),
            work_timeout: Duration::from_hours(1),
            activity_flush: Duration::from_secs(10),
            safety_net: Duration::from_mins(1),
            visitors_start: false,
            sealing_key: None,
            password_cost: PasswordCost::default(),
            identity_provider: None,
            sso: None,
            webhooks: None,
            mail: None,
            telemetry: None,
            otlp: None,
            rate_limits: RateLimits::new(),
            audit: AuditSettings::default(),
            draining: Draining::default(),
            placing: PlacingRules::default(),
            proxy_key: None,
        }
    }
}
