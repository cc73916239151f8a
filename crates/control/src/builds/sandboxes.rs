//! Sandboxes whose images are built for them.
//!
//! What a create has had built is a snapshot that people do not see, found again by a key over all that it was built
//! of. The first create with a key writes snapshot and build; others wait for the same build, or find its image. While
//! a sandbox of it is there, the snapshot stays, and with it the log; after that it goes by [`built_to_go`].

use std::collections::BTreeMap;
use std::sync::Arc;

use alcove_build::Dockerfile;
use alcove_domain::build::built_to_go;
use alcove_domain::create::plan_build_create;
use alcove_domain::{
    BuildInfo, BuildNews, Capability, Fault, FaultCode, Lifecycle, NewSandbox, OrganizationId,
    Placing, Sandbox, SandboxClass, SandboxId, SandboxNetwork, Snapshot, SnapshotId, SnapshotState,
};
use alcove_runner_api::BaseImage;
use alcove_store::StoreError;
use sha2::{Digest as _, Sha256};

use super::{drive, new_build, new_snapshot, refused, resolve};
use crate::directory::Entry;
use crate::driver::{self, Ask};
use crate::rng::uuid_v4;
use crate::sandboxes::{insert_in_tx, name_taken, started};
use crate::shared::Shared;
use crate::{Caller, Error, snapshots, volumes};

/// Makes a sandbox and, where that was not done before, orders the build of its image. A sandbox that waits for its
/// image is given as it is at once.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: NewSandbox,
    id: SandboxId,
) -> Result<Arc<Sandbox>, Error> {
    let region = shared.region_with_runner(&caller.organization, request.target.as_deref())?;
    let place = shared.region_of(&caller.organization, request.target.as_deref())?;
    shared.check_placing(Placing::Take)?;
    let plan = plan_build_create(request, id.as_str(), shared.settings.default_resources)
        .map_err(Error::refused)?;
    let file = Dockerfile::parse(&plan.info.dockerfile)
        .map_err(|refusal| refused(&refusal.to_string()))?;
    let org = &caller.organization;
    let images = match resolve(shared, org, &file).await? {
        Ok(images) => images,
        Err(missing) => return Err(refused(&missing)),
    };
    let planned = plan.sandbox;
    if shared.directory.holds_name(org, &planned.name) {
        return Err(name_taken(&planned.name));
    }
    let has_volumes = !planned.volumes.is_empty();
    let mut needs = shared.needs_of(&planned.network, &planned.intervals, has_volumes);
    needs.capabilities.insert(Capability::Builds);
    shared.check_needs(&place, &needs)?;
    let volumes = volumes::resolve(shared, org, &planned.volumes).await?;
    let outbound_proxy = shared.seal_proxy(org, planned.outbound_proxy.as_ref())?;
    let key = key_of(org, &plan.info, &images);
    let now = shared.clock.now();
    let sandbox = Sandbox {
        id,
        organization_id: org.clone(),
        name: planned.name,
        // Where the snapshot is known already, its own are set when it is found.
        snapshot_id: SnapshotId::from_uuid(uuid_v4(&*shared.rng)),
        snapshot: format!("daytona-{key}:daytona"),
        is_built: true,
        image: String::new(),
        entrypoint: Vec::new(),
        class: SandboxClass::Container,
        user: planned.user,
        env: planned.env,
        labels: planned.labels,
        is_public: planned.is_public,
        region,
        runner: None,
        resources: plan.resources,
        auto_destroy_at: planned.intervals.auto_destroy_at(now),
        stop_at: None,
        is_unfinished: false,
        intervals: planned.intervals,
        network: SandboxNetwork::new(planned.network),
        outbound_proxy,
        volumes,
        parent_id: None,
        linked_to: None,
        lifecycle: Lifecycle::awaiting_image(now),
        agent_version: None,
        created_at: now,
        updated_at: now,
        last_activity_at: now,
        version: 1,
    };
    let task = {
        let shared = Arc::clone(shared);
        async move { insert(&shared, sandbox, key, plan.info).await }
    };
    // A caller that goes away must not leave a row that nobody drives.
    let (written, entry) = shared.finish("creating a sandbox", task).await?;
    if written.lifecycle.awaits_image() {
        // As it was written, whatever came since: clients ask for the build's log only if they see that it waits.
        return Ok(written);
    }
    started(shared, &entry).await
}

async fn insert(
    shared: &Arc<Shared>,
    mut sandbox: Sandbox,
    key: String,
    info: BuildInfo,
) -> Result<(Arc<Sandbox>, Arc<Entry>), Error> {
    let failed = |error| Error::store("creating a sandbox", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let org = sandbox.organization_id.clone();
    let found = tx.built_find(&org, &key).await.map_err(failed)?;
    let mut begun = None;
    if let Some(found) = found {
        sandbox.snapshot_id = found.id.clone();
        if found.state == SnapshotState::Active {
            found.dress(&mut sandbox);
            sandbox.lifecycle = Lifecycle::created(sandbox.created_at);
        }
    } else {
        let snapshot = Snapshot {
            id: sandbox.snapshot_id.clone(),
            build_key: Some(key),
            ..new_snapshot(
                shared,
                &org,
                format!("+build-{}", sandbox.snapshot_id),
                sandbox.resources,
            )
        };
        let build = new_build(shared, &snapshot, &org, info);
        tx.snapshot_insert(&snapshot).await.map_err(failed)?;
        tx.build_insert(&build).await.map_err(failed)?;
        begun = Some(build);
    }
    let snapshot_id = sandbox.snapshot_id.clone();
    let written = Arc::new(sandbox.clone());
    let entry = insert_in_tx(shared, tx, sandbox).await?;
    shared.snapshots.note_use(&snapshot_id, written.created_at);
    if let Some(build) = begun {
        shared.note_snapshot_written();
        drive(shared, build);
    } else if written.lifecycle.awaits_image() {
        // Its news may have been told before the sandbox was there.
        driver::ask(shared, &entry, Ask::Begin { fault: None }).await;
    }
    Ok((written, entry))
}

/// Names all that an image is built of. The organization comes first: nobody is served what another one uploaded or
/// built. A snapshot that a Dockerfile starts from counts with its image, one of a registry by its name alone.
fn key_of(org: &OrganizationId, info: &BuildInfo, images: &BTreeMap<String, BaseImage>) -> String {
    let mut hash = Sha256::new();
    // Length first: without it, parts that follow one another could be cut elsewhere.
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    part("alcove built image 1");
    part(org.as_str());
    part(&info.dockerfile);
    part(&info.context_hashes.len().to_string());
    for context in &info.context_hashes {
        part(context);
    }
    for (name, image) in images {
        if let BaseImage::Here { digest } = image {
            part(name);
            part(&digest.0);
        }
    }
    hex::encode(hash.finalize())
}

/// What there is to tell a sandbox that waits, and the snapshot if its image is there.
pub(crate) async fn news_of(
    shared: &Shared,
    sandbox: &Sandbox,
) -> Result<(BuildNews, Option<Snapshot>), StoreError> {
    let reader = shared.store.reader();
    let snapshot = reader.snapshot_get(&sandbox.snapshot_id).await?;
    let failed = |reason: String| BuildNews::Failed(Fault::new(FaultCode::BuildFailed, reason));
    Ok(match snapshot {
        Some(snapshot) if snapshot.state == SnapshotState::Building => (BuildNews::Begun, None),
        Some(snapshot) if snapshot.state == SnapshotState::Active => {
            (BuildNews::Made, Some(snapshot))
        }
        Some(snapshot) => {
            let reason = snapshot.error_reason.unwrap_or_default();
            (failed(reason), None)
        }
        None => (failed("the build was given up".to_owned()), None),
    })
}

/// Tells the sandboxes that wait for an image what there is to tell.
pub(crate) async fn tell(shared: &Arc<Shared>, snapshot: &SnapshotId) {
    for entry in shared.directory.entries() {
        let sandbox = entry.sandbox();
        if sandbox.snapshot_id == *snapshot && sandbox.lifecycle.awaits_image() {
            driver::ask(shared, &entry, Ask::Begin { fault: None }).await;
        }
    }
}

/// Tells every sandbox that waits for an image.
pub(crate) async fn tell_all(shared: &Arc<Shared>) {
    for entry in shared.directory.entries() {
        if entry.sandbox().lifecycle.awaits_image() {
            driver::ask(shared, &entry, Ask::Begin { fault: None }).await;
        }
    }
}

/// A sandbox waits no longer, and is on its way out. The build that nobody waits for then is ended.
pub(crate) async fn note_leaver(shared: &Shared, snapshot: &SnapshotId) {
    let is_wanted = shared.directory.entries().iter().any(|entry| {
        let sandbox = entry.sandbox();
        sandbox.snapshot_id == *snapshot && sandbox.lifecycle.awaits_image()
    });
    if is_wanted {
        return;
    }
    // Whoever comes meanwhile has the build ordered again.
    if let Err(error) = super::cancel(shared, snapshot).await {
        tracing::warn!(snapshot.id = %snapshot, %error, "cannot cancel a build");
    }
}

/// Lets images go that creates have had built and that are not needed.
pub(crate) async fn let_go(shared: &Arc<Shared>) -> Result<(), Error> {
    let failed = |error| Error::store("letting built images go", error);
    let now = shared.clock.now();
    let tx = shared.store.begin().await.map_err(failed)?;
    let unheld = tx.built_list_unheld().await.map_err(failed)?;
    let mut going = Vec::new();
    for id in built_to_go(unheld, now) {
        if let Some(mut snapshot) = tx.snapshot_get(&id).await.map_err(failed)? {
            snapshot.state = SnapshotState::Removing;
            snapshot.updated_at = now;
            tx.snapshot_update(&snapshot).await.map_err(failed)?;
            going.push(id);
        }
    }
    if going.is_empty() {
        return Ok(());
    }
    tx.commit().await.map_err(failed)?;
    shared.note_snapshot_written();
    for id in going {
        snapshots::driver::drive(shared, &id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_all_that_an_image_is_built_of() {
        let org = |number| OrganizationId::from_uuid(uuid::Uuid::from_u128(number));
        let info = |dockerfile: &str, contexts: &[&str]| BuildInfo {
            dockerfile: dockerfile.to_owned(),
            context_hashes: contexts.iter().map(ToString::to_string).collect(),
        };
        let image = |digest: &str| {
            let digest = alcove_runner_api::ImageDigest(digest.to_owned());
            BTreeMap::from([("x".to_owned(), BaseImage::Here { digest })])
        };
        let none = BTreeMap::new();
        let keys = [
            key_of(&org(1), &info("FROM x", &["ab"]), &none),
            key_of(&org(2), &info("FROM x", &["ab"]), &none),
            key_of(&org(1), &info("FROM x", &["a", "b"]), &none),
            key_of(&org(1), &info("FROM x", &["b", "a"]), &none),
            key_of(&org(1), &info("FROM y", &["ab"]), &none),
            key_of(&org(1), &info("FROM x", &["ab"]), &image("1")),
            key_of(&org(1), &info("FROM x", &["ab"]), &image("2")),
        ];
        assert_eq!(keys[0], key_of(&org(1), &info("FROM x", &["ab"]), &none));
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }
}
