//! The one door to the use-cases.

mod activity;
mod administration;
mod audit;
mod builds;
mod device;
pub(crate) mod drive;
mod identity_provider;
mod invitation;
mod key;
mod life;
mod member;
mod new_session;
mod object_storage;
mod organization;
mod otel;
mod preview;
mod quota;
mod rate_limit;
mod region;
mod registries;
mod role;
mod runner;
pub(crate) mod sealing;
mod service;
mod session;
mod sign_in;
mod snapshot;
mod ssh;
mod statistics;
mod telemetry;
mod user;
mod vault;
mod volume;
mod warm_pool;
mod webhook;

pub use activity::{ActivityKind, ActivityList, ActivityQuery};
pub use administration::{ListAllSandboxes, ListOrganizations};
pub use audit::{AUDIT_PAGE_MAX, AuditExport, AuditList, AuditQuery, WrittenAudit};
pub use invitation::InvitationView;
pub use member::MemberView;
pub use quota::ListUsage;
pub use statistics::Statistics;
pub use telemetry::{ListLogs, TelemetryRange, TraceSummary};
pub use webhook::{CreatedEndpoint, Replay, WebhookManager, WebhookStatus};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alcove_domain::{
    ApiKey, CursorPage, NetworkSettings, NewSandbox, OffsetPage, Organization, OrganizationId,
    Sandbox, SandboxId, SandboxState, User,
};
use alcove_store::Store;

use crate::network;
use crate::own_secret::OwnSecrets;
use crate::sandboxes::{self, Interval};
use crate::shared::{Parts, Secrets, Shared};
use crate::sign_in::session::OrganizationChoice;
use crate::suspension;
use crate::token::TokenKey;
use crate::{
    Caller, Clock, Error, EventStream, ListSandboxes, PageSandboxes, Probe, ResumedEvents, Rng,
    RunnerClient, Settings, TrafficVisitor, event, fleet, images, reconcile, timers, warm,
    webhooks,
};

/// Name of the secret that signs list cursors.
const CURSOR_SECRET: &str = "cursor";
/// Name of the secret that credentials of the object storage come from.
const OBJECT_STORAGE_SECRET: &str = "object-storage";
/// Name of the secret that signs what clients log in to the registry with.
const REGISTRY_SECRET: &str = "registry";
/// Name of the secret that signs tokens for the page of webhooks.
const WEBHOOK_SECRET: &str = "webhooks";
/// Name of the secret that tokens of previews come from.
const PREVIEW_SECRET: &str = "preview";
/// Name of the secret that links of invitations come from.
const INVITATION_SECRET: &str = "invitations";
/// Name of the secret that tries to sign in are counted by.
const SIGN_IN_SECRET: &str = "sign-in";

/// The control plane. Clones are cheap and are the same one; its tasks end when the last is dropped.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
    _guard: Arc<Guard>,
}

/// Ends the tasks, which hold [`Shared`] themselves.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// What the first start made.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub organization: OrganizationId,
    /// Whether this call made the administrator, as opposed to finding one.
    pub is_first: bool,
}

/// Which parts answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    pub store: bool,
    pub runner: bool,
}

/// Where a toolbox request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolboxTarget {
    pub sandbox: SandboxId,
    /// Grows with each start: connections made under an older one are of no use.
    pub generation: u64,
    pub state: SandboxState,
    /// Who is let in.
    pub visitor: TrafficVisitor,
}

impl Control {
    /// Opens the control plane: takes up what an earlier process left unfinished, compares with the
    /// runner's inventory, registers the runner's images as snapshots and starts the timers. A runner
    /// that does not answer yet is asked again in the background.
    pub async fn open(
        store: Store,
        runner: Arc<dyn RunnerClient>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        settings: Settings,
    ) -> Result<Self, Error> {
        Self::open_parts(Parts {
            store,
            runner,
            clock,
            rng,
            settings,
            probe: None,
        })
        .await
    }

    /// Like [`Control::open`], with a probe that can hold it at each step. For tests.
    pub async fn open_probed(
        store: Store,
        runner: Arc<dyn RunnerClient>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        settings: Settings,
        probe: Arc<dyn Probe>,
    ) -> Result<Self, Error> {
        Self::open_parts(Parts {
            store,
            runner,
            clock,
            rng,
            settings,
            probe: Some(probe),
        })
        .await
    }

    async fn open_parts(parts: Parts) -> Result<Self, Error> {
        let written = parts.store.reader().outbox_last_at().await;
        let written = written.map_err(|error| Error::store("looking for the last event", error))?;
        if let Some(written) = written {
            parts.clock.not_before(written);
        }
        let own = OwnSecrets::of(&parts);
        let secrets = Secrets {
            cursors: own.get(CURSOR_SECRET).await?,
            object_storage: TokenKey::new(own.get(OBJECT_STORAGE_SECRET).await?),
            registry: TokenKey::new(own.get(REGISTRY_SECRET).await?),
            previews: TokenKey::new(own.get(PREVIEW_SECRET).await?),
            sign_in: own.get(SIGN_IN_SECRET).await?,
            webhooks: TokenKey::new(own.get(WEBHOOK_SECRET).await?),
            invitations: TokenKey::new(own.get(INVITATION_SECRET).await?),
        };
        let shared = Arc::new(Shared::new(parts, secrets));
        let control = Self {
            _guard: Arc::new(Guard(Arc::clone(&shared))),
            shared: Arc::clone(&shared),
        };
        shared.spawn(Arc::clone(&shared).end_in_doubt());
        shared.spawn(event::publish(Arc::clone(&shared)));
        fleet::load(&shared).await?;
        reconcile::load(&shared).await?;
        crate::preview::load(&shared).await?;
        network::load(&shared).await?;
        suspension::load(&shared).await?;
        crate::services::load(&shared).await?;
        crate::device::load(&shared).await?;
        crate::otel::load(&shared).await?;
        crate::oidc::sso::load(&shared).await?;
        rate_limit::load(&shared).await?;
        webhooks::load(&shared).await?;
        // So that the default snapshot is there and what died is known. `listen` does it again, to miss nothing in between.
        if let Err(error) = reconcile::compare(&shared).await {
            tracing::warn!(%error, "the runner does not answer yet");
        }
        shared.spawn(reconcile::listen(Arc::clone(&shared)));
        shared.spawn(reconcile::safety_net(Arc::clone(&shared)));
        shared.spawn(reconcile::write_activity(Arc::clone(&shared)));
        crate::audit::start(&shared);
        shared.spawn(timers::run(Arc::clone(&shared)));
        shared.spawn(fleet::keep(Arc::clone(&shared)));
        shared.spawn(crate::snapshots::retention::run(Arc::clone(&shared)));
        shared.spawn(crate::sealing::run(Arc::clone(&shared)));
        shared.spawn(images::keep(Arc::clone(&shared)));
        crate::telemetry::start(&shared);
        if let Some(sender) = &shared.settings.mail {
            shared.spawn(crate::mail::run(Arc::clone(&shared), Arc::clone(sender)));
        }
        if shared.settings.warm_pool_bytes > 0 {
            shared.spawn(warm::keep(Arc::clone(&shared)));
        }
        Ok(control)
    }

    /// Makes the administrator, a personal organization and an API key with this text, unless they
    /// exist. A changed key replaces the old bootstrap key.
    pub async fn bootstrap(&self, admin_key: &str) -> Result<Bootstrap, Error> {
        self.shared.bootstrap(admin_key).await
    }

    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Writes down what is only in memory, ends all tasks at their next step and waits for them. Orders
    /// under way stay open and are taken up by the next process.
    pub async fn shutdown(&self) {
        if let Err(error) = reconcile::flush_activity(&self.shared).await {
            tracing::error!(%error, "the last activity of sandboxes is lost");
        }
        if self.shared.settings.telemetry.is_some() {
            crate::telemetry::flush(&self.shared).await;
            crate::forward::flush(&self.shared).await;
        }
        crate::audit::gather(&self.shared).await;
        if let Err(error) = crate::audit::flush(&self.shared).await {
            tracing::error!(%error, "the last rows of the audit log are lost");
        }
        self.abandon().await;
    }

    /// Ends all tasks wherever they are, as a kill would, and waits until none is left.
    pub async fn abandon(&self) {
        self.shared.cancel();
        self.shared.join().await;
    }

    pub async fn readiness(&self) -> Readiness {
        Readiness {
            store: self.shared.store.ping().await,
            runner: self.shared.runner_answers.load(Ordering::Relaxed),
        }
    }

    /// # Errors
    /// [`Error::Unauthenticated`] for anything but a key that is known and not expired, or a token of the identity provider
    /// that holds now.
    pub async fn authenticate(&self, bearer: &str) -> Result<Caller, Error> {
        self.authenticate_in(bearer, OrganizationChoice::default())
            .await
    }

    /// The same in the organization that was chosen. A key is for one, whatever that is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an organization that the user of a token is no member of.
    pub async fn authenticate_in(
        &self,
        bearer: &str,
        choice: OrganizationChoice<'_>,
    ) -> Result<Caller, Error> {
        self.shared.authenticate(bearer, choice).await
    }

    /// The key that the caller came with.
    pub async fn current_api_key(&self, caller: &Caller) -> Result<ApiKey, Error> {
        self.shared.current_api_key(caller).await
    }

    pub async fn current_user(&self, caller: &Caller) -> Result<User, Error> {
        self.shared.current_user(caller).await
    }

    /// When the server was set up, and its region with it.
    pub async fn set_up_at(&self) -> Result<jiff::Timestamp, Error> {
        self.shared.set_up_at().await
    }

    pub async fn current_organization(&self, caller: &Caller) -> Result<Organization, Error> {
        self.shared.current_organization(caller).await
    }

    /// Makes a sandbox and waits for it to run. After the wait the sandbox is given as it is then, whether it runs or not.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the sandbox's id if it could not be started: it is there, in `error`.
    pub async fn create_sandbox(
        &self,
        caller: &Caller,
        request: NewSandbox,
    ) -> Result<Arc<Sandbox>, Error> {
        let sandbox = sandboxes::create(&self.shared, caller, request).await;
        self.events_told().await;
        sandbox
    }

    #[expect(
        clippy::unused_async,
        reason = "callers must not learn that it is answered from memory"
    )]
    pub async fn get_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        sandboxes::find(&self.shared, caller, id_or_name).map(|entry| entry.current())
    }

    pub async fn list_sandboxes(
        &self,
        caller: &Caller,
        list: ListSandboxes,
    ) -> Result<CursorPage<Sandbox>, Error> {
        self.shared.list_sandboxes(&caller.organization, list).await
    }

    pub async fn list_sandboxes_page(
        &self,
        caller: &Caller,
        list: PageSandboxes,
    ) -> Result<OffsetPage<Sandbox>, Error> {
        self.shared
            .list_sandboxes_page(&caller.organization, list)
            .await
    }

    /// Taken in every state, and again while it is going. The name is free as soon as this answers.
    pub async fn delete_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        let sandbox = sandboxes::delete(&self.shared, caller, id_or_name).await;
        self.events_told().await;
        sandbox
    }

    /// Starts it and waits for it to run, as creating does. One that runs stays as it is.
    pub async fn start_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        let sandbox = sandboxes::start(&self.shared, caller, id_or_name).await;
        self.events_told().await;
        sandbox
    }

    /// Stops it and waits for the stop; an ephemeral one is deleted, without waiting.
    pub async fn stop_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
        force: bool,
    ) -> Result<Arc<Sandbox>, Error> {
        let sandbox = sandboxes::stop(&self.shared, caller, id_or_name, force).await;
        self.events_told().await;
        sandbox
    }

    pub async fn replace_labels(
        &self,
        caller: &Caller,
        id_or_name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<Arc<Sandbox>, Error> {
        sandboxes::replace_labels(&self.shared, caller, id_or_name, labels).await
    }

    pub async fn set_auto_stop(
        &self,
        caller: &Caller,
        id_or_name: &str,
        minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        self.set_interval(caller, id_or_name, Interval::AutoStop, minutes)
            .await
    }

    /// Idle minutes until it is paused; 0 is never.
    pub async fn set_auto_pause(
        &self,
        caller: &Caller,
        id_or_name: &str,
        minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        self.set_interval(caller, id_or_name, Interval::AutoPause, minutes)
            .await
    }

    /// Stopped minutes until it is archived; 0 is the longest allowed.
    pub async fn set_auto_archive(
        &self,
        caller: &Caller,
        id_or_name: &str,
        minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        self.set_interval(caller, id_or_name, Interval::AutoArchive, minutes)
            .await
    }

    pub async fn set_auto_delete(
        &self,
        caller: &Caller,
        id_or_name: &str,
        minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        self.set_interval(caller, id_or_name, Interval::AutoDelete, minutes)
            .await
    }

    pub async fn set_ttl(
        &self,
        caller: &Caller,
        id_or_name: &str,
        minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        self.set_interval(caller, id_or_name, Interval::Ttl, minutes)
            .await
    }

    async fn set_interval(
        &self,
        caller: &Caller,
        id_or_name: &str,
        which: Interval,
        minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        sandboxes::set_interval(&self.shared, caller, id_or_name, which, minutes).await
    }

    pub async fn set_public(
        &self,
        caller: &Caller,
        id_or_name: &str,
        is_public: bool,
    ) -> Result<Arc<Sandbox>, Error> {
        sandboxes::set_public(&self.shared, caller, id_or_name, is_public).await
    }

    /// Sets what a sandbox may reach, and waits until it is so. Where that takes too long, or fails, the sandbox says so.
    pub async fn set_network(
        &self,
        caller: &Caller,
        id_or_name: &str,
        settings: NetworkSettings,
    ) -> Result<Arc<Sandbox>, Error> {
        network::set(&self.shared, caller, id_or_name, settings).await
    }

    /// The URL of the sandbox's own proxy as it was written, for those who may read the sandbox.
    pub fn outbound_proxy_url(&self, sandbox: &Sandbox) -> Option<String> {
        let proxy = self.shared.open_proxy(sandbox)?;
        Some(proxy.as_written().to_owned())
    }

    /// Says whether what an organization's sandboxes send is marked for the host to limit, as the administrator of the
    /// server.
    pub async fn limit_egress(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        is_limited: bool,
    ) -> Result<(), Error> {
        network::limit_egress(&self.shared, caller, organization, is_limited).await
    }

    /// `POST …/last-activity`: the caller says that the sandbox is in use. Written down before it returns.
    pub async fn update_last_activity(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<(), Error> {
        let entry = sandboxes::find(&self.shared, caller, id_or_name)?;
        entry.note_activity(self.shared.clock.now());
        reconcile::flush_activity(&self.shared).await
    }

    /// Notes that a request went into the sandbox. Memory only; written down now and then.
    pub fn record_activity(&self, sandbox: &SandboxId) {
        if let Some(entry) = self.shared.directory.get(sandbox) {
            entry.note_activity(self.shared.clock.now());
        }
    }

    /// Answers come behind the events of what they answer.
    async fn events_told(&self) {
        self.shared.events.told(self.shared.clock.as_ref()).await;
    }

    /// Events of an organization from now on.
    pub fn subscribe_events(&self, organization: &OrganizationId) -> EventStream {
        let events = &self.shared.events;
        events.subscribe(&self.shared, organization.clone())
    }

    /// Events of an organization after the place of an earlier event, or from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if past events cannot be read.
    pub async fn resume_events(
        &self,
        organization: &OrganizationId,
        cursor: Option<i64>,
    ) -> Result<ResumedEvents, Error> {
        let events = &self.shared.events;
        let cursor = cursor.unwrap_or_else(|| events.last());
        events
            .resume(&self.shared, organization.clone(), cursor)
            .await
    }

    /// Waits until the key that a caller came with is good no more: it has expired, or there is none like it.
    ///
    /// What outlives the request that it was let in with ends with this.
    pub async fn key_ended(&self, caller: &Caller) {
        self.shared.key_ended(caller).await;
    }
}
