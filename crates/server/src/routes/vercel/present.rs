//! From the control plane's objects to what these clients read.

use std::collections::BTreeMap;

use alcove_api_types::vercel::{
    Drive, KeepLastSnapshots, Mount, NetworkTransfer, PolicyAnswer, PolicyMode, PolicyRequest,
    READ_ONLY, READ_WRITE, Route, Sandbox, Session as SessionBody, Snapshot, SnapshotNode,
};
use alcove_control::{Caller, Session};
use alcove_domain::session::{KeepLast, KeepLastRequest};
use alcove_domain::{self as domain, NetworkPolicy, NetworkSettings, Port, SandboxState, session};
use jiff::Timestamp;

use crate::app::App;
use crate::error::ApiError;

/// What clients are told of a runtime where nobody named one: they do not do without.
const RUNTIME_DEFAULT: &str = "node24";
/// The vendor's command line wants a number here before it goes on.
const INTERACTIVE_PORT: u16 = 26661;
/// How long the address of a port is good for.
const ROUTE_SECONDS: i64 = alcove_control::SIGNED_MAX_SECONDS;

fn status(session: &Session) -> String {
    session.status().to_owned()
}

fn policy(policy: &NetworkPolicy) -> PolicyAnswer {
    if policy.block_all {
        return PolicyAnswer::DenyAll;
    }
    if policy.is_open() {
        return PolicyAnswer::AllowAll;
    }
    PolicyAnswer::Custom {
        domains: policy
            .allow_domains
            .iter()
            .map(ToString::to_string)
            .collect(),
        networks: policy
            .allow_networks
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

/// The policy that a client asks for, in ours.
pub(super) fn settings(request: &PolicyRequest) -> Result<NetworkSettings, ApiError> {
    if let Some(what) = request.unsupported.first() {
        return Err(super::not_supported(&format!("{what} in a network policy")));
    }
    let list = |entries: &[String]| Some(entries.join(","));
    Ok(match request.mode {
        Some(PolicyMode::DenyAll) => NetworkSettings {
            block_all: Some(true),
            ..NetworkSettings::default()
        },
        Some(PolicyMode::AllowAll) => NetworkSettings {
            block_all: Some(false),
            ..NetworkSettings::default()
        },
        None => NetworkSettings {
            block_all: Some(false),
            allow_list: list(&request.networks),
            domain_allow_list: list(&request.domains),
        },
    })
}

fn stopped_at(session: &Session) -> Option<Timestamp> {
    let is_over = matches!(session.status(), "stopped" | "failed");
    let changed = session.sandbox.lifecycle.state_changed_at;
    is_over.then(|| session.record.stopped_at.unwrap_or(changed))
}

pub(super) fn sandbox(session: &Session) -> Sandbox {
    let (sandbox, record) = (&session.sandbox, &session.record);
    let is_running = sandbox.state() == SandboxState::Started;
    let total = record.total;
    let all = total.map(|total| total.used);
    let traffic = all.and_then(|used| used.traffic);
    Sandbox {
        name: sandbox.name.clone(),
        persistent: record.terms.is_persistent,
        created_at: sandbox.created_at.as_millisecond(),
        updated_at: sandbox.updated_at.as_millisecond(),
        status_updated_at: sandbox.lifecycle.state_changed_at.as_millisecond(),
        current_session_id: session.id().to_string(),
        status: status(session),
        region: sandbox.region.clone(),
        vcpus: sandbox.resources.cpu_cores,
        memory: session::memory_mib(sandbox.resources),
        runtime: runtime(session),
        image: record.terms.image.clone(),
        timeout: record.terms.timeout_ms,
        expires_at: sandbox
            .stop_at
            .filter(|_| is_running)
            .map(Timestamp::as_millisecond),
        current_snapshot_id: record.terms.current_snapshot.clone(),
        network_policy: policy(&sandbox.network.policy),
        total_duration_ms: total.map(|total| total.duration_ms),
        total_active_cpu_duration_ms: all.and_then(|used| used.cpu_ms),
        total_ingress_bytes: traffic.map(|traffic| traffic.received_bytes),
        total_egress_bytes: traffic.map(|traffic| traffic.sent_bytes),
        tags: record.tags.clone(),
        snapshot_expiration: record.terms.retention.expiration_ms,
        keep_last_snapshots: record.terms.retention.keep_last.map(keep_last),
        mounts: mounts(session),
    }
}

/// Names and paths are what the client wrote; how each is mounted is the sandbox's own.
fn mounts(session: &Session) -> BTreeMap<String, Mount> {
    let volumes = &session.sandbox.volumes;
    let is_read_only = |path: &str| {
        let mut at_path = volumes.iter();
        let path = path.trim_end_matches('/');
        at_path.any(|mount| mount.mount_path == path && mount.is_read_only)
    };
    let drives = session.record.terms.drives.iter();
    drives
        .map(|(path, drive)| {
            let mode = if is_read_only(path) {
                READ_ONLY
            } else {
                READ_WRITE
            };
            let mount = Mount {
                drive: drive.clone(),
                mode: mode.to_owned(),
            };
            (path.clone(), mount)
        })
        .collect()
}

pub(super) fn drive(drive: &alcove_control::Drive, region: &str) -> Drive {
    let (volume, user) = (&drive.volume, drive.user.as_ref());
    Drive {
        id: volume.id.to_string(),
        name: volume.name.clone(),
        project_id: volume.project.clone().unwrap_or_default(),
        region: region.to_owned(),
        max_size_bytes: volume.size_bytes,
        created_at: volume.created_at.as_millisecond(),
        updated_at: volume.updated_at.as_millisecond(),
        current_session_id: user.map(|session| session.id().to_string()),
        current_sandbox_name: user.map(|session| session.sandbox.name.clone()),
        parent_drive_id: volume.source.as_ref().map(ToString::to_string),
    }
}

fn keep_last(keep: KeepLast) -> KeepLastSnapshots {
    // Both are bounded far below.
    let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
    KeepLastSnapshots {
        count: number(keep.count),
        expiration: keep.expiration_ms.map(number),
        delete_evicted: Some(keep.deletes_evicted),
    }
}

/// The rule that a client asks for, in ours.
pub(super) fn keep_last_request(keep: &KeepLastSnapshots) -> KeepLastRequest {
    KeepLastRequest {
        count: keep.count,
        expiration_ms: keep.expiration,
        deletes_evicted: keep.delete_evicted,
    }
}

fn runtime(session: &Session) -> String {
    let runtime = session.record.terms.runtime.as_deref();
    runtime.unwrap_or(RUNTIME_DEFAULT).to_owned()
}

pub(super) fn session(session: &Session, cwd: &str) -> SessionBody {
    let (sandbox, record) = (&session.sandbox, &session.record);
    let started = record.started_at.as_millisecond();
    let stopped = stopped_at(session).map(Timestamp::as_millisecond);
    SessionBody {
        id: session.id().to_string(),
        source_sandbox_name: sandbox.name.clone(),
        project_id: record.terms.project.clone(),
        memory: session::memory_mib(sandbox.resources),
        vcpus: sandbox.resources.cpu_cores,
        region: sandbox.region.clone(),
        runtime: runtime(session),
        timeout: record.lasts_ms,
        status: status(session),
        requested_at: started,
        started_at: started,
        created_at: started,
        updated_at: sandbox.updated_at.as_millisecond(),
        stopped_at: stopped,
        duration: stopped.map(|stopped| (stopped - started).max(0)),
        source_snapshot_id: record.terms.source_snapshot.clone(),
        cwd: cwd.to_owned(),
        interactive_port: INTERACTIVE_PORT,
        network_policy: policy(&sandbox.network.policy),
        active_cpu_duration_ms: record.used.and_then(|used| used.cpu_ms),
        network_transfer: record.used.and_then(|used| used.traffic).map(|traffic| {
            NetworkTransfer {
                ingress: traffic.received_bytes,
                egress: traffic.sent_bytes,
            }
        }),
    }
}

/// Where the ports of a sandbox are shown. An address carries its own credential, for that port alone and for a day.
pub(super) fn routes(
    app: &App,
    caller: &Caller,
    session: &Session,
) -> Result<Vec<Route>, ApiError> {
    let ports = session.record.terms.ports.iter();
    let ports = ports.filter_map(|port| Port::new(*port));
    ports
        .map(|port| {
            let id = session.sandbox.id.as_str();
            let signed = app
                .control()
                .sign_preview(caller, id, port, Some(ROUTE_SECONDS))?;
            Ok(Route {
                url: app.preview_url(port, &signed.label),
                subdomain: format!("{port}-{}", signed.label),
                port: port.get(),
            })
        })
        .collect()
}

pub(super) fn snapshot(snapshot: &domain::Snapshot, region: &str) -> Snapshot {
    let lineage = snapshot.lineage.as_ref();
    // One that another client made is of no session.
    let source = match (lineage, &snapshot.source_sandbox_id) {
        (Some(lineage), _) => lineage.session.clone(),
        (None, Some(sandbox)) => sandbox.to_string(),
        (None, None) => String::new(),
    };
    let status = match snapshot.state {
        domain::SnapshotState::Error | domain::SnapshotState::BuildFailed => "failed",
        domain::SnapshotState::Removing => "deleted",
        _ => "created",
    };
    Snapshot {
        id: snapshot.id.to_string(),
        source_session_id: source.clone(),
        source_sandbox_id: source,
        region: region.to_owned(),
        status: status.to_owned(),
        size_bytes: snapshot.size_bytes.unwrap_or_default(),
        created_at: snapshot.created_at.as_millisecond(),
        updated_at: snapshot.updated_at.as_millisecond(),
        creation_method: "manual".to_owned(),
        expires_at: snapshot.expires_at.map(Timestamp::as_millisecond),
        last_used_at: snapshot.last_used_at.map(Timestamp::as_millisecond),
        parent_id: lineage
            .and_then(|lineage| lineage.parent.as_ref())
            .map(ToString::to_string),
    }
}

pub(super) fn snapshot_node(node: &alcove_control::SnapshotNode, region: &str) -> SnapshotNode {
    SnapshotNode {
        snapshot: snapshot(&node.snapshot, region),
        siblings: node
            .siblings
            .iter()
            .map(|sibling| snapshot(sibling, region))
            .collect(),
        count: node.count.to_string(),
    }
}
