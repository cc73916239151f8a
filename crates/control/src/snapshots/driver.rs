//! One task a snapshot that is to be pulled or removed: the only one that asks the runner for its image.
//!
//! It reads the row, does what the state asks for, writes what came of it if the state is still the one, and reads again.
//! So it does not matter how often it is started, nor where it is killed. Callers write wishes into the row and poke it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{Snapshot, SnapshotEvent, SnapshotId, SnapshotState};
use alcove_runner_api::{ImageEntry, Pull, PullFault, PullFaultCode, PullState};
use alcove_store::StoreError;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::builds;
use crate::images;
use crate::probe::Step;
use crate::shared::{Shared, lock};

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Characters of a reason that a row keeps.
const REASON_MAX: usize = 2000;

/// Drivers that work, and the news of what they and callers have written.
pub(crate) struct SnapshotDrivers {
    running: Mutex<HashMap<SnapshotId, watch::Sender<u64>>>,
    /// Grows with each write of a snapshot.
    written: watch::Sender<u64>,
}

impl Default for SnapshotDrivers {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            written: watch::Sender::new(0),
        }
    }
}

impl SnapshotDrivers {
    /// News of every write from now on.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }
}

impl Shared {
    /// To be called after each write of a snapshot.
    pub(crate) fn note_snapshot_written(&self) {
        self.snapshots.clear();
        self.snapshot_drivers
            .written
            .send_modify(|count| *count += 1);
    }
}

/// Sees to it that somebody looks at a snapshot that was written, and does what its state asks for.
pub(crate) fn drive(shared: &Arc<Shared>, id: &SnapshotId) {
    let mut running = lock(&shared.snapshot_drivers.running);
    if let Some(poke) = running.get(id) {
        poke.send_modify(|count| *count += 1);
        return;
    }
    let (poke, poked) = watch::channel(0);
    running.insert(id.clone(), poke);
    drop(running);
    let driver = Driver {
        shared: Arc::clone(shared),
        id: id.clone(),
        poked,
        failures: 0,
    };
    shared.spawn(driver.run());
}

/// States in which somebody waits for something.
const OPEN: [SnapshotState; 3] = [
    SnapshotState::Pending,
    SnapshotState::Pulling,
    SnapshotState::Removing,
];

/// Takes up what an earlier process left.
pub(crate) async fn load(shared: &Arc<Shared>) -> Result<(), StoreError> {
    drive_all(shared, &[SnapshotState::Inactive]).await?;
    drive_open(shared).await
}

/// Sees to it that each snapshot that waits for something has its driver.
pub(crate) async fn drive_open(shared: &Arc<Shared>) -> Result<(), StoreError> {
    drive_all(shared, &OPEN).await
}

async fn drive_all(shared: &Arc<Shared>, states: &[SnapshotState]) -> Result<(), StoreError> {
    for snapshot in shared.store.reader().snapshot_list_in(states).await? {
        drive(shared, &snapshot.id);
    }
    Ok(())
}

enum Next {
    /// Nothing is left to do.
    Settled,
    /// Something was written meanwhile.
    Again,
    /// It did not work; after a while it may.
    Later,
}

struct Driver {
    shared: Arc<Shared>,
    id: SnapshotId,
    poked: watch::Receiver<u64>,
    failures: u32,
}

impl Driver {
    async fn run(mut self) {
        loop {
            self.poked.mark_unchanged();
            let next = match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(snapshot.id = %self.id, %error, "cannot go on with a snapshot");
                    Next::Later
                }
            };
            match next {
                Next::Settled if self.retire() => return,
                Next::Settled | Next::Again => self.failures = 0,
                Next::Later => {
                    let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(16));
                    self.failures += 1;
                    tokio::select! {
                        () = self.shared.clock.sleep(wait.min(RETRY_MAX)) => {}
                        _ = self.poked.changed() => {}
                    }
                }
            }
        }
    }

    /// Ends the driver, unless it was poked since it read the row.
    fn retire(&self) -> bool {
        let mut running = lock(&self.shared.snapshot_drivers.running);
        let is_over = !self.poked.has_changed().unwrap_or(false);
        if is_over {
            running.remove(&self.id);
        }
        is_over
    }

    async fn step(&mut self) -> Result<Next, StoreError> {
        let snapshot = self.shared.store.reader().snapshot_get(&self.id).await?;
        let Some(snapshot) = snapshot else {
            return Ok(Next::Settled);
        };
        match snapshot.state {
            SnapshotState::Pending | SnapshotState::Pulling => self.pull(snapshot).await,
            SnapshotState::Removing => self.remove().await,
            SnapshotState::Inactive if !snapshot.needs_image() => self.release().await,
            SnapshotState::Inactive
            | SnapshotState::Active
            | SnapshotState::Error
            | SnapshotState::Building
            | SnapshotState::BuildFailed
            | SnapshotState::Snapshotting => Ok(Next::Settled),
        }
    }

    async fn release(&self) -> Result<Next, StoreError> {
        let released = images::release(&self.shared, &self.id).await;
        self.shared.note_runner(released.is_ok());
        Ok(if released.is_ok() {
            Next::Settled
        } else {
            Next::Later
        })
    }

    async fn remove(&self) -> Result<Next, StoreError> {
        self.shared.reached(Step::OrderReady).await;
        // Released first: a row without a name is removed by this again, a name without a row by nobody for long.
        if let Next::Later = self.release().await? {
            return Ok(Next::Later);
        }
        self.shared.reached(Step::AnswerHeard).await;
        if !builds::forget(&self.shared, &self.id).await? {
            return Ok(Next::Later);
        }
        let tx = self.shared.store.begin().await?;
        let now = self.shared.clock.now();
        tx.snapshot_delete(&self.id, now).await?;
        let told = tx.commit_events().await?;
        self.shared.reached(Step::OutcomeWritten).await;
        self.shared.note_snapshot_written();
        self.shared.events.wake(told);
        self.shared.images.note_release();
        Ok(Next::Settled)
    }

    async fn pull(&mut self, snapshot: Snapshot) -> Result<Next, StoreError> {
        let shared = Arc::clone(&self.shared);
        let Some(order) = pull_order(&shared, &snapshot).await else {
            return Ok(Next::Later);
        };
        shared.reached(Step::OrderReady).await;
        let pull = shared.runner.pull(order).await;
        shared.note_runner(pull.is_ok());
        let Ok(mut states) = pull else {
            return Ok(Next::Later);
        };
        let time_up = shared.clock.sleep(shared.settings.work_timeout);
        tokio::pin!(time_up);
        let mut is_begun = snapshot.state == SnapshotState::Pulling;
        loop {
            tokio::select! {
                state = states.next() => match state {
                    Some(PullState::Waiting) => {}
                    Some(PullState::Running { .. }) => {
                        if !is_begun && !self.write(SnapshotEvent::PullBegun, |_| {}).await? {
                            return Ok(Next::Again);
                        }
                        is_begun = true;
                    }
                    Some(PullState::Done { image }) => {
                        shared.reached(Step::AnswerHeard).await;
                        self.write(SnapshotEvent::Pulled, |snapshot| take_image(snapshot, image))
                            .await?;
                        shared.reached(Step::OutcomeWritten).await;
                        return Ok(Next::Again);
                    }
                    Some(PullState::Failed { fault }) if fault.code == PullFaultCode::Cancelled => {
                        return Ok(Next::Later);
                    }
                    Some(PullState::Failed { fault }) => {
                        shared.reached(Step::AnswerHeard).await;
                        self.fail(&fault).await?;
                        return Ok(Next::Again);
                    }
                    // The runner has gone away.
                    None => return Ok(Next::Later),
                },
                _ = self.poked.changed() => {
                    let now = shared.store.reader().snapshot_get(&self.id).await?;
                    let is_wanted = now.is_some_and(|now| {
                        matches!(now.state, SnapshotState::Pending | SnapshotState::Pulling)
                    });
                    if !is_wanted {
                        // What is being removed is released then, which ends the pull.
                        return Ok(Next::Again);
                    }
                }
                () = &mut time_up => {
                    if images::release(&shared, &self.id).await.is_err() {
                        return Ok(Next::Later);
                    }
                    let minutes = shared.settings.work_timeout.as_secs() / 60;
                    self.fail(&PullFault {
                        code: PullFaultCode::Unreachable,
                        message: format!("the image did not come within {minutes} minutes"),
                    })
                    .await?;
                    return Ok(Next::Again);
                }
            }
        }
    }

    async fn fail(&self, fault: &PullFault) -> Result<(), StoreError> {
        let reason: String = fault.message.chars().take(REASON_MAX).collect();
        tracing::warn!(
            snapshot.id = %self.id,
            code = ?fault.code,
            "the image of snapshot {} does not come: {reason}", self.id
        );
        self.write(SnapshotEvent::PullFailed, |snapshot| {
            snapshot.error_reason = Some(reason.replace('\0', ""));
        })
        .await?;
        Ok(())
    }

    /// Writes what has happened, if it still concerns the snapshot. Tells whether it did.
    async fn write(
        &self,
        event: SnapshotEvent,
        change: impl FnOnce(&mut Snapshot),
    ) -> Result<bool, StoreError> {
        let tx = self.shared.store.begin().await?;
        let Some(mut snapshot) = tx.snapshot_get(&self.id).await? else {
            return Ok(false);
        };
        let Ok(state) = snapshot.after(event) else {
            return Ok(false);
        };
        snapshot.state = state;
        snapshot.updated_at = self.shared.clock.now();
        change(&mut snapshot);
        tx.snapshot_update(&snapshot).await?;
        let told = tx.commit_events().await?;
        self.shared.note_snapshot_written();
        self.shared.events.wake(told);
        Ok(true)
    }
}

fn take_image(snapshot: &mut Snapshot, image: ImageEntry) {
    snapshot.image = image.digest.0;
    snapshot.size_bytes = Some(image.size_bytes);
    snapshot.user = image.user;
    snapshot.error_reason = None;
    if !snapshot.has_own_entrypoint {
        snapshot.entrypoint = image.entrypoint;
    }
}

/// Whether there is anywhere to bring a snapshot's image from.
pub(crate) fn can_be_pulled(snapshot: &Snapshot) -> bool {
    snapshot.reference().is_some() && snapshot.organization_id.is_some()
}

/// The order to bring a snapshot's image. None if there is nowhere to bring it from, or that cannot be found out now.
pub(crate) async fn pull_order(shared: &Shared, snapshot: &Snapshot) -> Option<Pull> {
    // Rows that wait for it have both; one that has not was written by nobody that we know.
    let (Some(reference), Some(org)) = (snapshot.reference(), &snapshot.organization_id) else {
        tracing::error!(snapshot.id = %snapshot.id, "a snapshot that cannot be pulled waits for it");
        return None;
    };
    match shared.pull_login(org, &reference).await {
        Ok((credentials, is_plain)) => Some(Pull {
            name: images::name_of(&snapshot.id),
            reference,
            owner: org.to_string(),
            credentials,
            is_plain,
            max_bytes: shared.settings.snapshots.max_bytes,
        }),
        Err(error) => {
            tracing::error!(snapshot.id = %snapshot.id, %error, "cannot look for credentials");
            None
        }
    }
}
