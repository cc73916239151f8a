//! Runners, as their organizations, the administrator and they themselves see them.

use std::sync::Arc;

use alcove_domain::runner::{RUNNERS_MAX, availability};
use alcove_domain::{
    Heartbeat, Load, NewRunner, OrganizationId, Permission, Reason, Runner, RunnerId, RunnerState,
    SandboxState,
};
use alcove_store::StoreError;

use super::joined::{capabilities_of, capacity_of, load_of};
use super::{Fleet, new_key, regions, service_key_hash};
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::{Caller, Error};

/// What keys of runners begin with.
const PREFIX: &str = "rnr_";

/// A runner, and what is known of it now.
#[derive(Debug, Clone)]
pub struct RunnerView {
    pub runner: Arc<Runner>,
    pub state: RunnerState,
    /// None if nothing was heard of that yet.
    pub load: Option<Load>,
    /// 0 to 100.
    pub score: Option<u32>,
}

/// A new runner with its key, which is shown this once.
#[derive(Debug)]
pub struct CreatedRunner {
    pub runner: Arc<Runner>,
    pub key: String,
}

impl Fleet {
    pub(super) fn count_runners(&self, region: &str) -> usize {
        let known = self.read();
        let there = known.runners.values();
        there.filter(|runner| runner.region == region).count()
    }

    pub(super) fn list(&self, is_told: impl Fn(&Runner) -> bool) -> Vec<Arc<Runner>> {
        let known = self.read();
        let mut found: Vec<_> = known
            .runners
            .values()
            .filter(|runner| is_told(runner))
            .cloned()
            .collect();
        found.sort_by_key(|runner| (runner.created_at, runner.id.clone()));
        found
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Runner>> {
        let id: RunnerId = id.parse().ok()?;
        self.read().runners.get(&id).cloned()
    }
}

impl Shared {
    /// Asks the host how it is.
    pub(super) async fn look_at_host(&self) -> Result<(), Error> {
        let unheard = |cause| Error::Unavailable {
            message: "The runner does not answer",
            retry_after: None,
            cause: Some(cause),
        };
        let status = self.runner.host_status().await;
        let status = status.map_err(|error| unheard(Box::new(error)))?;
        let Some(runner) = self.fleet.built_in() else {
            return Ok(());
        };
        let (capacity, capabilities) = (capacity_of(&status), capabilities_of(&status));
        let now = self.clock.now();
        let says = |runner: &mut Runner| {
            runner.capacity = capacity;
            runner.capabilities.clone_from(&capabilities);
            runner.app_version = Some(status.version.clone());
            runner.heard_at = Some(now);
        };
        let is_new = runner.app_version.as_ref() != Some(&status.version);
        if is_new || runner.capacity != capacity || runner.capabilities != capabilities {
            self.change_runner(&runner.id, &says).await?;
        }
        let load = load_of(&status);
        self.fleet.note(|known| {
            if let Some(runner) = known.runners.get_mut(&runner.id) {
                says(Arc::make_mut(runner));
            }
            known.loads.insert(runner.id.clone(), load);
        });
        Ok(())
    }

    /// The server's own runner as it is now: the host is asked, and the ledger.
    async fn view_built_in(&self, runner: Arc<Runner>) -> Result<RunnerView, Error> {
        let failed = |error| Error::store("reading the ledger", error);
        if let Err(error) = self.look_at_host().await {
            tracing::debug!(%error, "the runner does not say how the host is");
        }
        let runner = self.fleet.built_in().unwrap_or(runner);
        let load = self.fleet.read().loads.get(&runner.id).copied();
        let usage = self.store.reader().usage_of_region(&runner.region).await;
        let usage = usage.map_err(failed)?;
        // A runner that does not answer has none that could be used.
        let images = self.runner.images().await.unwrap_or_default();
        let entries = self.directory.entries().into_iter();
        let started = entries.filter(|entry| entry.sandbox().state() == SandboxState::Started);
        #[expect(clippy::cast_precision_loss, reason = "sizes of a host")]
        let load = load.map(|load| Load {
            allocated_cpu: usage.cpu_cores as f64,
            allocated_memory_gib: usage.memory_gib as f64,
            allocated_disk_gib: usage.disk_gib as f64,
            snapshots: images.len() as u64,
            started_sandboxes: started.count() as u64,
            ..load
        });
        Ok(self.viewed(runner, load))
    }

    fn viewed(&self, runner: Arc<Runner>, load: Option<Load>) -> RunnerView {
        RunnerView {
            state: runner.state_by_link(self.clock.now(), self.fleet.joined.is_linked(&runner.id)),
            score: load.map(|load| availability(&runner.capacity, &load)),
            load,
            runner,
        }
    }

    pub(super) async fn view_runner(&self, runner: Arc<Runner>) -> Result<RunnerView, Error> {
        if runner.is_built_in {
            return self.view_built_in(runner).await;
        }
        let load = self.load_of_joined(&runner.id);
        Ok(self.viewed(runner, load))
    }

    async fn view_runners(&self, runners: Vec<Arc<Runner>>) -> Result<Vec<RunnerView>, Error> {
        let mut views = Vec::with_capacity(runners.len());
        for runner in runners {
            views.push(self.view_runner(runner).await?);
        }
        Ok(views)
    }

    /// Those of the caller's organization, and for the administrator those of the server, which are nothing for its users.
    pub async fn list_runners(
        &self,
        caller: &Caller,
        region: Option<&str>,
    ) -> Result<Vec<RunnerView>, Error> {
        caller.require(Permission::ReadRunners)?;
        let is_admin = self.is_admin(caller).await?;
        let found = self.fleet.list(|runner| {
            is_told(caller, is_admin, runner) && region.is_none_or(|id| runner.region == id)
        });
        self.view_runners(found).await
    }

    /// Those of everybody.
    pub async fn list_all_runners(
        &self,
        caller: &Caller,
        region: Option<&str>,
    ) -> Result<Vec<RunnerView>, Error> {
        self.require_admin(caller).await?;
        let found = self
            .fleet
            .list(|runner| region.is_none_or(|id| runner.region == id));
        self.view_runners(found).await
    }

    async fn find_runner(&self, caller: &Caller, id: &str) -> Result<Arc<Runner>, Error> {
        let is_admin = self.is_admin(caller).await?;
        let found = self.fleet.get(id);
        found
            .filter(|runner| is_told(caller, is_admin, runner))
            .ok_or_else(|| not_found(id))
    }

    async fn find_any_runner(&self, caller: &Caller, id: &str) -> Result<Arc<Runner>, Error> {
        self.require_admin(caller).await?;
        self.fleet.get(id).ok_or_else(|| not_found(id))
    }

    pub async fn get_runner(&self, caller: &Caller, id: &str) -> Result<RunnerView, Error> {
        caller.require(Permission::ReadRunners)?;
        let runner = self.find_runner(caller, id).await?;
        self.view_runner(runner).await
    }

    pub async fn get_any_runner(&self, caller: &Caller, id: &str) -> Result<RunnerView, Error> {
        let runner = self.find_any_runner(caller, id).await?;
        self.view_runner(runner).await
    }

    /// Registers a runner in a region of the caller's organization.
    pub async fn create_runner(
        &self,
        caller: &Caller,
        request: NewRunner,
    ) -> Result<CreatedRunner, Error> {
        caller.require(Permission::WriteRunners)?;
        self.check_not_suspended(&caller.organization)?;
        if request.region == self.settings.region.id {
            return Err(Error::refused(vec![Reason::invalid(
                "Runners can be registered in regions of the organization only",
            )]));
        }
        let region = self.own_region(caller, &request.region)?;
        let org = Some(region.organization_id.clone());
        self.insert_runner(org, request).await
    }

    /// Registers a runner in any region, as the administrator of the server.
    pub async fn create_any_runner(
        &self,
        caller: &Caller,
        request: NewRunner,
    ) -> Result<CreatedRunner, Error> {
        self.require_admin(caller).await?;
        let org = if request.region == self.settings.region.id {
            None
        } else {
            let region = self.fleet.get_region(&request.region);
            let region = region.ok_or_else(|| regions::not_found(&request.region))?;
            Some(region.organization_id.clone())
        };
        self.insert_runner(org, request).await
    }

    async fn insert_runner(
        &self,
        org: Option<OrganizationId>,
        request: NewRunner,
    ) -> Result<CreatedRunner, Error> {
        let failed = |error| Error::store("registering a runner", error);
        request.check().map_err(Error::refused)?;
        let _writing = self.fleet.writing.lock().await;
        // It may have been deleted before our turn.
        if org.is_some() && self.fleet.get_region(&request.region).is_none() {
            return Err(regions::not_found(&request.region));
        }
        if self.fleet.count_runners(&request.region) >= RUNNERS_MAX {
            return Err(Error::QuotaExceeded {
                message: format!("Runner quota exceeded. Maximum allowed: {RUNNERS_MAX}"),
            });
        }
        let (key, hash) = match request.key {
            Some(key) => {
                let hash = service_key_hash(&key);
                (key, hash)
            }
            None => new_key(self, PREFIX),
        };
        let now = self.clock.now();
        let runner = Runner {
            id: RunnerId::from_uuid(uuid_v4(&*self.rng)),
            region: request.region,
            organization_id: org.clone(),
            name: request.name,
            is_built_in: false,
            key: Some(hash),
            tags: request.tags,
            address: request.address,
            is_unschedulable: false,
            is_draining: false,
            is_decommissioned: false,
            capacity: request.capacity,
            gpu_type: None,
            capabilities: None,
            app_version: None,
            fault: None,
            instance: None,
            heard_at: None,
            created_at: now,
            updated_at: now,
        };
        let tx = self.store.begin().await.map_err(failed)?;
        if let Some(org) = &org {
            tx.organization_hold(org).await.map_err(failed)?;
        }
        tx.runner_insert(&runner)
            .await
            .map_err(|error| match error {
                StoreError::NameTaken => Error::conflict(
                    "RUNNER_EXISTS",
                    format!(
                        "A runner with the name {} or this API key already exists",
                        runner.name
                    ),
                ),
                error => failed(error),
            })?;
        tx.commit().await.map_err(failed)?;
        let runner = Arc::new(runner);
        self.fleet.note(|known| {
            known.runners.insert(runner.id.clone(), Arc::clone(&runner));
        });
        Ok(CreatedRunner { runner, key })
    }

    /// Writes a change of a runner. Changes come one after the other.
    pub(super) async fn change_runner(
        &self,
        id: &RunnerId,
        change: impl FnOnce(&mut Runner),
    ) -> Result<Arc<Runner>, Error> {
        let failed = |error| Error::store("changing a runner", error);
        let _writing = self.fleet.writing.lock().await;
        let known = self.fleet.read().runners.get(id).cloned();
        let known = known.ok_or_else(|| not_found(id.as_str()))?;
        let mut runner = Runner::clone(&known);
        change(&mut runner);
        runner.updated_at = self.clock.now();
        let tx = self.store.begin().await.map_err(failed)?;
        if !tx.runner_update(&runner).await.map_err(failed)? {
            return Err(not_found(id.as_str()));
        }
        tx.commit().await.map_err(failed)?;
        let runner = Arc::new(runner);
        self.fleet.note(|known| {
            known.runners.insert(id.clone(), Arc::clone(&runner));
        });
        Ok(runner)
    }

    pub async fn set_unschedulable(
        &self,
        caller: &Caller,
        id: &str,
        is_unschedulable: bool,
    ) -> Result<RunnerView, Error> {
        caller.require(Permission::WriteRunners)?;
        let runner = self.find_runner(caller, id).await?;
        self.schedule(&runner, is_unschedulable).await
    }

    pub async fn set_any_unschedulable(
        &self,
        caller: &Caller,
        id: &str,
        is_unschedulable: bool,
    ) -> Result<RunnerView, Error> {
        let runner = self.find_any_runner(caller, id).await?;
        self.schedule(&runner, is_unschedulable).await
    }

    async fn schedule(&self, runner: &Runner, is_unschedulable: bool) -> Result<RunnerView, Error> {
        let change = |runner: &mut Runner| runner.is_unschedulable = is_unschedulable;
        let runner = self.change_runner(&runner.id, change).await?;
        tracing::info!(
            runner.id = %runner.id,
            "runner {} takes {} sandboxes", runner.name, if is_unschedulable { "no new" } else { "new" }
        );
        self.warm.note_change();
        self.view_runner(runner).await
    }

    /// Begins to empty a runner, or takes it back: then it takes sandboxes again.
    pub async fn set_draining(
        &self,
        caller: &Caller,
        id: &str,
        is_draining: bool,
    ) -> Result<RunnerView, Error> {
        caller.require(Permission::WriteRunners)?;
        let runner = self.find_runner(caller, id).await?;
        let change = |runner: &mut Runner| {
            runner.is_draining = is_draining;
            runner.is_decommissioned &= is_draining;
        };
        let runner = self.change_runner(&runner.id, change).await?;
        self.fleet.note(|known| {
            known.clean_looks.remove(&runner.id);
        });
        self.fleet.drained.notify_one();
        tracing::info!(
            runner.id = %runner.id,
            "runner {} is {}", runner.name, if is_draining { "being drained" } else { "not drained any more" }
        );
        self.warm.note_change();
        self.view_runner(runner).await
    }

    pub async fn delete_runner(&self, caller: &Caller, id: &str, force: bool) -> Result<(), Error> {
        caller.require(Permission::DeleteRunners)?;
        let runner = self.find_runner(caller, id).await?;
        self.remove_runner(&runner.id, force).await
    }

    pub async fn delete_any_runner(
        &self,
        caller: &Caller,
        id: &str,
        force: bool,
    ) -> Result<(), Error> {
        let runner = self.find_any_runner(caller, id).await?;
        self.remove_runner(&runner.id, force).await
    }

    async fn remove_runner(&self, id: &RunnerId, force: bool) -> Result<(), Error> {
        let failed = |error| Error::store("deleting a runner", error);
        let _writing = self.fleet.writing.lock().await;
        let runner = self.fleet.get(id.as_str());
        let runner = runner.ok_or_else(|| not_found(id.as_str()))?;
        runner
            .check_delete(force, self.has_sandboxes(id), self.clock.now())
            .map_err(|reason| Error::refused(vec![reason]))?;
        let tx = self.store.begin().await.map_err(failed)?;
        if !tx.runner_delete(id).await.map_err(failed)? {
            return Err(not_found(id.as_str()));
        }
        tx.commit().await.map_err(failed)?;
        self.fleet.note(|known| {
            known.runners.remove(id);
            known.loads.remove(id);
            known.clean_looks.remove(id);
        });
        self.fleet.deleted.send_replace(());
        Ok(())
    }

    /// Resolves when there is no such runner.
    pub async fn runner_gone(&self, id: &RunnerId) {
        let mut deleted = self.fleet.deleted.subscribe();
        while self.fleet.get(id.as_str()).is_some() {
            // The sender lives in `self`.
            if deleted.changed().await.is_err() {
                return;
            }
        }
    }

    /// The runner that comes with this key.
    pub fn runner_by_key(&self, key: &str) -> Option<Arc<Runner>> {
        let hash = Some(service_key_hash(key));
        let known = self.fleet.read();
        let found = known.runners.values().find(|runner| runner.key == hash);
        found.cloned()
    }

    pub async fn view_own_runner(&self, id: &RunnerId) -> Result<RunnerView, Error> {
        let runner = self.fleet.get(id.as_str());
        let runner = runner.ok_or_else(Error::bad_credentials)?;
        self.view_runner(runner).await
    }

    /// Takes what a runner says of itself.
    pub async fn take_heartbeat(&self, id: &RunnerId, beat: &Heartbeat) -> Result<(), Error> {
        beat.check().map_err(Error::refused)?;
        let now = self.clock.now();
        let load = beat.report.map(|(_, load)| load);
        let says = |runner: &mut Runner| {
            let address = &mut runner.address;
            let (domain, api_url, proxy_url) = (
                beat.address.domain.clone(),
                beat.address.api_url.clone(),
                beat.address.proxy_url.clone(),
            );
            address.domain = domain.or(address.domain.take());
            address.api_url = api_url.or(address.api_url.take());
            address.proxy_url = proxy_url.or(address.proxy_url.take());
            if let Some((capacity, _)) = beat.report {
                runner.capacity = capacity;
                runner.gpu_type.clone_from(&beat.gpu_type);
            }
            if beat.capabilities.is_some() {
                runner.capabilities.clone_from(&beat.capabilities);
            }
            runner.app_version = Some(beat.app_version.clone());
            runner.fault.clone_from(&beat.fault);
            runner.heard_at = Some(now);
        };
        self.change_runner(id, says).await?;
        if let Some(load) = load {
            self.fleet.note(|known| {
                known.loads.insert(id.clone(), load);
            });
        }
        Ok(())
    }

    fn has_sandboxes(&self, id: &RunnerId) -> bool {
        let mut on_it = self.sandboxes_on(id);
        on_it.any(|entry| entry.sandbox().is_visible())
    }
}

fn is_told(caller: &Caller, is_admin: bool, runner: &Runner) -> bool {
    match &runner.organization_id {
        Some(org) => *org == caller.organization,
        None => is_admin,
    }
}

pub(super) fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Runner with ID {id} not found"),
    }
}
