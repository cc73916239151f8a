//! Runners in processes of their own, while they are there.
//!
//! Such a runner comes to the server and is asked from then on, as the built-in one is. What is known of the connection is
//! in memory alone: a sandbox names its runner in its row, and one whose runner is away waits for it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use alcove_domain::{
    Capabilities, Capability, Capacity, Heartbeat, Load, Placing, Reason, Resources, Runner,
    RunnerAddress, RunnerId, Sandbox, Usage,
};
use alcove_runner_api::{HostStatus, ImageEntry, OrderError};
use tokio::sync::watch;

use super::Fleet;
use crate::shared::Shared;
use crate::{Error, RunnerClient, reconcile};

/// How often a runner that is there is asked how it is. Well below [`alcove_domain::runner::SILENCE`].
const BEAT: Duration = Duration::from_secs(20);
/// What is said of a runner that is not there.
const AWAY: &str = "its connection to the server is over";

/// A runner that can be asked.
#[derive(Clone)]
pub(crate) struct Host {
    /// None for the one that is part of the server.
    pub id: Option<RunnerId>,
    pub client: Arc<dyn RunnerClient>,
}

impl Host {
    /// Whether a sandbox is on it. A runner is the host of whoever registered it, so nothing that it says of others counts.
    pub fn holds(&self, sandbox: &Sandbox) -> bool {
        sandbox.runner == self.id
    }
}

#[derive(Default)]
pub(crate) struct Joined {
    links: RwLock<BTreeMap<RunnerId, Link>>,
    last: AtomicU64,
    changed: watch::Sender<()>,
}

#[derive(Clone)]
struct Link {
    /// Which connection it is: a newer one takes the place of an older.
    number: u64,
    client: Arc<dyn RunnerClient>,
    images: Arc<[ImageEntry]>,
    /// Whether it has said how it is. Before that nothing is placed on it.
    is_heard: bool,
}

impl Joined {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<RunnerId, Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<RunnerId, Link>) -> T) -> T {
        let changed = change(&mut self.links.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        changed
    }

    fn link(&self, id: &RunnerId, client: Arc<dyn RunnerClient>) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Link {
            number,
            client,
            images: Arc::default(),
            is_heard: false,
        };
        self.change(|links| links.insert(id.clone(), link));
        number
    }

    /// False if a newer connection had taken its place.
    fn unlink(&self, id: &RunnerId, number: u64) -> bool {
        self.change(|links| {
            let is_ours = links.get(id).is_some_and(|link| link.number == number);
            if is_ours {
                links.remove(id);
            }
            is_ours
        })
    }

    /// Resolves when a newer connection has taken its place.
    async fn replaced(&self, id: &RunnerId, number: u64) {
        let mut changed = self.changed.subscribe();
        while self
            .read()
            .get(id)
            .is_some_and(|link| link.number == number)
        {
            // The sender lives in `self`.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Resolves when a runner that is away has come; never for one that is there, nor for the server's own.
    pub async fn comes(&self, id: Option<&RunnerId>) {
        let mut changed = self.changed.subscribe();
        let away = id.filter(|id| !self.is_linked(id));
        while let Some(id) = away {
            // The sender lives in `self`.
            if changed.changed().await.is_err() || self.is_linked(id) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    fn note_images(&self, id: &RunnerId, number: u64, images: Vec<ImageEntry>) {
        self.change(|links| {
            if let Some(link) = links.get_mut(id).filter(|link| link.number == number) {
                link.images = images.into();
            }
        });
    }

    fn note_heard(&self, id: &RunnerId, number: u64) {
        self.change(|links| {
            if let Some(link) = links.get_mut(id).filter(|link| link.number == number) {
                link.is_heard = true;
            }
        });
    }

    /// Whether it is there, and has said how it is.
    pub fn is_linked(&self, id: &RunnerId) -> bool {
        self.read().get(id).is_some_and(|link| link.is_heard)
    }

    /// Whether it has an image, by its digest or the name that it has there.
    pub fn has_image(&self, id: &RunnerId, image: &str) -> bool {
        let is_it = |found: &ImageEntry| found.digest.0 == image || found.name == image;
        let links = self.read();
        let link = links.get(id);
        link.is_some_and(|link| link.images.iter().any(is_it))
    }

    fn image_count(&self, id: &RunnerId) -> usize {
        self.read().get(id).map_or(0, |link| link.images.len())
    }

    /// An image has come to it since it was asked.
    pub fn add_image(&self, id: &RunnerId, image: ImageEntry) {
        self.change(|links| {
            if let Some(link) = links.get_mut(id) {
                let mut images = link.images.to_vec();
                images.retain(|other| other.name != image.name);
                images.push(image);
                link.images = images.into();
            }
        });
    }
}

impl Fleet {
    /// The row of the runner that a sandbox is on.
    pub fn runner_of(&self, sandbox: &Sandbox) -> Option<Arc<Runner>> {
        match &sandbox.runner {
            Some(id) => self.read().runners.get(id).cloned(),
            None => self.built_in(),
        }
    }

    pub fn is_known(&self, id: &RunnerId) -> bool {
        self.read().runners.contains_key(id)
    }
}

impl Shared {
    pub fn own_host(&self) -> Host {
        Host {
            id: None,
            client: Arc::clone(&self.runner),
        }
    }

    /// The runner that a sandbox is on, if it is there.
    pub fn host_of(&self, sandbox: &Sandbox) -> Option<Arc<dyn RunnerClient>> {
        match &sandbox.runner {
            None => Some(Arc::clone(&self.runner)),
            Some(id) => {
                let links = self.fleet.joined.read();
                links.get(id).map(|link| Arc::clone(&link.client))
            }
        }
    }

    /// The same by id. What is in no directory is on the server's own, if anywhere.
    pub fn host_of_id(&self, sandbox: &alcove_domain::SandboxId) -> Option<Arc<dyn RunnerClient>> {
        match self.directory.get(sandbox) {
            Some(entry) => self.host_of(&entry.sandbox()),
            None => Some(Arc::clone(&self.runner)),
        }
    }

    /// All runners that can be asked now.
    pub fn hosts(&self) -> Vec<Host> {
        let links = self.fleet.joined.read();
        let joined = links.iter().map(|(id, link)| Host {
            id: Some(id.clone()),
            client: Arc::clone(&link.client),
        });
        std::iter::once(self.own_host()).chain(joined).collect()
    }

    /// Images that sandboxes on a runner are of.
    pub fn images_on(&self, id: &RunnerId) -> impl Iterator<Item = String> {
        let on_it = self.sandboxes_on(id);
        on_it.map(|entry| entry.sandbox().image.clone())
    }

    /// What sandboxes on a runner were promised, and how many of them compute.
    pub fn promised_on(&self, id: &RunnerId) -> (Resources, u64) {
        let (mut sum, mut started) = (Usage::default(), 0);
        for entry in self.sandboxes_on(id) {
            let usage = Usage::of(&entry.sandbox());
            started += u64::from(usage.cpu_cores > 0);
            sum = sum.plus(&usage);
        }
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let promised = Resources {
            cpu_cores: small(sum.cpu_cores),
            memory_gib: small(sum.memory_gib),
            disk_gib: small(sum.disk_gib),
            gpu: small(sum.gpu),
        };
        (promised, started)
    }

    /// Whether a data folder may join with the key of a runner, and notes that it does.
    ///
    /// # Errors
    /// [`Error::Conflict`] while sandboxes of the runner are in another data folder: what is there would be lost.
    pub async fn admit_runner(&self, id: &RunnerId, instance: &str) -> Result<(), Error> {
        let known = self.fleet.read().runners.get(id).cloned();
        let known = known.ok_or_else(Error::bad_credentials)?;
        if known.is_built_in {
            return Err(Error::bad_credentials());
        }
        if known.instance.as_deref() == Some(instance) {
            return Ok(());
        }
        let has_other = known.instance.is_some();
        let is_there = self.fleet.joined.is_linked(id);
        if has_other && (is_there || self.sandboxes_on(id).next().is_some()) {
            return Err(Error::conflict(
                "RUNNER_IS_ELSEWHERE",
                format!(
                    "Runner {} has another data folder, with sandboxes in it or in use now; start it from there",
                    known.name
                ),
            ));
        }
        self.change_runner(id, |runner| runner.instance = Some(instance.to_owned()))
            .await?;
        Ok(())
    }

    /// Works with a runner that has come, until its connection is over, another takes its place, or it is deleted.
    pub async fn attend_runner(
        self: &Arc<Self>,
        id: &RunnerId,
        client: Arc<dyn RunnerClient>,
        ended: impl Future<Output = ()> + Send,
    ) {
        let number = self.fleet.joined.link(id, Arc::clone(&client));
        let host = Host {
            id: Some(id.clone()),
            client,
        };
        let mut ended = pin!(ended);
        let is_heard = tokio::select! {
            heard = self.look_at_joined(&host, number) => heard,
            () = &mut ended => false,
        };
        if is_heard {
            tracing::info!(runner.id = %id, "a runner has come");
            self.warm.note_change();
            tokio::select! {
                () = ended => {}
                () = self.cancelled() => {}
                () = self.fleet.joined.replaced(id, number) => {}
                () = self.runner_gone(id) => {}
                () = reconcile::listen_to(self, &host) => {}
                () = self.keep_looking(&host, number) => {}
            }
        }
        if self.fleet.joined.unlink(id, number) {
            tracing::warn!(runner.id = %id, "a runner has gone; its sandboxes run on without the server");
            let away = |runner: &mut Runner| runner.fault = Some(AWAY.to_owned());
            // Where it was deleted there is nothing to write to.
            if self.fleet.is_known(id)
                && let Err(error) = self.change_runner(id, away).await
            {
                tracing::error!(%error, "cannot write that a runner has gone");
            }
        }
    }

    /// Ends when it does not answer.
    async fn keep_looking(&self, host: &Host, number: u64) {
        loop {
            self.clock.sleep(BEAT).await;
            if !self.look_at_joined(host, number).await {
                return;
            }
        }
    }

    /// Asks a runner how it is and which images it has, and notes that.
    async fn look_at_joined(&self, host: &Host, number: u64) -> bool {
        let Some(id) = &host.id else { return false };
        let seen = async {
            let status = host.client.host_status().await?;
            Ok::<_, OrderError>((status, host.client.images().await?))
        };
        let (status, images) = match seen.await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(runner.id = %id, %error, "a runner does not say how it is");
                return false;
            }
        };
        self.fleet.joined.note_images(id, number, images);
        let beat = Heartbeat {
            app_version: status.version.clone(),
            address: RunnerAddress::default(),
            report: Some((capacity_of(&status), load_of(&status))),
            gpu_type: None,
            capabilities: capabilities_of(&status).map(Capabilities::outside_of_server),
            fault: None,
        };
        match self.take_heartbeat(id, &beat).await {
            Ok(()) => {
                self.fleet.joined.note_heard(id, number);
                true
            }
            Err(error) => {
                tracing::error!(runner.id = %id, %error, "cannot write how a runner is");
                false
            }
        }
    }

    /// What a runner that is there does, with what was promised on it.
    pub(super) fn load_of_joined(&self, id: &RunnerId) -> Option<Load> {
        let load = self.fleet.read().loads.get(id).copied()?;
        if !self.fleet.joined.is_linked(id) {
            return Some(load);
        }
        let (promised, started) = self.promised_on(id);
        Some(Load {
            allocated_cpu: f64::from(promised.cpu_cores),
            allocated_memory_gib: f64::from(promised.memory_gib),
            allocated_disk_gib: f64::from(promised.disk_gib),
            snapshots: self.fleet.joined.image_count(id) as u64,
            started_sandboxes: started,
            ..load
        })
    }

    /// # Errors
    /// [`Error::Invalid`] while the runner of a sandbox is closed to this.
    pub fn check_placing_of(&self, sandbox: &Sandbox, placing: Placing) -> Result<(), Error> {
        let runner = self.fleet.runner_of(sandbox);
        if runner.is_none_or(|runner| runner.lets(placing)) {
            return Ok(());
        }
        Err(super::closed(placing))
    }

    /// # Errors
    /// [`Error::Unprocessable`] if the host of a sandbox cannot do this.
    pub fn check_can(&self, sandbox: &Sandbox, capability: Capability) -> Result<(), Error> {
        match self.fleet.runner_of(sandbox) {
            Some(runner) if !runner.can(capability) => {
                Err(Error::refused(vec![Reason::unsupported(format!(
                    "{} cannot be had on the runner of this sandbox, {}",
                    capability.in_words(),
                    runner.name
                ))]))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn capacity_of(status: &HostStatus) -> Capacity {
    Capacity {
        cpu_millis: u64::from(status.cpu_cores) * 1000,
        memory_mib: status.memory_bytes >> 20,
        disk_mib: status.disk_bytes >> 20,
        gpu: 0,
    }
}

pub(super) fn load_of(status: &HostStatus) -> Load {
    Load {
        load_average: status.load_average,
        cpu_percent: status.cpu_used_percent,
        memory_percent: status.memory_used_percent,
        disk_percent: status.disk_used_percent,
        ..Load::default()
    }
}

pub(super) fn capabilities_of(status: &HostStatus) -> Option<Capabilities> {
    let said = status.capabilities.as_ref()?;
    Some(Capabilities {
        architecture: said.architecture.clone(),
        can: said.can.clone(),
    })
}
