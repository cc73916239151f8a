//! Brings a changed network policy to a sandbox that runs.
//!
//! The row holds the version that should be in force and the one that is, so the difference is the order: nothing else
//! is written down, and a process that is killed in between finds it again. An order to run carries the policy itself;
//! this is for what runs already.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::Sandbox;
use alcove_runner_api::{Generation, Goal, Order, OrderError, Report, Work};
use tokio_util::task::AbortOnDropHandle;

use super::Driver;
use crate::network;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A policy on its way. Dropping it stops the wait, not what the runner has begun.
pub(super) struct NetworkJob {
    version: u64,
    generation: u64,
    task: AbortOnDropHandle<NetworkEnd>,
}

/// How it went.
pub(super) struct NetworkEnd {
    attempt: u32,
    answer: Result<Report, OrderError>,
}

/// The end of the job; never, if there is none.
pub(super) async fn end(job: &mut Option<NetworkJob>) -> NetworkEnd {
    match job {
        Some(job) => match (&mut job.task).await {
            Ok(end) => end,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Aborted: the runtime ends, and the driver with it.
                Err(_) => pending().await,
            },
        },
        None => pending().await,
    }
}

impl Driver {
    /// Begins to bring the policy to the runner if another one is in force, and stops where that is not needed any more.
    pub(super) fn follow_network(&mut self) {
        if !self.sandbox.network_lags() {
            self.network_job = None;
            return;
        }
        let is_under_way = self.network_job.as_ref().is_some_and(|job| {
            job.version == self.sandbox.network.version
                && job.generation == self.sandbox.lifecycle.generation
        });
        if !is_under_way {
            self.bring_network(1);
        }
    }

    fn bring_network(&mut self, attempt: u32) {
        let (shared, sandbox) = (Arc::clone(&self.shared), Arc::clone(&self.sandbox));
        self.network_job = Some(NetworkJob {
            version: sandbox.network.version,
            generation: sandbox.lifecycle.generation,
            task: AbortOnDropHandle::new(tokio::spawn(async move {
                if attempt > 1 {
                    let doublings = attempt.saturating_sub(2).min(16);
                    let wait = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
                    shared.clock.sleep(wait).await;
                }
                let order = Order {
                    sandbox: sandbox.id.clone(),
                    generation: Generation(sandbox.lifecycle.generation),
                    goal: Goal::Networked(network::spec(&shared, &sandbox)),
                };
                let answer = match shared.host_of(&sandbox) {
                    Some(host) => host.apply(order).await,
                    None => Err(OrderError::Unavailable),
                };
                NetworkEnd { attempt, answer }
            })),
        });
    }

    /// Writes down what is in force now, and tries again if it is not what should be.
    pub(super) async fn conclude_network(&mut self, end: NetworkEnd) {
        let NetworkEnd { attempt, answer } = end;
        match answer {
            Ok(report) => {
                if let Some(Work::Undone { fault }) = &report.work {
                    tracing::error!(
                        sandbox.id = %self.entry.id,
                        "the network policy of {} is not in force: {}", self.entry.id, fault.message
                    );
                }
                match report.network_version {
                    Some(version) => self.note_network(version).await,
                    // It does not run any more, and the next start brings the policy. Another report tells of that.
                    None => return,
                }
            }
            Err(error) => tracing::debug!(
                sandbox.id = %self.entry.id, %error, "a network policy must wait"
            ),
        }
        // Writing may have begun a new one.
        if self.network_job.is_none() && self.sandbox.network_lags() {
            self.bring_network(attempt.saturating_add(1));
        }
    }

    /// Writes down which policy the runner says is in force.
    pub(super) async fn note_network(&mut self, version: u64) {
        if self.sandbox.network.applied == Some(version) {
            return;
        }
        let mut next = Sandbox::clone(&self.sandbox);
        next.network.note_applied(version);
        next.version += 1;
        let written = async {
            let tx = self.shared.store.begin().await?;
            tx.sandbox_update(&next).await?;
            tx.commit().await
        };
        match written.await {
            Ok(()) => self.publish(next),
            // It lags on, in what we know, and is brought again.
            Err(error) => tracing::error!(
                sandbox.id = %self.entry.id, %error,
                "cannot write which network policy of {} is in force", self.entry.id
            ),
        }
    }
}
