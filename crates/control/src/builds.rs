//! Builds: a Dockerfile becomes a snapshot, or the image of sandboxes.
//!
//! The snapshot, `building`, and the build are one transaction. From then on a task of ours asks the runner until it has
//! an outcome, which is written together with the snapshot's end. After a kill the next process finds the open builds
//! and asks again; the runner knows which steps are done.

pub(crate) mod sandboxes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_build::Dockerfile;
use alcove_domain::build::{BUILD_LIMIT, plan_built_snapshot};
use alcove_domain::snapshot::is_reference;
use alcove_domain::{
    BuildId, BuildInfo, ImageBuild, NewBuiltSnapshot, OrganizationId, Permission, Reason,
    Resources, Sandbox, SandboxClass, Snapshot, SnapshotId, SnapshotState,
};
use alcove_runner_api::{BaseImage, Build, BuildFaultCode, BuildOutcome, ImageDigest, PullOfBase};
use alcove_store::{SnapshotOutcome, StoreError};
use futures_util::stream::{BoxStream, StreamExt as _, unfold};

use crate::images::{self, name_of};
use crate::probe::Step;
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
    shared.check_not_suspended(&caller.organization)?;
    shared.region_with_runner(&caller.organization, request.region.as_deref())?;
    let resources =
        plan_built_snapshot(&request, shared.settings.default_resources).map_err(Error::refused)?;
    // What is wrong with the Dockerfile is told now; what its images bring is known to the runner only.
    let file = Dockerfile::parse(&request.info.dockerfile)
        .map_err(|refusal| refused(&refusal.to_string()))?;
    if let Err(missing) = resolve(shared, &caller.organization, &file).await? {
        return Err(refused(&missing));
    }
    let snapshot = Snapshot {
        has_own_entrypoint: request
            .entrypoint
            .as_ref()
            .is_some_and(|list| !list.is_empty()),
        entrypoint: request.entrypoint.unwrap_or_default(),
        ..new_snapshot(shared, &caller.organization, request.name, resources)
    };
    let build = new_build(shared, &snapshot, &caller.organization, request.info);
    let task = {
        let (shared, snapshot) = (Arc::clone(shared), snapshot.clone());
        async move { insert(&shared, &snapshot, build).await }
    };
    shared.finish("ordering a build", task).await?;
    Ok(snapshot)
}

/// One that is being built.
fn new_snapshot(
    shared: &Shared,
    org: &OrganizationId,
    name: String,
    resources: Resources,
) -> Snapshot {
    let now = shared.clock.now();
    Snapshot {
        id: SnapshotId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: Some(org.clone()),
        is_shared: false,
        name,
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
        build_key: None,
        expires_at: None,
        lineage: None,
    }
}

fn new_build(
    shared: &Shared,
    snapshot: &Snapshot,
    org: &OrganizationId,
    info: BuildInfo,
) -> ImageBuild {
    let now = shared.clock.now();
    ImageBuild {
        id: BuildId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: org.clone(),
        snapshot_id: snapshot.id.clone(),
        info,
        created_at: now,
        deadline: now.checked_add(BUILD_LIMIT).unwrap_or(now),
        is_open: true,
    }
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
    let told = tx.commit_events().await.map_err(failed)?;
    shared.reached(Step::WishWritten).await;
    shared.note_snapshot_written();
    shared.events.wake(told);
    drive(shared, build);
    Ok(())
}

/// What the names of images in a Dockerfile mean to an organization: its snapshots, and what is in registries. The inner
/// error says which one means nothing.
async fn resolve(
    shared: &Shared,
    organization: &OrganizationId,
    file: &Dockerfile,
) -> Result<Result<BTreeMap<String, BaseImage>, String>, Error> {
    let mut images = BTreeMap::new();
    for name in file.images() {
        let found = shared.find_snapshot(organization, &name).await?;
        match found {
            Some(snapshot)
                if snapshot.state == SnapshotState::Active && !snapshot.image.is_empty() =>
            {
                let digest = ImageDigest(snapshot.image.clone());
                images.insert(name, BaseImage::Here { digest });
            }
            // One that is called like an image of a registry does not hide that.
            Some(snapshot) if !is_reference(&name) => {
                let state = snapshot.state.as_str();
                return Ok(Err(format!(
                    "the image {name:?} of the Dockerfile is {state}"
                )));
            }
            None if !is_reference(&name) => {
                return Ok(Err(format!(
                    "{name:?} of the Dockerfile is not the name of an image"
                )));
            }
            Some(_) | None => {
                let (credentials, is_plain) = shared.pull_login(organization, &name).await?;
                let pull = PullOfBase {
                    reference: name.clone(),
                    credentials,
                    is_plain,
                    max_bytes: shared.settings.snapshots.max_bytes,
                };
                images.insert(name, BaseImage::Pull(pull));
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
            while !work(&shared, &build).await {
                tracing::info!(build.id = %build.id, "a build that was given up is wanted again");
            }
            sandboxes::tell(&shared, &build.snapshot_id).await;
            release_unwanted(&shared, &build.snapshot_id).await;
        }
    };
    shared.spawn(task);
}

/// Takes the name from the image of a snapshot that was deleted while it was built. The delete has come before the image
/// had it, or the kill between the two.
async fn release_unwanted(shared: &Shared, id: &SnapshotId) {
    let found = shared.store.reader().snapshot_get(id).await;
    let is_wanted = match found {
        Ok(found) => found.is_some_and(|found| found.state != SnapshotState::Removing),
        // The look at names that lead nowhere finds it later.
        Err(_) => true,
    };
    if !is_wanted && let Err(error) = images::release(shared, id).await {
        tracing::warn!(snapshot.id = %id, %error, "the image of a deleted snapshot keeps its name for now");
    }
}

/// How the work for a build ended.
enum End {
    Outcome(SnapshotOutcome),
    /// Nobody waits for it.
    Unwanted,
}

/// Brings a build to an end and writes it down. False if somebody has come who waits for what was given up.
async fn work(shared: &Arc<Shared>, build: &ImageBuild) -> bool {
    let end = ask(shared, build).await;
    loop {
        match finish(shared, build, &end).await {
            Ok(is_over) => return is_over,
            Err(error) => {
                tracing::error!(build.id = %build.id, %error, "cannot write down the outcome of a build");
                shared.clock.sleep(RETRY).await;
            }
        }
    }
}

/// Whether anybody waits for a build.
async fn is_wanted(shared: &Shared, build: &ImageBuild) -> Result<bool, StoreError> {
    let tx = shared.store.begin().await?;
    let snapshot = tx.snapshot_get(&build.snapshot_id).await?;
    let Some(snapshot) = snapshot.filter(|found| found.state == SnapshotState::Building) else {
        return Ok(false);
    };
    Ok(snapshot.build_key.is_none() || tx.built_count_waiting(&snapshot.id).await? > 0)
}

/// Asks the runner until it has an outcome, or the time is over.
async fn ask(shared: &Arc<Shared>, build: &ImageBuild) -> End {
    let failed = |reason: String| End::Outcome(SnapshotOutcome::Failed { reason });
    loop {
        match is_wanted(shared, build).await {
            Ok(true) => {}
            Ok(false) => return End::Unwanted,
            Err(error) => {
                tracing::error!(build.id = %build.id, %error, "cannot look who waits for a build");
                shared.clock.sleep(RETRY).await;
                continue;
            }
        }
        let left = build.deadline.duration_since(shared.clock.now());
        let Ok(limit) = Duration::try_from(left) else {
            return failed("the build took too long".to_owned());
        };
        let images = match order_images(shared, build).await {
            Ok(Ok(images)) => images,
            Ok(Err(reason)) => return failed(reason),
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
            is_limited: shared.limited_egress.is_limited(&build.organization_id),
        };
        sandboxes::tell(shared, &build.snapshot_id).await;
        shared.reached(Step::OrderReady).await;
        let answer = shared.runner.build(order).await;
        shared.reached(Step::AnswerHeard).await;
        match answer {
            Ok(BuildOutcome::Done { image }) => {
                return End::Outcome(SnapshotOutcome::Made {
                    image: image.digest.0,
                    size_bytes: image.size_bytes,
                    entrypoint: image.entrypoint,
                    user: image.user,
                });
            }
            Ok(BuildOutcome::Failed { fault }) if fault.code == BuildFaultCode::Cancelled => {
                return End::Unwanted;
            }
            Ok(BuildOutcome::Failed { fault }) => {
                tracing::info!(build.id = %build.id, code = ?fault.code, "a build has failed");
                return failed(fault.message);
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
) -> Result<Result<BTreeMap<String, BaseImage>, String>, Error> {
    match Dockerfile::parse(&build.info.dockerfile) {
        Ok(file) => resolve(shared, &build.organization_id, &file).await,
        Err(refusal) => Ok(Err(refusal.to_string())),
    }
}

/// False if a build is wanted after all; then nothing was written.
async fn finish(shared: &Arc<Shared>, build: &ImageBuild, end: &End) -> Result<bool, Error> {
    let failed = |error| Error::store("writing down the outcome of a build", error);
    let given_up = SnapshotOutcome::Failed {
        reason: "the build was cancelled".to_owned(),
    };
    let outcome = match end {
        End::Outcome(outcome) => outcome,
        End::Unwanted => &given_up,
    };
    let tx = shared.store.begin().await.map_err(failed)?;
    let id = &build.snapshot_id;
    let is_building = tx.snapshot_get(id).await.map_err(failed)?;
    let is_building = is_building.is_some_and(|found| found.state == SnapshotState::Building);
    // Those who wait for what was cancelled from without are told so.
    let is_unwanted = is_building && matches!(end, End::Unwanted);
    if is_unwanted && tx.built_count_waiting(id).await.map_err(failed)? > 0 {
        return Ok(false);
    }
    let now = shared.clock.now();
    tx.build_finish(&build.id, id, outcome, now)
        .await
        .map_err(failed)?;
    let mut is_going = false;
    if is_unwanted
        && let Some(mut snapshot) = tx.snapshot_get(id).await.map_err(failed)?
        && snapshot.build_key.is_some()
    {
        snapshot.state = SnapshotState::Removing;
        tx.snapshot_update(&snapshot).await.map_err(failed)?;
        is_going = true;
    }
    let told = tx.commit_events().await.map_err(failed)?;
    shared.reached(Step::OutcomeWritten).await;
    shared.note_snapshot_written();
    shared.events.wake(told);
    if is_going {
        crate::snapshots::driver::drive(shared, id);
    }
    Ok(true)
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
    let found = find(shared, &snapshot.id).await?;
    found.ok_or_else(|| no_build(snapshot))
}

pub(crate) fn no_build(snapshot: &Snapshot) -> Error {
    Error::NotFound {
        message: format!("Snapshot {} has no build", snapshot.name),
    }
}

/// The build of a sandbox's image, where it was built for it.
pub(crate) async fn of_sandbox(
    shared: &Shared,
    sandbox: &Sandbox,
) -> Result<Option<ImageBuild>, Error> {
    if sandbox.is_built {
        find(shared, &sandbox.snapshot_id).await
    } else {
        Ok(None)
    }
}

async fn find(shared: &Shared, snapshot: &SnapshotId) -> Result<Option<ImageBuild>, Error> {
    let found = shared.store.reader().build_find_by_snapshot(snapshot).await;
    found.map_err(|error| Error::store("looking for a build", error))
}

/// The log of a build. With `follows` it ends when the build does, else with what there is.
pub(crate) fn log(shared: &Arc<Shared>, build: ImageBuild, follows: bool) -> BuildLog {
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
    log.boxed()
}

async fn is_open(shared: &Shared, build: &ImageBuild) -> bool {
    let found = shared
        .store
        .reader()
        .build_find_by_snapshot(&build.snapshot_id)
        .await;
    found.is_ok_and(|found| found.is_some_and(|found| found.id == build.id && found.is_open))
}
