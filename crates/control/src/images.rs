//! Which images the runner may take away.
//!
//! What is needed follows from rows: snapshots, and sandboxes that are not gone. It is read and told to the runner as a
//! whole, so nothing has to be counted, and a count cannot be wrong after a kill. While that happens no name of an image
//! is released: an image whose last holder changes in between has its name still, and the next round looks again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{Phase, Sandbox, SnapshotId};
use alcove_runner_api::{Fault, FaultCode, ImageDigest, Needed, Observed, OrderError, PullState};
use futures_util::StreamExt as _;
use tokio::sync::{Notify, RwLock};

use crate::Error;
use crate::order::CAPTURED_PREFIX;
use crate::shared::Shared;
use crate::snapshots;

/// Between the news that something may go and the look: what goes together is looked at once.
const DELAY: Duration = Duration::from_secs(2);
/// The look that should find nothing to do.
const SAFETY_NET: Duration = Duration::from_hours(1);

#[derive(Default)]
pub(crate) struct ImageKeeper {
    /// Held for reading by who releases a name, for writing by who takes images away.
    names: RwLock<()>,
    wanted: Notify,
}

impl ImageKeeper {
    /// Something that held an image has gone.
    pub fn note_release(&self) {
        self.wanted.notify_one();
    }
}

/// The name that the image of a snapshot has on the runner.
pub(crate) fn name_of(snapshot: &SnapshotId) -> String {
    format!("{CAPTURED_PREFIX}{snapshot}")
}

/// Takes the name away from a snapshot's image, and ends its pull.
pub(crate) async fn release(shared: &Shared, snapshot: &SnapshotId) -> Result<(), OrderError> {
    if let Err(error) = crate::builds::cancel(shared, snapshot).await {
        // Its outcome finds no snapshot to write to.
        tracing::warn!(snapshot.id = %snapshot, %error, "cannot cancel a build");
    }
    let guard = shared.images.names.read().await;
    let name = name_of(snapshot);
    for host in shared.hosts() {
        match &host.id {
            None => host.client.release_image(&name).await?,
            // One that does not answer is looked at again by the safety net. Others need not know of it.
            Some(id) if shared.fleet.joined.has_image(id, &name) => {
                let _ = host.client.release_image(&name).await;
            }
            Some(_) => {}
        }
    }
    drop(guard);
    shared.images.note_release();
    Ok(())
}

/// Brings the image of a new sandbox to a runner outside of the server that has it not. Answers what becomes of the sandbox
/// where it cannot come.
pub(crate) async fn bring(
    shared: &Shared,
    sandbox: &Sandbox,
) -> Result<Option<Observed>, OrderError> {
    let Some(runner) = &sandbox.runner else {
        return Ok(None);
    };
    if sandbox.lifecycle.phase != Phase::Creating || sandbox.parent_id.is_some() {
        return Ok(None);
    }
    // One that has just come has not said yet which images it has.
    if !shared.fleet.joined.is_linked(runner) {
        return Err(OrderError::Unavailable);
    }
    if shared.fleet.joined.has_image(runner, &sandbox.image) {
        return Ok(None);
    }
    let host = shared.host_of(sandbox).ok_or(OrderError::Unavailable)?;
    let found = shared
        .store
        .reader()
        .snapshot_get(&sandbox.snapshot_id)
        .await;
    // What the database does not say now it says later.
    let found = found.map_err(|_| OrderError::Unavailable)?;
    let found = found.filter(snapshots::driver::can_be_pulled);
    let failed = |message: String| Observed::Failed {
        fault: Fault {
            code: FaultCode::ImageMissing,
            message,
        },
        has_disk: false,
    };
    let Some(snapshot) = found else {
        return Ok(Some(failed(
            "the runner has not the image of the snapshot and cannot get it".to_owned(),
        )));
    };
    let order = snapshots::driver::pull_order(shared, &snapshot).await;
    let order = order.ok_or(OrderError::Unavailable)?;
    let mut states = host.pull(order).await?;
    while let Some(state) = states.next().await {
        match state {
            PullState::Waiting | PullState::Running { .. } => {}
            PullState::Done { image } => {
                shared.fleet.joined.add_image(runner, image);
                return Ok(None);
            }
            PullState::Failed { fault } => return Ok(Some(failed(fault.message))),
        }
    }
    Err(OrderError::Unavailable)
}

/// Looks now and then, until the control plane ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.images.wanted.notified() => shared.clock.sleep(DELAY).await,
            () = shared.clock.sleep(SAFETY_NET) => release_lost(&shared).await,
        }
        collect(&shared).await;
    }
}

async fn collect(shared: &Shared) {
    let _guard = shared.images.names.write().await;
    let images = match shared.store.reader().images_needed().await {
        Ok(images) => images,
        Err(error) => {
            let error = Error::store("looking for images that are needed", error);
            tracing::error!(%error, "no image is taken away");
            return;
        }
    };
    let images: BTreeSet<_> = images.into_iter().map(ImageDigest).collect();
    for host in shared.hosts() {
        // What is on another host is nothing for a runner.
        let needed = Needed {
            images: match &host.id {
                None => images.clone(),
                Some(id) => shared.images_on(id).map(ImageDigest).collect(),
            },
        };
        match host.client.collect_images(needed).await {
            Ok(collected) if collected.images + collected.layers > 0 => tracing::info!(
                images = collected.images,
                layers = collected.layers,
                "removed {} images and {} layers that nothing needs",
                collected.images,
                collected.layers
            ),
            Ok(_) => {}
            // Whatever comes next looks again.
            Err(error) => tracing::warn!(%error, "a runner takes no image away"),
        }
    }
}

/// Releases names whose snapshot is gone, however that came about. Rows are older than names, so a name that was there
/// before its row was looked for, and has none, will have none.
async fn release_lost(shared: &Shared) {
    let mut ids = BTreeSet::new();
    for host in shared.hosts() {
        let images = host.client.images().await.unwrap_or_default();
        ids.extend(images.iter().filter_map(|image| {
            let id = image.name.strip_prefix(CAPTURED_PREFIX)?;
            id.parse::<SnapshotId>().ok()
        }));
    }
    for id in ids {
        if let Ok(None) = shared.store.reader().snapshot_get(&id).await {
            tracing::warn!(snapshot.id = %id, "the runner keeps the image of a snapshot that is gone");
            // What fails is found again.
            let _ = release(shared, &id).await;
        }
    }
}
