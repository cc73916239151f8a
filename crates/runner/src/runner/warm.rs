//! The task that makes members of the warm pool, and sees off those that are not wanted.

use std::collections::BTreeMap;

use alcove_domain::SandboxId;
use alcove_runner_api::{DiskOrigin, NetworkSpec, SandboxSpec, WarmKind, WarmState, WarmWish};

use super::{REFILL_PAUSE, Runner};
use crate::host::{Bounds, Host, HostError, admit};
use crate::making::{self, Parked};
use crate::warm_pool::WarmTask;

/// What a host keeps for itself, and as much again for those who are served.
const RESERVE_FACTOR: u64 = 2;

impl Runner {
    /// Replaces what is wished for; see [`WarmWish`].
    pub fn keep_warm(&self, wishes: Vec<WarmWish>) {
        self.inner.host.warm.wish(wishes);
    }

    /// What there is of every kind that is wished for.
    pub fn warm_states(&self) -> Vec<WarmState> {
        self.inner.host.warm.states()
    }

    /// Takes a member of the first of these kinds that has one. It is the caller's until it orders a sandbox of this id,
    /// or gives it back.
    pub fn take_warm(&self, kinds: &[WarmKind]) -> Option<SandboxId> {
        self.inner.host.warm.take(kinds)
    }

    /// Gives a taken member back that nothing was ordered of.
    pub fn give_warm_back(&self, sandbox: &SandboxId) {
        self.inner.host.warm.give_back(sandbox);
    }

    pub(super) fn start_warming(&self) {
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            let host = &inner.host;
            // A member that is being made is finished: only waiting is cut short.
            while let Some(task) = inner.stop.run_until_cancelled(host.warm.next()).await {
                match task {
                    WarmTask::Discard(parked) => making::discard(host, parked).await,
                    WarmTask::Make(kind) => {
                        if inner
                            .stop
                            .run_until_cancelled(host.warm.rest())
                            .await
                            .is_none()
                        {
                            return;
                        }
                        let made = make(host, &kind).await.map_err(|error| error.to_fault());
                        if let Err(fault) = &made {
                            tracing::warn!(
                                code = ?fault.code,
                                "cannot make a sandbox ahead of need: {}", fault.message
                            );
                        }
                        host.warm.made(&kind, made);
                        let pause = tokio::time::sleep(REFILL_PAUSE);
                        if inner.stop.run_until_cancelled(pause).await.is_none() {
                            return;
                        }
                    }
                }
            }
        });
    }
}

async fn make(host: &Host, kind: &WarmKind) -> Result<Parked, HostError> {
    let bounds = Bounds {
        disk_reserve_bytes: host
            .bounds
            .disk_reserve_bytes
            .saturating_mul(RESERVE_FACTOR),
        memory_reserve_bytes: host
            .bounds
            .memory_reserve_bytes
            .saturating_mul(RESERVE_FACTOR),
        ..host.bounds.clone()
    };
    admit(&bounds, &host.data_dir)?;
    let spec = SandboxSpec {
        image: kind.image.clone(),
        resources: kind.resources,
        user: String::new(),
        env: BTreeMap::new(),
        disk: DiskOrigin::New,
        entrypoint: Vec::new(),
        volumes: Vec::new(),
        network: NetworkSpec::default(),
    };
    let id = SandboxId::from_uuid(uuid::Uuid::new_v4());
    making::park(host, id, spec).await
}
