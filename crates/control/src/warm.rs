//! Sandboxes that wait for their owners.
//!
//! The control plane decides how many of which kind are to wait, out of what organizations have asked for and of the
//! demand that it sees; the runner makes them. A member has no row: it belongs to nobody, counts for nobody, and ends with
//! the process. `claim` makes a member somebody's.

mod claim;
mod pools;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::warm_pool::{Demand, capacity, share};
use alcove_domain::{
    OrganizationId, Placing, Sandbox, SandboxId, Snapshot, SnapshotId, SnapshotState, WarmPool,
};
use alcove_runner_api::{ImageDigest, WarmKind, WarmWish};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::Error;
use crate::order;
use crate::shared::{Shared, lock};

pub(crate) use self::claim::create;
pub use self::pools::NewWarmPool;

/// The pool of everybody, whose size follows demand. No row has an empty id.
const BY_DEMAND: &str = "";

/// Between two looks that should find little to do: demand that has faded, a runner that was not there.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Snapshots whose demand is remembered; beyond them, new ones have none.
const DEMANDS_MAX: usize = 1024;

#[derive(Default)]
pub(crate) struct WarmKeeper {
    demand: Mutex<HashMap<SnapshotId, Demand>>,
    plan: Mutex<Plan>,
    /// Members that are becoming somebody's: the runner tells of them before there is a row.
    claiming: Mutex<HashSet<SandboxId>>,
    changed: Notify,
    /// Held while rows become wishes: of two that read, the one that read last is heard last.
    planning: tokio::sync::Mutex<()>,
}

/// What was last decided.
#[derive(Debug, Clone, Default)]
struct Plan {
    pools: Vec<PlannedPool>,
    wishes: Vec<WarmWish>,
}

/// A pool that an organization has asked for.
#[derive(Debug, Clone)]
struct PlannedPool {
    pool: WarmPool,
    /// The sentence says why there can be no members.
    kind: Result<WarmKind, String>,
    given: u32,
}

/// Until it is dropped, a sandbox that the runner has and the store does not know is no stranger.
struct Claiming<'a> {
    keeper: &'a WarmKeeper,
    id: SandboxId,
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        lock(&self.keeper.claiming).remove(&self.id);
    }
}

impl WarmKeeper {
    pub fn is_claiming(&self, id: &SandboxId) -> bool {
        lock(&self.claiming).contains(id)
    }

    fn claiming(&self, id: &SandboxId) -> Claiming<'_> {
        lock(&self.claiming).insert(id.clone());
        Claiming {
            keeper: self,
            id: id.clone(),
        }
    }

    /// What decides how many there are to be has changed.
    pub fn note_change(&self) {
        self.changed.notify_one();
    }

    fn note_demand(&self, snapshot: &SnapshotId, now: Timestamp) {
        let mut demands = lock(&self.demand);
        if !demands.contains_key(snapshot) && demands.len() >= DEMANDS_MAX {
            return;
        }
        let mut before = 0;
        let demand = demands
            .entry(snapshot.clone())
            .and_modify(|demand| {
                before = demand.wished(now);
                demand.note(now);
            })
            .or_insert_with(|| Demand::first(now));
        let after = demand.wished(now);
        drop(demands);
        if after > before {
            self.changed.notify_one();
        }
    }

    /// What is wished for by demand; what is over is forgotten.
    fn demands(&self, now: Timestamp) -> Vec<(SnapshotId, u32)> {
        let mut demands = lock(&self.demand);
        demands.retain(|_, demand| !demand.is_over(now));
        let mut wished: Vec<(SnapshotId, u32)> = demands
            .iter()
            .map(|(id, demand)| (id.clone(), demand.wished(now)))
            .collect();
        // The same each time, so that members are not thrown away and made again.
        wished.sort();
        wished
    }

    fn pool_of(&self, org: &OrganizationId, kind: &WarmKind) -> Option<WarmKind> {
        let plan = lock(&self.plan);
        let mut own = plan
            .pools
            .iter()
            .filter(|own| own.pool.organization_id == *org);
        own.find_map(|own| {
            let found = own.kind.as_ref().ok()?;
            let is_alike = found.image == kind.image && found.resources == kind.resources;
            (is_alike && own.given > 0).then(|| found.clone())
        })
    }

    fn is_wished(&self, kind: &WarmKind) -> bool {
        lock(&self.plan)
            .wishes
            .iter()
            .any(|wish| wish.kind == *kind)
    }
}

/// Whether a member can become this sandbox: what it has of its own comes with the hand-over, or is not of it.
fn can_be_warm(shared: &Shared, sandbox: &Sandbox) -> bool {
    shared.settings.warm_pool_bytes > 0
        && sandbox.runner.is_none()
        && sandbox.volumes.is_empty()
        && sandbox.resources.gpu == 0
        && sandbox.parent_id.is_none()
        && sandbox.linked_to.is_none()
        // Whoever makes it knows it by its id, and a member has one of its own.
        && !sandbox.is_unfinished
}

fn kind(shared: &Shared, pool: &str, snapshot: &Snapshot) -> WarmKind {
    WarmKind {
        pool: pool.to_owned(),
        image: ImageDigest(snapshot.image.clone()),
        resources: order::resources(&shared.settings, snapshot.resources),
    }
}

/// Keeps the runner's members in line with rows and demand, until the control plane ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut snapshots = shared.snapshot_drivers.watch();
    loop {
        plan_now(&shared).await;
        tokio::select! {
            () = shared.warm.changed.notified() => {}
            written = snapshots.changed() => {
                if written.is_err() {
                    return;
                }
            }
            () = shared.clock.sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Brings the wishes in line with what is asked for now.
async fn plan_now(shared: &Shared) {
    if let Err(error) = plan(shared).await {
        tracing::warn!(%error, "the warm pools stay as they are");
    }
}

async fn plan(shared: &Shared) -> Result<(), Error> {
    let _planning = shared.warm.planning.lock().await;
    let now = shared.clock.now();
    let rows = shared.store.reader().warm_pool_list_all().await;
    let rows = rows.map_err(|error| Error::store("listing warm pools", error))?;
    let mut pools = Vec::with_capacity(rows.len());
    for pool in rows {
        let kind = match shared.check_not_suspended(&pool.organization_id) {
            Ok(()) => kind_of_row(shared, &pool).await?,
            Err(suspended) => Err(suspended.to_string()),
        };
        let given = 0;
        pools.push(PlannedPool { pool, kind, given });
    }
    let demands = kinds_by_demand(shared, now).await?;
    let asked: Vec<u32> = pools
        .iter()
        .map(|own| if own.kind.is_ok() { own.pool.size } else { 0 })
        .collect();
    let suggested: Vec<u32> = demands.iter().map(|(_, wished)| *wished).collect();
    // What no create can take need not wait.
    let capacity = if shared.fleet.lets(Placing::Take) {
        capacity(shared.settings.warm_pool_bytes)
    } else {
        0
    };
    let (of_rows, of_demand) = share(&asked, &suggested, capacity);
    let mut wishes = Vec::new();
    for (own, given) in pools.iter_mut().zip(of_rows) {
        own.given = given;
        if let Ok(kind) = &own.kind {
            let kind = kind.clone();
            wishes.push(WarmWish { kind, size: given });
        }
    }
    for ((kind, _), size) in demands.into_iter().zip(of_demand) {
        // Two snapshots of one image and of the same sizes have the same members.
        match wishes.iter_mut().find(|wish| wish.kind == kind) {
            Some(wish) => wish.size += size,
            None => wishes.push(WarmWish { kind, size }),
        }
    }
    wishes.retain(|wish| wish.size > 0);
    let told = shared.runner.keep_warm(wishes.clone()).await;
    *lock(&shared.warm.plan) = Plan { pools, wishes };
    // It is told again by the next look.
    told.map_err(|error| Error::Unavailable {
        message: "The runner does not answer",
        retry_after: None,
        cause: Some(Box::new(error)),
    })
}

/// A pool is of whatever snapshot has the name: one that takes another's place brings its members.
async fn kind_of_row(shared: &Shared, pool: &WarmPool) -> Result<Result<WarmKind, String>, Error> {
    let name = &pool.snapshot;
    let found = shared.find_snapshot(&pool.organization_id, name).await?;
    Ok(match found {
        Some(snapshot) if snapshot.state == SnapshotState::Active => {
            Ok(kind(shared, pool.id.as_str(), &snapshot))
        }
        Some(snapshot) => Err(format!("Snapshot {name} is {}", snapshot.state.as_str())),
        None => Err(format!("Snapshot {name} not found")),
    })
}

async fn kinds_by_demand(shared: &Shared, now: Timestamp) -> Result<Vec<(WarmKind, u32)>, Error> {
    let mut kinds = Vec::new();
    for (id, wished) in shared.warm.demands(now) {
        let found = shared.store.reader().snapshot_get(&id).await;
        let found = found.map_err(|error| Error::store("looking for a snapshot", error))?;
        if let Some(snapshot) = found
            && snapshot.state == SnapshotState::Active
        {
            kinds.push((kind(shared, BY_DEMAND, &snapshot), wished));
        }
    }
    Ok(kinds)
}
