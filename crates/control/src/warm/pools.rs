//! Warm pools that organizations ask for.

use alcove_domain::warm_pool::{POOLS_MAX, capacity, check_size};
use alcove_domain::{Permission, Reason, SnapshotState, WarmPool, WarmPoolId, WarmPoolView};
use alcove_runner_api::WarmState;
use alcove_store::StoreError;

use super::{PlannedPool, plan_now};
use crate::rng::uuid_v4;
use crate::shared::{Shared, lock};
use crate::{Caller, Error};

/// A warm pool as a caller asks for it. Nothing is checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewWarmPool {
    /// Id or name of a snapshot.
    pub snapshot: String,
    pub size: Option<i64>,
    /// Id or name of a region.
    pub target: Option<String>,
}

impl Shared {
    pub async fn create_warm_pool(
        &self,
        caller: &Caller,
        request: NewWarmPool,
    ) -> Result<WarmPoolView, Error> {
        let failed = |error| Error::store("making a warm pool", error);
        caller.require(Permission::WriteSandboxes)?;
        self.check_not_suspended(&caller.organization)?;
        let region = self.region_with_runner(&caller.organization, request.target.as_deref())?;
        let size = self.check_pool_size(request.size, 1)?;
        let asked = &request.snapshot;
        let found = self.find_snapshot(&caller.organization, asked).await?;
        let snapshot = match found {
            Some(snapshot) if snapshot.state == SnapshotState::Active => snapshot,
            Some(snapshot) => {
                let state = snapshot.state.as_str();
                let reason = Reason::invalid(format!("Snapshot {} is {state}", snapshot.name));
                return Err(Error::refused(vec![reason]));
            }
            None => {
                let reason = Reason::invalid(format!("Snapshot {asked} not found"));
                return Err(Error::refused(vec![reason]));
            }
        };
        let now = self.clock.now();
        let pool = WarmPool {
            id: WarmPoolId::from_uuid(uuid_v4(&*self.rng)),
            organization_id: caller.organization.clone(),
            snapshot: snapshot.name.clone(),
            region,
            size,
            resources: snapshot.resources,
            user: snapshot.user.clone(),
            created_at: now,
            updated_at: now,
        };
        let tx = self.store.begin().await.map_err(failed)?;
        let count = tx.warm_pool_count(&caller.organization).await;
        if count.map_err(failed)? >= POOLS_MAX {
            return Err(Error::QuotaExceeded {
                message: format!("Warm pool quota exceeded. Maximum allowed: {POOLS_MAX}"),
            });
        }
        tx.warm_pool_insert(&pool)
            .await
            .map_err(|error| match error {
                StoreError::NameTaken => Error::Conflict {
                    message: format!("A warm pool of snapshot {} already exists", pool.snapshot),
                    code: "WARM_POOL_EXISTS",
                    state: None,
                },
                error => failed(error),
            })?;
        tx.commit().await.map_err(failed)?;
        plan_now(self).await;
        self.view_pool(pool).await
    }

    /// Those of the caller's organization, the oldest first.
    pub async fn list_warm_pools(&self, caller: &Caller) -> Result<Vec<WarmPoolView>, Error> {
        let all = self.store.reader().warm_pool_list_all().await;
        let mut all = all.map_err(|error| Error::store("listing warm pools", error))?;
        all.retain(|pool| pool.organization_id == caller.organization);
        self.view_pools(all).await
    }

    pub async fn update_warm_pool(
        &self,
        caller: &Caller,
        id: &str,
        size: Option<i64>,
    ) -> Result<WarmPoolView, Error> {
        let failed = |error| Error::store("changing a warm pool", error);
        caller.require(Permission::WriteSandboxes)?;
        let key: WarmPoolId = id.parse().map_err(|_| not_found(id))?;
        let tx = self.store.begin().await.map_err(failed)?;
        let found = tx.warm_pool_find(&caller.organization, &key).await;
        let pool = found.map_err(failed)?.ok_or_else(|| not_found(id))?;
        let pool = WarmPool {
            size: self.check_pool_size(size, 0)?,
            updated_at: self.clock.now(),
            ..pool
        };
        if !tx.warm_pool_update(&pool).await.map_err(failed)? {
            return Err(not_found(id));
        }
        tx.commit().await.map_err(failed)?;
        plan_now(self).await;
        self.view_pool(pool).await
    }

    /// Its members go; sandboxes that were members stay.
    pub async fn delete_warm_pool(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let failed = |error| Error::store("deleting a warm pool", error);
        caller.require(Permission::DeleteSandboxes)?;
        let key: WarmPoolId = id.parse().map_err(|_| not_found(id))?;
        let tx = self.store.begin().await.map_err(failed)?;
        let deleted = tx.warm_pool_delete(&caller.organization, &key).await;
        if !deleted.map_err(failed)? {
            return Err(not_found(id));
        }
        tx.commit().await.map_err(failed)?;
        plan_now(self).await;
        Ok(())
    }

    fn check_pool_size(&self, size: Option<i64>, least: u32) -> Result<u32, Error> {
        let capacity = capacity(self.settings.warm_pool_bytes);
        check_size(size, least, capacity).map_err(|reason| Error::refused(vec![reason]))
    }

    async fn view_pool(&self, pool: WarmPool) -> Result<WarmPoolView, Error> {
        let mut views = self.view_pools(vec![pool]).await?;
        views.pop().ok_or(Error::Internal {
            doing: "showing a warm pool",
            cause: None,
        })
    }

    async fn view_pools(&self, pools: Vec<WarmPool>) -> Result<Vec<WarmPoolView>, Error> {
        // A runner that does not answer has nothing ready.
        let states = self.runner.warm_states().await.unwrap_or_default();
        let mut views = Vec::with_capacity(pools.len());
        for mut pool in pools {
            // What its members have is what the snapshot has now.
            let snapshot = self.find_snapshot(&pool.organization_id, &pool.snapshot);
            if let Some(snapshot) = snapshot.await? {
                pool.resources = snapshot.resources;
                pool.user.clone_from(&snapshot.user);
            }
            let state = states
                .iter()
                .find(|state| state.kind.pool == pool.id.as_str());
            let planned = lock(&self.warm.plan)
                .pools
                .iter()
                .find(|own| own.pool.id == pool.id)
                .cloned();
            views.push(WarmPoolView {
                ready: state.map_or(0, |state| state.ready),
                error_reason: planned.and_then(|planned| trouble(&planned, state)),
                pool,
            });
        }
        Ok(views)
    }
}

/// Why a pool is not as large as it should be.
fn trouble(planned: &PlannedPool, state: Option<&WarmState>) -> Option<String> {
    if let Err(reason) = &planned.kind {
        return Some(reason.clone());
    }
    if let Some(fault) = state.and_then(|state| state.fault.as_ref()) {
        return Some(fault.message.clone());
    }
    (planned.given < planned.pool.size).then(|| {
        let (given, size) = (planned.given, planned.pool.size);
        format!("The host's memory for warm pools is shared: there is room for {given} of {size}")
    })
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Warm pool with ID {id} not found"),
    }
}
