//! From the control plane's objects to what a client reads.

use alcove_api_types::daytona::era::Era;
use alcove_api_types::daytona::{self as api};
use alcove_domain::{
    ImageBuild, OffsetPage, Sandbox, SandboxState, Snapshot, Volume, WarmPoolView,
};
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::app::App;

/// A sandbox in the newest clients' words, as lists and events have it.
pub(crate) fn sandbox(app: &App, sandbox: &Sandbox) -> api::Sandbox {
    let resources = &sandbox.resources;
    let intervals = &sandbox.intervals;
    api::Sandbox {
        id: sandbox.id.to_string(),
        organization_id: sandbox.organization_id.to_string(),
        name: sandbox.name.clone(),
        snapshot: (!sandbox.is_built).then(|| sandbox.snapshot.clone()),
        user: sandbox.user.clone(),
        env: sandbox.env.clone(),
        labels: sandbox.labels.clone(),
        public: sandbox.is_public,
        network_block_all: sandbox.network.policy.block_all,
        kvm: false,
        network_allow_list: sandbox.network.policy.networks_text(),
        domain_allow_list: sandbox.network.policy.domains_text(),
        outbound_proxy_url: None,
        target: sandbox.region.clone(),
        cpu: resources.cpu_cores,
        gpu: resources.gpu,
        spot: false,
        memory: resources.memory_gib,
        disk: resources.disk_gib,
        state: api::SandboxState::from_word(sandbox.state().as_str()),
        desired_state: api::SandboxDesiredState::from_word(sandbox.desired_state().as_str()),
        error_reason: sandbox.error_reason(),
        error_code: sandbox.error_code().map(str::to_owned),
        recoverable: sandbox.is_recoverable(),
        backup_state: Some(backup_state(sandbox).to_owned()),
        auto_stop_interval: Some(intervals.auto_stop_minutes.into()),
        auto_pause_interval: Some(intervals.auto_pause_minutes.into()),
        auto_archive_interval: Some(intervals.auto_archive_minutes.into()),
        auto_delete_interval: Some(intervals.auto_delete_minutes.map_or(-1, i64::from)),
        auto_destroy_at: sandbox.auto_destroy_at.map(Into::into),
        volumes: sandbox
            .volumes
            .iter()
            .map(|mount| api::SandboxVolume {
                volume_id: mount.volume.to_string(),
                mount_path: mount.mount_path.clone(),
                subpath: mount.subpath.clone(),
            })
            .collect(),
        build_info: sandbox.is_built.then(|| api::BuildInfo {
            dockerfile_content: None,
            context_hashes: None,
            created_at: sandbox.created_at.into(),
            updated_at: sandbox.updated_at.into(),
            snapshot_ref: sandbox.snapshot.clone(),
        }),
        created_at: Some(sandbox.created_at.into()),
        updated_at: Some(sandbox.updated_at.into()),
        last_activity_at: Some(sandbox.last_activity_at.into()),
        sandbox_class: Some(sandbox.class.as_str().to_owned()),
        daemon_version: sandbox.agent_version.clone(),
        // Of the one that is part of the server nobody needs to know.
        runner_id: sandbox.runner.as_ref().map(ToString::to_string),
        linked_sandbox_id: sandbox.linked_to.as_ref().map(ToString::to_string),
        toolbox_proxy_url: app.toolbox_url().to_owned(),
    }
}

/// A sandbox with what is for those alone who ask for this one: its proxy may hold a password.
fn whole_sandbox(app: &App, found: &Sandbox) -> api::Sandbox {
    api::Sandbox {
        outbound_proxy_url: app.control().outbound_proxy_url(found),
        ..sandbox(app, found)
    }
}

/// A sandbox with what its image was built of.
pub(crate) fn built_sandbox(app: &App, found: &Sandbox, build: ImageBuild) -> api::Sandbox {
    let mut shown = whole_sandbox(app, found);
    if let Some(info) = &mut shown.build_info {
        info.dockerfile_content = Some(build.info.dockerfile);
        info.context_hashes = Some(build.info.context_hashes);
    }
    shown
}

fn backup_state(sandbox: &Sandbox) -> &'static str {
    match sandbox.state() {
        SandboxState::Archived | SandboxState::Restoring => "Completed",
        SandboxState::Archiving => "InProgress",
        _ => "None",
    }
}

/// A snapshot in the newest clients' words.
pub(crate) fn snapshot(app: &App, snapshot: &Snapshot) -> api::Snapshot {
    #[expect(clippy::cast_precision_loss, reason = "a size for people, in GiB")]
    let size = snapshot
        .size_bytes
        .map(|bytes| bytes as f64 / f64::from(1 << 30));
    api::Snapshot {
        id: snapshot.id.to_string(),
        organization_id: snapshot.organization_id.as_ref().map(ToString::to_string),
        general: snapshot.is_general(),
        name: snapshot.name.clone(),
        image_name: snapshot.image_name.clone(),
        state: api::SnapshotState::from_word(snapshot.state.as_str())
            .unwrap_or(api::SnapshotState::Error),
        size,
        entrypoint: (!snapshot.entrypoint.is_empty()).then(|| snapshot.entrypoint.clone()),
        cpu: snapshot.resources.cpu_cores,
        gpu: snapshot.resources.gpu,
        mem: snapshot.resources.memory_gib,
        disk: snapshot.resources.disk_gib,
        error_reason: snapshot.error_reason.clone(),
        created_at: snapshot.created_at.into(),
        updated_at: snapshot.updated_at.into(),
        last_used_at: snapshot.last_used_at.map(Into::into),
        source_sandbox_id: snapshot.source_sandbox_id.as_ref().map(ToString::to_string),
        region_ids: vec![app.control().settings().region.id.clone()],
        reference: Some(snapshot.image.clone()).filter(|image| !image.is_empty()),
        sandbox_class: Some(snapshot.class.as_str().to_owned()),
    }
}

/// A volume as a client of this age reads it.
pub(crate) fn volume_for(era: Era, found: &Volume) -> api::Volume {
    let mut shown = volume(found);
    if era.needs_use_of_volumes() {
        shown.last_used_at.get_or_insert(shown.created_at);
    }
    shown
}

pub(crate) fn volume(volume: &Volume) -> api::Volume {
    api::Volume {
        id: volume.id.to_string(),
        name: volume.name.clone(),
        organization_id: volume.organization_id.to_string(),
        state: api::VolumeState::from_word(volume.state().as_str())
            .unwrap_or(api::VolumeState::Error),
        created_at: volume.created_at.into(),
        updated_at: volume.updated_at.into(),
        last_used_at: volume.last_used_at.map(Into::into),
        error_reason: volume.error_reason().map(str::to_owned),
    }
}

pub(crate) fn warm_pool(view: &WarmPoolView) -> api::WarmPool {
    let pool = &view.pool;
    api::WarmPool {
        id: pool.id.to_string(),
        organization_id: pool.organization_id.to_string(),
        snapshot: pool.snapshot.clone(),
        target: pool.region.clone(),
        pool: pool.size,
        current_size: view.ready,
        cpu: pool.resources.cpu_cores,
        mem: pool.resources.memory_gib,
        disk: pool.resources.disk_gib,
        os_user: pool.user.clone(),
        env: std::collections::BTreeMap::new(),
        error_reason: view.error_reason.clone(),
        created_at: pool.created_at.into(),
        updated_at: pool.updated_at.into(),
    }
}

/// An answer with one sandbox in it.
pub(crate) fn sandbox_answer(app: &App, era: Era, found: &Sandbox) -> Response {
    shown_sandbox_answer(era, whole_sandbox(app, found))
}

pub(crate) fn shown_sandbox_answer(era: Era, shown: api::Sandbox) -> Response {
    if !era.needs_adapting() {
        return Json(shown).into_response();
    }
    adapted(&shown, |value| adapt_sandbox(era, value))
}

/// An answer that is one sandbox with more in it.
pub(crate) fn wrapped_sandbox_answer(era: Era, found: &impl Serialize) -> Response {
    adapted(found, |value| adapt_sandbox(era, value))
}

/// An answer of any shape whose sandboxes are below `items`, or which is itself a list of them.
pub(crate) fn sandboxes_answer(era: Era, page: &impl Serialize) -> Response {
    if !era.needs_adapting() {
        return Json(page).into_response();
    }
    adapted(page, |value| {
        each_item(value, |item| adapt_sandbox(era, item));
    })
}

pub(crate) fn snapshot_answer(app: &App, era: Era, found: &Snapshot) -> Response {
    adapted(&snapshot(app, found), |value| adapt_snapshot(era, value))
}

pub(crate) fn snapshots_answer(app: &App, era: Era, page: &OffsetPage<Snapshot>) -> Response {
    let page = api::SnapshotPage {
        items: page.items.iter().map(|item| snapshot(app, item)).collect(),
        total: page.total,
        page: page.page,
        total_pages: page.total_pages,
    };
    adapted(&page, |value| {
        each_item(value, |item| adapt_snapshot(era, item));
    })
}

fn adapt_sandbox(era: Era, value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        era.adapt_sandbox(fields);
    }
}

fn adapt_snapshot(era: Era, value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        era.adapt_snapshot(fields);
    }
}

fn each_item(value: &mut Value, change: impl FnMut(&mut Value)) {
    let items = match value {
        Value::Array(items) => Some(items),
        other => other.get_mut("items").and_then(Value::as_array_mut),
    };
    items.into_iter().flatten().for_each(change);
}

fn adapted(answer: &impl Serialize, change: impl FnOnce(&mut Value)) -> Response {
    // Our own types have only text keys and finite numbers; what serialises once does so again.
    let mut value = serde_json::to_value(answer).unwrap_or_default();
    change(&mut value);
    Json(value).into_response()
}
