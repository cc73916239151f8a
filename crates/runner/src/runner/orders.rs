//! Orders: each goes to the driver of its sandbox, and comes to its end whether or not anybody waits for it.

use std::sync::PoisonError;

use alcove_domain::SandboxId;
use alcove_runner_api::{Generation, Observed, Order, OrderError, Report};
use tokio::sync::oneshot;

use super::{Entry, MAILBOX, Runner};
use crate::driver::{Driver, Message};
use crate::journal::Record;

/// Generations of removed sandboxes that are remembered, against orders that come late.
const TOMBSTONES_MAX: usize = 10_000;

impl Runner {
    /// Works an order off. Resolves when its goal is reached, or has failed; see [`Observed`]. Dropping the future does
    /// not end what has begun.
    pub async fn apply(&self, order: Order) -> Result<Report, OrderError> {
        let (sandbox, generation) = (order.sandbox.clone(), order.generation);
        let mailbox = {
            let mut entries = self.entries();
            // Looked at under the lock: nobody would end a driver that starts after the close.
            if self.inner.stop.is_cancelled() {
                return Err(OrderError::Unavailable);
            }
            match entries.get(&sandbox) {
                Some(Entry::Driven { mailbox, .. }) => mailbox.clone(),
                Some(Entry::Tombstone(current)) if generation < *current => {
                    return Err(OrderError::Stale { current: *current });
                }
                Some(Entry::Tombstone(_)) | None => {
                    let driver = Driver::absent(self.inner.host.clone(), sandbox.clone());
                    self.start_driver(&mut entries, sandbox.clone(), driver)
                }
            }
        };
        let (answer, answered) = oneshot::channel();
        mailbox
            .send(Message::Order {
                order: Box::new(order),
                runner: self.clone(),
                answer,
            })
            .await
            .map_err(|_| OrderError::Unavailable)?;
        drop(mailbox);
        // A task, so that what is left to do after the order is done also where the caller has gone away.
        let runner = self.clone();
        let ended = self.inner.tasks.spawn(async move {
            let report = answered.await.map_err(|_| OrderError::Unavailable)??;
            if is_gone(&report) {
                runner.bury(&sandbox);
            }
            Ok(report)
        });
        ended.await.map_err(|_| OrderError::Unavailable)?
    }

    /// Whether a copy need not be made any more: it is there, or was ordered away before it came.
    pub(crate) fn has_copy(&self, child: &SandboxId, child_generation: Generation) -> bool {
        match self.entries().get(child) {
            Some(Entry::Driven { view, .. }) => {
                let view = view.read().unwrap_or_else(PoisonError::into_inner);
                view.report.observed != Observed::Absent
                    || view.report.generation > child_generation
            }
            Some(Entry::Tombstone(current)) => *current > child_generation,
            None => false,
        }
    }

    /// Gives a new copy its driver. One that was ordered away meanwhile goes again.
    ///
    /// The driver of the sandbox that was copied calls it, before it looks at another order: that may be the same one
    /// again, which must find the copy taken in.
    pub(crate) fn take_in_child(&self, record: Record) {
        let host = &self.inner.host;
        let child = record.sandbox.clone();
        let mut entries = self.entries();
        // The next runner takes it in.
        if self.inner.stop.is_cancelled() {
            return;
        }
        if entries.contains_key(&child) {
            drop(entries);
            if let Err(error) = host.disks.remove(child.as_str()) {
                tracing::error!(sandbox.id = %child, %error, "cannot remove a fork that nobody wants");
            }
            if host.journal.remove(&child).is_ok() {
                host.ranges.release(record.range);
            }
            return;
        }
        let driver = Driver::adopt(host.clone(), record, None, None, None);
        self.start_driver(&mut entries, child, driver);
    }

    /// Replaces the driver of a sandbox that is gone by a note of its last generation.
    fn bury(&self, sandbox: &SandboxId) {
        let mut entries = self.entries();
        let Some(Entry::Driven { mailbox, view }) = entries.get(sandbox) else {
            return;
        };
        let report = view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .report
            .clone();
        // Another order may be on its way to the driver.
        if !is_gone(&report) || mailbox.capacity() != MAILBOX {
            return;
        }
        entries.insert(sandbox.clone(), Entry::Tombstone(report.generation));
        let tombstones = entries
            .iter()
            .filter(|(_, e)| matches!(e, Entry::Tombstone(_)))
            .count();
        if tombstones > TOMBSTONES_MAX {
            entries.retain(|_, entry| matches!(entry, Entry::Driven { .. }));
        }
    }
}

fn is_gone(report: &Report) -> bool {
    matches!(
        report.observed,
        Observed::Absent
            | Observed::Failed {
                has_disk: false,
                ..
            }
    )
}
