//! Builds: a Dockerfile becomes a snapshot.
//!
//! The snapshot, `building`, and the build are one transaction. From then on a task of ours asks the runner until it has
//! an outcome, which is written together with the snapshot's end. After a kill the next process finds the open builds
//! and asks again; the runner knows which steps are done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_build::Dockerfile;
use alcove_domain::build::{BUILD_LIMIT, plan_built_snapshot};
use alcove_domain::{
    BuildId, ImageBuild, NewBuiltSnapshot, OrganizationId, Permission, Reason, SandboxClass,
    Snapshot, SnapshotId, SnapshotState,
};
use alcove_runner_api::{Build, BuildOutcome, ImageDigest};
use alcove_store::{SnapshotOutcome, StoreError};
use futures_util::stream::{BoxStream, StreamExt as _, unfold};

use crate::images::name_of;
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::snapshots::wishes::{insert_in_tx, name_taken};
use crate::{Caller, Error};

/// Between two questions to a runner that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Between two looks at a build that the runner does not have yet, or no longer.
const LOG_RETRY: Duration = Duration::from_millis(200);

/// The text of a build's log, as it comes.
pub type BuildLog = BoxStream<'static, Vec<u8>>;

/// Makes a snapshot that is being built, and orders the build.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: NewBuiltSnapshot,
) -> Result<Snapshot, Error> {
    caller.require(Permission::WriteSnapshots)?;
    crate::sandboxes::resolve_region(shared, request.region.as_deref())?;
    let resources =
        plan_built_snapshot(&request, shared.settings.default_resources).map_err(Error::refused)?;
    // What is wrong with the Dockerfile is told now; what its images bring is known to the runner only.
    let file = Dockerfile::parse(&request.info.dockerfile)
        .map_err(|refusal| refused(&refusal.to_string()))?;
    if let Err(missing) = resolve(shared, &caller.organization, &file).await? {
        return Err(refused(&missing));
    }
    let now = shared.clock.now();
    let snapshot = Snapshot {
        id: SnapshotId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: Some(caller.organization.clone()),
        name: request.name,
        image_name: None,
        image: String::new(),
        state: SnapshotState::Building,
        size_bytes: None,
        entrypoint: Vec::new(),
        has_own_entrypoint: false,
        user: String::new(),
        resources,
        class: SandboxClass::Container,
        error_reason: None,
        source_sandbox_id: None,
        created_at: now,
        updated_at: now,
        last_used_at: None,
        deactivated_at: None,
    };
    let build = ImageBuild {
        id: BuildId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: caller.organization.clone(),
        snapshot_id: snapshot.id.clone(),
        info: request.info,
        created_at: now,
        deadline: now.checked_add(BUILD_LIMIT).unwrap_or(now),
        is_open: true,
    };
    let task = {
        let (shared, snapshot) = (Arc::clone(shared), snapshot.clone());
        async move { insert(&shared, &snapshot, build).await }
    };
    shared.finish("ordering a build", task).await?;
    Ok(snapshot)
}

fn refused(reason: &str) -> Error {
    Error::refused(vec![Reason::invalid(reason)])
}

async fn insert(shared: &Arc<Shared>, snapshot: &Snapshot, build: ImageBuild) -> Result<(), Error> {
    let failed = |error| match error {
        StoreError::NameTaken => name_taken(&snapshot.name),
        other => Error::store("ordering a build", other),
    };
    let tx = shared.store.begin().await.map_err(failed)?;
    insert_in_tx(shared, &tx, snapshot).await.map_err(failed)?;
    tx.build_insert(&build).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    shared.note_snapshot_written();
    drive(shared, build);
    Ok(())
}

/// What the names of images in a Dockerfile mean to an organization; the inner error says which one means nothing.
async fn resolve(
    shared: &Shared,
    organization: &OrganizationId,
    file: &Dockerfile,
) -> Result<Result<BTreeMap<String, ImageDigest>, String>, Error> {
    let mut images = BTreeMap::new();
    for name in file.images() {
        let found = shared.find_snapshot(organization, &name).await?;
        match found {
            Some(snapshot)
                if snapshot.state == SnapshotState::Active && !snapshot.image.is_empty() =>
            {
                images.insert(name, ImageDigest(snapshot.image.clone()));
            }
            Some(snapshot) => {
                let state = snapshot.state.as_str();
                return Ok(Err(format!(
                    "the image {name:?} of the Dockerfile is {state}"
                )));
            }
            None => {
                let message = format!(
                    "the image {name:?} of the Dockerfile is not on this server: FROM takes the name of a snapshot"
                );
                return Ok(Err(message));
            }
        }
    }
    Ok(Ok(images))
}

/// Takes up what an earlier process left.
pub(crate) async fn load(shared: &Arc<Shared>) -> Result<(), Error> {
    let open = shared.store.reader().build_list_open().await;
    for build in open.map_err(|error| Error::store("taking up builds", error))? {
        drive(shared, build);
    }
    Ok(())
}

fn drive(shared: &Arc<Shared>, build: ImageBuild) {
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let outcome = ask(&shared, &build).await;
            while let Err(error) = finish(&shared, &build, &outcome).await {
                tracing::error!(build.id = %build.id, %error, "cannot write down the outcome of a build");
                shared.clock.sleep(RETRY).await;
            }
        }
    };
    shared.spawn(task);
}

/// Asks the runner until it has an outcome, or the time is over.
async fn ask(shared: &Shared, build: &ImageBuild) -> SnapshotOutcome {
    loop {
        let left = build.deadline.duration_since(shared.clock.now());
        let Ok(limit) = Duration::try_from(left) else {
            return SnapshotOutcome::Failed {
                reason: "the build took too long".to_owned(),
            };
        };
        let images = match order_images(shared, build).await {
            Ok(Ok(images)) => images,
            Ok(Err(reason)) => return SnapshotOutcome::Failed { reason },
            Err(error) => {
                tracing::error!(build.id = %build.id, %error, "cannot look up the images of a build");
                shared.clock.sleep(RETRY).await;
                continue;
            }
        };
        let order = Build {
            id: build.id.to_string(),
            name: name_of(&build.snapshot_id),
            organization: build.organization_id.to_string(),
            dockerfile: build.info.dockerfile.clone(),
            contexts: build.info.context_hashes.clone(),
            images,
            limit,
        };
        match shared.runner.build(order).await {
            Ok(BuildOutcome::Done { image }) => {
                return SnapshotOutcome::Made {
                    image: image.digest.0,
                    size_bytes: image.size_bytes,
                    entrypoint: image.entrypoint,
                    user: image.user,
                };
            }
            Ok(BuildOutcome::Failed { fault }) => {
                tracing::info!(build.id = %build.id, code = ?fault.code, "a build has failed");
                return SnapshotOutcome::Failed {
                    reason: fault.message,
                };
            }
            Err(error) => {
                tracing::warn!(build.id = %build.id, %error, "the runner does not take a build; it is asked again");
                shared.clock.sleep(RETRY).await;
            }
        }
    }
}

async fn order_images(
    shared: &Shared,
    build: &ImageBuild,
) -> Result<Result<BTreeMap<String, ImageDigest>, String>, Error> {
    match Dockerfile::parse(&build.info.dockerfile) {
        Ok(file) => resolve(shared, &build.organization_id, &file).await,
        Err(refusal) => Ok(Err(refusal.to_string())),
    }
}

async fn finish(
    shared: &Shared,
    build: &ImageBuild,
    outcome: &SnapshotOutcome,
) -> Result<(), Error> {
    let failed = |error| Error::store("writing down the outcome of a build", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let now = shared.clock.now();
    tx.build_finish(&build.id, &build.snapshot_id, outcome, now)
        .await
        .map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    shared.note_snapshot_written();
    Ok(())
}

/// Ends the build of a snapshot that is about to go.
pub(crate) async fn cancel(shared: &Shared, snapshot: &SnapshotId) -> Result<(), Error> {
    let found = shared.store.reader().build_find_by_snapshot(snapshot).await;
    let found = found.map_err(|error| Error::store("looking for a build", error))?;
    if let Some(build) = found.filter(|build| build.is_open)
        && let Err(error) = shared.runner.cancel_build(&build.id).await
    {
        // Its outcome finds no snapshot to write to.
        tracing::warn!(build.id = %build.id, %error, "cannot cancel a build");
    }
    Ok(())
}

/// Removes what the runner keeps of the build of a snapshot that goes; whether nothing is left.
pub(crate) async fn forget(shared: &Shared, snapshot: &SnapshotId) -> Result<bool, StoreError> {
    let found = shared
        .store
        .reader()
        .build_find_by_snapshot(snapshot)
        .await?;
    Ok(match found {
        Some(build) => shared.runner.forget_build(&build.id).await.is_ok(),
        None => true,
    })
}

/// The newest build of a snapshot.
pub(crate) async fn of(shared: &Shared, snapshot: &Snapshot) -> Result<ImageBuild, Error> {
    let found = shared
        .store
        .reader()
        .build_find_by_snapshot(&snapshot.id)
        .await;
    found
        .map_err(|error| Error::store("looking for a build", error))?
        .ok_or_else(|| Error::NotFound {
            message: format!("Snapshot {} has no build", snapshot.name),
        })
}

/// The log of a snapshot's build. With `follows` it ends when the build does, else with what there is.
///
/// # Errors
/// [`Error::NotFound`] if the snapshot was not built from a Dockerfile.
pub(crate) async fn log(
    shared: &Arc<Shared>,
    snapshot: &Snapshot,
    follows: bool,
) -> Result<BuildLog, Error> {
    let build = of(shared, snapshot).await?;
    let shared = Arc::clone(shared);
    let log = unfold(
        (shared, build, 0_u64),
        move |(shared, build, from)| async move {
            loop {
                let was_open = is_open(&shared, &build).await;
                match shared.runner.build_log(&build.id, from, follows).await {
                    Ok(piece) if !piece.bytes.is_empty() => {
                        let next = from + piece.bytes.len() as u64;
                        return Some((piece.bytes, (shared, build, next)));
                    }
                    // Nothing more came after the build was over: that is all.
                    Ok(_) if !was_open || !follows => return None,
                    Ok(_) | Err(_) if shared.is_cancelled() => return None,
                    Ok(_) | Err(_) => shared.clock.sleep(LOG_RETRY).await,
                }
            }
        },
    );
    Ok(log.boxed())
}

async fn is_open(shared: &Shared, build: &ImageBuild) -> bool {
    let found = shared
        .store
        .reader()
        .build_find_by_snapshot(&build.snapshot_id)
        .await;
    found.is_ok_and(|found| found.is_some_and(|found| found.id == build.id && found.is_open))
}
