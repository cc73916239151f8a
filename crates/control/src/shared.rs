//! What all parts of the control plane hold together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_store::{Deed, OwnerId, Store, acting};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::AuditQueue;
use crate::auth::KeyCache;
use crate::device::Devices;
use crate::directory::Directory;
use crate::event::EventHub;
use crate::fleet::Fleet;
use crate::forward::Forwarding;
use crate::images::ImageKeeper;
use crate::mail::MailWork;
use crate::network::LimitedEgress;
use crate::oidc::issuer::Issuer;
use crate::oidc::sso::SsoWork;
use crate::organizations::Closing;
use crate::otel::KnownSettings;
use crate::passwords::Passwords;
use crate::preview::EndedLabels;
use crate::probe::{Probe, Step};
use crate::rate_limits::{Counters, OwnLimits};
use crate::services::ServiceCredentials;
use crate::sessions::SessionTurns;
use crate::snapshots::{SnapshotCache, SnapshotDrivers};
use crate::ssh::SshSessions;
use crate::suspension::Suspended;
use crate::telemetry::TelemetryWork;
use crate::timers::Timers;
use crate::token::TokenKey;
use crate::volumes::VolumeWork;
use crate::warm::WarmKeeper;
use crate::webhooks::WebhookWork;
use crate::{Clock, Error, Rng, RunnerClient, Settings};

pub(crate) struct Shared {
    pub store: Store,
    pub runner: Arc<dyn RunnerClient>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub settings: Settings,
    /// This run of the process, as the holder of leases.
    pub owner: OwnerId,
    pub opened_at: Timestamp,
    pub devices: Devices,
    pub directory: Directory,
    pub audit: AuditQueue,
    pub keys: KeyCache,
    pub passwords: Passwords,
    pub issuer: Option<Issuer>,
    pub sso: SsoWork,
    pub snapshots: SnapshotCache,
    pub snapshot_drivers: SnapshotDrivers,
    pub images: ImageKeeper,
    pub volumes: VolumeWork,
    pub ended_labels: EndedLabels,
    pub ssh_sessions: SshSessions,
    pub services: ServiceCredentials,
    pub session_turns: SessionTurns,
    pub rate_counters: Counters,
    pub own_rate_limits: OwnLimits,
    pub warm: WarmKeeper,
    pub webhooks: WebhookWork,
    pub mail: MailWork,
    pub telemetry: TelemetryWork,
    pub forwarding: Forwarding,
    pub known_settings: KnownSettings,
    pub limited_egress: LimitedEgress,
    pub suspended: Suspended,
    pub closing: Closing,
    pub fleet: Fleet,
    pub events: EventHub,
    pub timers: Timers,
    pub secrets: Secrets,
    pub runner_answers: AtomicBool,
    probe: Option<Arc<dyn Probe>>,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

/// What the server signs its own words with. Kept in the store, so that they outlive a restart.
pub(crate) struct Secrets {
    /// List cursors.
    pub cursors: [u8; 32],
    /// Credentials of the object storage.
    pub object_storage: TokenKey,
    /// What clients log in to the registry with.
    pub registry: TokenKey,
    /// What lets visitors of ports in.
    pub previews: TokenKey,
    /// What tries to sign in are counted by.
    pub sign_in: [u8; 32],
    /// What lets the page of webhooks manage them.
    pub webhooks: TokenKey,
    /// What links of invitations come from.
    pub invitations: TokenKey,
}

/// What [`Shared`] is made of besides what it makes itself.
pub(crate) struct Parts {
    pub store: Store,
    pub runner: Arc<dyn RunnerClient>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub settings: Settings,
    pub probe: Option<Arc<dyn Probe>>,
}

impl Shared {
    pub fn new(parts: Parts, secrets: Secrets) -> Self {
        let mut owner = [0; 16];
        parts.rng.fill(&mut owner);
        Self {
            owner: OwnerId(hex::encode(owner)),
            opened_at: parts.clock.now(),
            store: parts.store,
            runner: parts.runner,
            clock: parts.clock,
            rng: parts.rng,
            devices: Devices::default(),
            directory: Directory::default(),
            audit: AuditQueue::default(),
            keys: KeyCache::default(),
            passwords: Passwords::new(parts.settings.password_cost),
            issuer: parts.settings.identity_provider.clone().map(Issuer::new),
            sso: SsoWork::default(),
            settings: parts.settings,
            snapshots: SnapshotCache::default(),
            snapshot_drivers: SnapshotDrivers::default(),
            images: ImageKeeper::default(),
            volumes: VolumeWork::default(),
            ended_labels: EndedLabels::default(),
            ssh_sessions: SshSessions::default(),
            services: ServiceCredentials::default(),
            session_turns: SessionTurns::default(),
            rate_counters: Counters::default(),
            own_rate_limits: OwnLimits::default(),
            warm: WarmKeeper::default(),
            webhooks: WebhookWork::default(),
            mail: MailWork::default(),
            telemetry: TelemetryWork::default(),
            forwarding: Forwarding::default(),
            known_settings: KnownSettings::default(),
            limited_egress: LimitedEgress::default(),
            suspended: Suspended::default(),
            closing: Closing::default(),
            fleet: Fleet::default(),
            events: EventHub::default(),
            timers: Timers::default(),
            secrets,
            runner_answers: AtomicBool::new(false),
            probe: parts.probe,
            cancel: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }
    }

    /// Runs a task until it ends or the control plane does; the latter may be at any `await` of it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            cancel.run_until_cancelled(task).await;
        });
    }

    /// Runs what must not stop halfway because its caller went away, and waits for it.
    pub async fn finish<T: Send + 'static>(
        &self,
        doing: &'static str,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let cancel = self.cancel.clone();
        let task = acting(Deed::current(), task);
        let handle = self
            .tracker
            .spawn(async move { cancel.run_until_cancelled(task).await });
        match handle.await {
            Ok(Some(result)) => result,
            Ok(None) => Err(Error::shutting_down()),
            Err(error) => Err(Error::Internal {
                doing,
                cause: Some(Box::new(error)),
            }),
        }
    }

    /// As [`Shared::finish`], for what needs all that is shared: what is written down and then noted in memory.
    pub async fn finish_shared<T: Send + 'static, W>(
        self: &Arc<Self>,
        doing: &'static str,
        task: impl FnOnce(Arc<Self>) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.finish(doing, task(Arc::clone(self))).await
    }

    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Ends all tasks once a commit is in doubt: what is in memory may not be what is written, and nobody may act on it.
    pub async fn end_in_doubt(self: Arc<Self>) {
        self.store.in_doubt().await;
        self.cancel();
    }

    /// Resolves when the control plane ends.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Waits until no task is left. Only after [`Shared::cancel`].
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    pub async fn reached(&self, step: Step) {
        if let Some(probe) = &self.probe {
            probe.reached(step).await;
        }
    }

    pub fn note_runner(&self, answers: bool) {
        if self.runner_answers.swap(answers, Ordering::Relaxed) != answers {
            if answers {
                tracing::info!("the runner answers");
            } else {
                tracing::warn!("the runner does not answer");
            }
        }
    }
}

/// The guard of a lock whose holder may have panicked: what we keep under locks is never half-written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
