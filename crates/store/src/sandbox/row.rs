//! Between the row and the domain's sandbox.

use std::str::FromStr;

use alcove_domain::{
    DesiredState, Fault, FaultCode, Intervals, Lifecycle, NetworkPolicy, Phase, Resources, Sandbox,
    SandboxClass, SandboxId, SandboxNetwork, SandboxState, SealedProxy, SnapshotId, VolumeId,
    VolumeMount,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::convert::{Place, bigint, json_list, json_map};
use crate::entity::sandbox::Model;

fn place(column: &'static str) -> Place {
    Place {
        table: "sandboxes",
        column,
    }
}

/// What hosts and agents say may hold anything; PostgreSQL does not keep this one character.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// What a state is about, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Work {
    Resize {
        cpu_cores: u32,
        memory_gib: u32,
        disk_gib: u32,
        gpu: u32,
    },
    Snapshot(SnapshotId),
    Fork(SandboxId),
}

fn work_of(phase: &Phase) -> Option<String> {
    let work = match phase {
        Phase::Resizing { to } => Work::Resize {
            cpu_cores: to.cpu_cores,
            memory_gib: to.memory_gib,
            disk_gib: to.disk_gib,
            gpu: to.gpu,
        },
        Phase::Snapshotting { snapshot } => Work::Snapshot(snapshot.clone()),
        Phase::Forking { child } => Work::Fork(child.clone()),
        _ => return None,
    };
    Some(serde_json::to_string(&work).expect("numbers and ids can always be written"))
}

/// A mount as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Mount {
    volume: VolumeId,
    #[serde(rename = "mount_path")]
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subpath: Option<String>,
    /// Rows from before there were such mounts have none of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
}

fn mounts_to_text(mounts: &[VolumeMount]) -> Option<String> {
    if mounts.is_empty() {
        return None;
    }
    let mounts: Vec<Mount> = mounts
        .iter()
        .map(|mount| Mount {
            volume: mount.volume.clone(),
            path: mount.mount_path.clone(),
            subpath: mount.subpath.clone(),
            read_only: mount.is_read_only,
        })
        .collect();
    Some(serde_json::to_string(&mounts).expect("texts can always be written"))
}

fn mounts_from_text(text: Option<&str>) -> Result<Vec<VolumeMount>, StoreError> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let mounts: Vec<Mount> = serde_json::from_str(text).map_err(|_| place("volumes").bad(text))?;
    Ok(mounts
        .into_iter()
        .map(|mount| VolumeMount {
            volume: mount.volume,
            mount_path: mount.path,
            subpath: mount.subpath,
            is_read_only: mount.read_only,
        })
        .collect())
}

/// The sizes that a sandbox is getting, by its column `work`.
pub(crate) fn resize_target(work: Option<&str>) -> Result<Option<Resources>, StoreError> {
    let Some(text) = work else { return Ok(None) };
    match serde_json::from_str(text).map_err(|_| place("work").bad(text))? {
        Work::Resize {
            cpu_cores,
            memory_gib,
            disk_gib,
            gpu,
        } => Ok(Some(Resources {
            cpu_cores,
            memory_gib,
            disk_gib,
            gpu,
        })),
        Work::Snapshot(_) | Work::Fork(_) => Ok(None),
    }
}

pub(crate) fn to_row(sandbox: &Sandbox) -> Model {
    let life = &sandbox.lifecycle;
    let fault = life.phase.fault();
    Model {
        id: sandbox.id.to_string(),
        organization_id: sandbox.organization_id.to_string(),
        name: sandbox.name.clone(),
        name_lower: sandbox.name.to_lowercase(),
        snapshot_id: sandbox.snapshot_id.to_string(),
        snapshot: sandbox.snapshot.clone(),
        is_built: sandbox.is_built,
        image: sandbox.image.clone(),
        entrypoint: json_list(&sandbox.entrypoint),
        class: sandbox.class.as_str().to_owned(),
        os_user: sandbox.user.clone(),
        env: json_map(&sandbox.env),
        labels: json_map(&sandbox.labels),
        is_public: sandbox.is_public,
        region: sandbox.region.clone(),
        runner_id: sandbox.runner.as_ref().map(ToString::to_string),
        cpu_cores: sandbox.resources.cpu_cores.into(),
        memory_gib: sandbox.resources.memory_gib.into(),
        disk_gib: sandbox.resources.disk_gib.into(),
        gpu: sandbox.resources.gpu.into(),
        auto_stop_minutes: sandbox.intervals.auto_stop_minutes.into(),
        auto_archive_minutes: sandbox.intervals.auto_archive_minutes.into(),
        auto_delete_minutes: sandbox.intervals.auto_delete_minutes.map(Into::into),
        ttl_minutes: sandbox.intervals.ttl_minutes.map(Into::into),
        auto_destroy_at: sandbox.auto_destroy_at.map(Timestamp::as_millisecond),
        stop_at: sandbox.stop_at.map(Timestamp::as_millisecond),
        is_unfinished: sandbox.is_unfinished,
        state: life.phase.state().as_str().to_owned(),
        desired_state: life.desired.as_str().to_owned(),
        generation: bigint(life.generation),
        state_changed_at: life.state_changed_at.as_millisecond(),
        fault_code: fault.map(|fault| fault.code.as_str().to_owned()),
        fault_message: fault.map(|fault| without_nul(&fault.message)),
        has_disk: matches!(life.phase, Phase::Error { has_disk: true, .. }),
        is_recoverable: sandbox.is_recoverable(),
        agent_version: sandbox.agent_version.as_deref().map(without_nul),
        auto_pause_minutes: sandbox.intervals.auto_pause_minutes.into(),
        work: work_of(&life.phase),
        parent_id: sandbox.parent_id.as_ref().map(ToString::to_string),
        linked_sandbox_id: sandbox.linked_to.as_ref().map(ToString::to_string),
        volumes: mounts_to_text(&sandbox.volumes),
        network_block_all: sandbox.network.policy.block_all,
        network_allow_list: sandbox.network.policy.networks_text(),
        domain_allow_list: sandbox.network.policy.domains_text(),
        network_version: bigint(sandbox.network.version),
        network_applied: sandbox.network.applied.map(bigint),
        outbound_proxy: sandbox
            .outbound_proxy
            .as_ref()
            .map(|sealed| hex::encode(&sealed.0)),
        created_at: sandbox.created_at.as_millisecond(),
        updated_at: sandbox.updated_at.as_millisecond(),
        last_activity_at: sandbox.last_activity_at.as_millisecond(),
        version: bigint(sandbox.version),
    }
}

pub(crate) fn from_row(row: Model) -> Result<Sandbox, StoreError> {
    let phase = phase_from_row(&row)?;
    let network = network_from_row(&row)?;
    Ok(Sandbox {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        name: row.name,
        snapshot_id: place("snapshot_id").id(row.snapshot_id)?,
        snapshot: row.snapshot,
        is_built: row.is_built,
        image: row.image,
        entrypoint: place("entrypoint").list(&row.entrypoint)?,
        class: place("class").word(&row.class, SandboxClass::parse)?,
        user: row.os_user,
        env: place("env").map(&row.env)?,
        labels: place("labels").map(&row.labels)?,
        is_public: row.is_public,
        region: row.region,
        runner: row
            .runner_id
            .map(|id| place("runner_id").id(id))
            .transpose()?,
        resources: Resources {
            cpu_cores: place("cpu_cores").small(row.cpu_cores)?,
            memory_gib: place("memory_gib").small(row.memory_gib)?,
            disk_gib: place("disk_gib").small(row.disk_gib)?,
            gpu: place("gpu").small(row.gpu)?,
        },
        intervals: Intervals {
            auto_stop_minutes: place("auto_stop_minutes").small(row.auto_stop_minutes)?,
            auto_pause_minutes: place("auto_pause_minutes").small(row.auto_pause_minutes)?,
            auto_archive_minutes: place("auto_archive_minutes").small(row.auto_archive_minutes)?,
            auto_delete_minutes: place("auto_delete_minutes")
                .small_option(row.auto_delete_minutes)?,
            ttl_minutes: place("ttl_minutes").small_option(row.ttl_minutes)?,
        },
        auto_destroy_at: place("auto_destroy_at").time_option(row.auto_destroy_at)?,
        stop_at: place("stop_at").time_option(row.stop_at)?,
        is_unfinished: row.is_unfinished,
        network,
        outbound_proxy: row
            .outbound_proxy
            .map(|sealed| {
                let bytes = hex::decode(sealed);
                bytes.map_err(|_| place("outbound_proxy").bad("no hex digits"))
            })
            .transpose()?
            .map(SealedProxy),
        volumes: mounts_from_text(row.volumes.as_deref())?,
        parent_id: row
            .parent_id
            .map(|id| place("parent_id").id(id))
            .transpose()?,
        linked_to: row
            .linked_sandbox_id
            .map(|id| place("linked_sandbox_id").id(id))
            .transpose()?,
        lifecycle: Lifecycle {
            phase,
            desired: place("desired_state").word(&row.desired_state, DesiredState::parse)?,
            generation: place("generation").unsigned(row.generation)?,
            state_changed_at: place("state_changed_at").time(row.state_changed_at)?,
        },
        agent_version: row.agent_version,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
        last_activity_at: place("last_activity_at").time(row.last_activity_at)?,
        version: place("version").unsigned(row.version)?,
    })
}

fn network_from_row(row: &Model) -> Result<SandboxNetwork, StoreError> {
    Ok(SandboxNetwork {
        policy: NetworkPolicy {
            block_all: row.network_block_all,
            allow_networks: entries("network_allow_list", row.network_allow_list.as_deref())?,
            allow_domains: entries("domain_allow_list", row.domain_allow_list.as_deref())?,
        },
        version: place("network_version").unsigned(row.network_version)?,
        applied: row
            .network_applied
            .map(|version| place("network_applied").unsigned(version))
            .transpose()?,
    })
}

/// A list that cannot be read must not become an empty one, which allows more.
fn entries<T: FromStr>(column: &'static str, text: Option<&str>) -> Result<Vec<T>, StoreError> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let entry = |entry: &str| entry.parse().map_err(|_| place(column).bad(text));
    text.split(',').map(entry).collect()
}

fn phase_from_row(row: &Model) -> Result<Phase, StoreError> {
    let fault = match &row.fault_code {
        Some(code) => Some(Fault {
            code: place("fault_code").word(code, FaultCode::parse)?,
            message: row.fault_message.clone().unwrap_or_default(),
        }),
        None => None,
    };
    let state = place("state").word(&row.state, SandboxState::parse)?;
    let work = || {
        let text = row.work.as_deref().unwrap_or_default();
        serde_json::from_str::<Work>(text).map_err(|_| place("work").bad(text))
    };
    let misfit = || place("work").bad("of another state");
    let must = |fault: Option<Fault>| fault.ok_or_else(|| place("fault_code").bad("NULL"));
    Ok(match state {
        SandboxState::Creating => Phase::Creating,
        SandboxState::Restoring => Phase::Restoring,
        SandboxState::Destroyed => Phase::Destroyed,
        SandboxState::Destroying => Phase::Destroying,
        SandboxState::Started => Phase::Started,
        SandboxState::Stopped => Phase::Stopped { fault },
        SandboxState::Starting => Phase::Starting,
        SandboxState::Stopping => Phase::Stopping,
        SandboxState::Error => Phase::Error {
            fault: must(fault)?,
            has_disk: row.has_disk,
        },
        SandboxState::BuildFailed => Phase::BuildFailed {
            fault: must(fault)?,
        },
        SandboxState::PendingBuild => Phase::PendingBuild,
        SandboxState::BuildingSnapshot => Phase::BuildingSnapshot,
        SandboxState::Unknown => Phase::Unknown,
        SandboxState::PullingSnapshot => Phase::PullingSnapshot,
        SandboxState::Archived => Phase::Archived,
        SandboxState::Archiving => Phase::Archiving,
        SandboxState::Resizing => match work()? {
            Work::Resize {
                cpu_cores,
                memory_gib,
                disk_gib,
                gpu,
            } => Phase::Resizing {
                to: Resources {
                    cpu_cores,
                    memory_gib,
                    disk_gib,
                    gpu,
                },
            },
            Work::Snapshot(_) | Work::Fork(_) => return Err(misfit()),
        },
        SandboxState::Snapshotting => match work()? {
            Work::Snapshot(snapshot) => Phase::Snapshotting { snapshot },
            Work::Resize { .. } | Work::Fork(_) => return Err(misfit()),
        },
        SandboxState::Forking => match work()? {
            Work::Fork(child) => Phase::Forking { child },
            Work::Resize { .. } | Work::Snapshot(_) => return Err(misfit()),
        },
        SandboxState::Pausing => Phase::Pausing,
        SandboxState::Paused => Phase::Paused,
        SandboxState::Resuming => Phase::Resuming,
    })
}
