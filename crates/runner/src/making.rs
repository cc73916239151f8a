//! How a sandbox comes to run: named steps, each of which knows how to undo itself.
//!
//! [`Parts`] holds what has been taken so far. A step that fails leaves it to [`Parts::undo`], which gives
//! everything back in reverse; each undo can be repeated and none stops the others.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_runner_api::SandboxSpec;
use alcove_spawner::protocol::{ExitStatus, Spawn};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::agent_probe;
use crate::disk::LoopNumber;
use crate::disk_pool::{AttachedDisk, blocking};
use crate::faults::Step;
use crate::host::{Host, HostError, admit};
use crate::host_layer;
use crate::image::Image;
use crate::journal::{Phase, ProcessIdentity, RangeIndex, Record, Running};
use crate::limits::Group;
use crate::mounts::RootPlan;
use crate::net::SlotIndex;
use crate::spawner_client::Spawned;

/// The agent's exit code for a user that the image does not have.
const AGENT_USER_MISSING: i32 = 3;

/// Variables that make programs trust what the host trusts; each has its own idea of where to look.
const CERTIFICATE_VARIABLES: [&str; 3] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];

/// A sandbox's share of memory that `/dev/shm` may take.
const SHM_DIVISOR: u64 = 2;

/// What a start works on.
#[derive(Debug)]
pub struct Start<'a> {
    pub host: &'a Host,
    pub sandbox: &'a SandboxId,
    pub spec: &'a SandboxSpec,
    /// The record to start from: a new one is in [`Phase::Making`], a stopped one in [`Phase::Starting`].
    pub record: Record,
    /// The device that the disk was on last; `None` where the disk is to be made.
    pub last_device: LastDevice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastDevice {
    /// There is no disk yet.
    NoDisk,
    Known(LoopNumber),
    /// It was released before, or the host was rebooted.
    Released,
}

/// A sandbox that runs.
#[derive(Debug)]
pub struct Made {
    pub record: Record,
    pub running: Running,
    pub pidfd: OwnedFd,
}

/// What a start has taken so far.
#[derive(Debug, Default)]
struct Parts {
    /// In the scratch; gone from here once the root holds it.
    disk: Option<AttachedDisk>,
    device: Option<LoopNumber>,
    group: Option<Group>,
    slot: Option<SlotIndex>,
    has_listener: bool,
}

/// Runs all steps. On failure everything is given back, the disk included where this start made it; the
/// record and the range stay for the caller.
pub async fn start(start: Start<'_>) -> Result<Made, Failed> {
    let mut parts = Parts::default();
    match run(&start, &mut parts).await {
        Ok(made) => Ok(made),
        Err(error) => {
            let busy = parts.undo(&start).await;
            Err(Failed { error, busy })
        }
    }
}

/// A start that failed and has been undone.
#[derive(Debug)]
pub struct Failed {
    pub error: HostError,
    /// The device that still holds the disk, where the kernel is slow to let go of it.
    pub busy: Option<LoopNumber>,
}

impl From<HostError> for Failed {
    fn from(error: HostError) -> Self {
        Self { error, busy: None }
    }
}

async fn run(start: &Start<'_>, parts: &mut Parts) -> Result<Made, HostError> {
    let Start {
        host,
        sandbox,
        spec,
        ..
    } = start;
    let hit = |step: Step| {
        host.faults.at(step).map_err(|source| HostError::Io {
            step: "pass a fault point",
            source,
        })
    };

    admit(&host.bounds, &host.data_dir)?;
    hit(Step::Admit)?;
    let image = host
        .images
        .get(&spec.image)
        .ok_or_else(|| HostError::ImageMissing {
            digest: spec.image.0.clone(),
        })?;

    let disk = take_disk(start).await?;
    let loop_device = disk.number;
    let mounted = disk.mounted.clone();
    parts.disk = Some(disk);
    parts.device = Some(loop_device);
    hit(Step::Disk)?;

    let group = host.limits.group(sandbox);
    // A group that a crash left behind may still hold the processes of a half-made sandbox.
    if group.exists() {
        let old = group.clone();
        blocking(move || old.destroy())
            .await
            .map_err(HostError::Disk)?
            .map_err(HostError::Limits)?;
    }
    group.create(&spec.resources).map_err(HostError::Limits)?;
    parts.group = Some(group.clone());
    hit(Step::Group)?;

    let slot = host.network.take().await.map_err(HostError::Network)?;
    parts.slot = Some(slot.index);
    hit(Step::Network)?;

    let root = make_root(start, &image, mounted).await?;
    // The root keeps the disk; the scratch has no more use for it.
    if let Some(disk) = parts.disk.take() {
        host.mounts
            .release_disk(disk.mounted)
            .await
            .map_err(HostError::Mount)?;
    }
    hit(Step::Root)?;

    let token = new_token()?;
    let listener = listen(host, sandbox)?;
    parts.has_listener = true;
    hit(Step::Listener)?;

    let spawned = spawn(
        start,
        &image,
        &token,
        &group,
        SpawnFds {
            root,
            network: slot.netns,
            listener,
        },
    )
    .await;
    let Spawned { pid, pidfd } = spawned?;
    hit(Step::Spawn)?;

    let agent_version = await_agent(start, &token, pid, &pidfd, &group).await?;
    hit(Step::Agent)?;

    let process = ProcessIdentity::of(pid).map_err(|source| HostError::Io {
        step: "identify the first process",
        source,
    })?;
    let running = Running {
        spec: (*spec).clone(),
        process,
        slot: slot.index,
        address: slot.address,
        loop_device,
        token,
        agent_version,
    };
    let record = Record {
        phase: Phase::Running(running.clone()),
        ..start.record.clone()
    };
    host.journal.write(&record).map_err(HostError::Journal)?;
    hit(Step::RecordRunning)?;
    Ok(Made {
        record,
        running,
        pidfd,
    })
}

impl Parts {
    async fn undo(self, start: &Start<'_>) -> Option<LoopNumber> {
        let Start { host, sandbox, .. } = start;
        let complain = |what: &str, error: &(dyn std::error::Error + 'static)| {
            tracing::error!(sandbox.id = %sandbox, error, "cannot {what} after a failed start");
        };
        if let Some(group) = self.group {
            // Kills the processes in it, first of all.
            match blocking(move || group.destroy()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => complain("remove the control group", &error),
                Err(error) => complain("remove the control group", &error),
            }
        }
        if self.has_listener {
            remove_listener(host, sandbox);
        }
        if let Some(slot) = self.slot {
            host.network.release(slot);
        }
        if let Some(disk) = self.disk
            && let Err(error) = host.mounts.release_disk(disk.mounted).await
        {
            complain("unmount the disk", &error);
        }
        let mut busy = None;
        if let Err(error) = host
            .disk_pool
            .await_release(sandbox.as_str(), self.device)
            .await
        {
            complain("let go of the disk", &error);
            busy = self.device;
        }
        if start.last_device == LastDevice::NoDisk {
            if let Err(error) = host.disks.remove(sandbox.as_str()) {
                complain("remove the disk", &error);
            }
            remove_log(host, sandbox);
        }
        busy
    }
}

async fn take_disk(start: &Start<'_>) -> Result<AttachedDisk, HostError> {
    let Start {
        host,
        sandbox,
        spec,
        ..
    } = start;
    let name = sandbox.as_str();
    let disk = match start.last_device {
        LastDevice::NoDisk => host.disk_pool.take(name, spec.resources.disk_bytes).await,
        LastDevice::Known(number) => host.disk_pool.attach(name, Some(number)).await,
        LastDevice::Released => host.disk_pool.attach(name, None).await,
    };
    disk.map_err(HostError::Disk)
}

async fn make_root(
    start: &Start<'_>,
    image: &Image,
    disk: crate::mounts::MountedDisk,
) -> Result<OwnedFd, HostError> {
    let Start {
        host,
        sandbox,
        record,
        ..
    } = start;
    let user_namespace = host
        .spawner_namespace(record.range)
        .await
        .map_err(HostError::Spawn)?;
    let layer =
        host_layer::ensure(&host.layer_folder, host.network.gateway()).map_err(|source| {
            HostError::Io {
                step: "make the host's layer",
                source,
            }
        })?;
    let mut layers: Vec<PathBuf> = image.layers.clone();
    layers.push(layer);
    let hostname = hostname(sandbox);
    let hosts = format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    );
    let plan = RootPlan {
        layers,
        disk,
        user_namespace,
        id_base: record.range.id_base(),
        files: vec![
            ("etc/hostname", format!("{hostname}\n")),
            ("etc/hosts", hosts),
        ],
    };
    host.mounts.make_root(plan).await.map_err(HostError::Mount)
}

impl Host {
    /// The user namespace of a range: one made ahead, or a new one.
    async fn spawner_namespace(
        &self,
        range: RangeIndex,
    ) -> Result<OwnedFd, crate::spawner_client::SpawnError> {
        match self.ranges.take_namespace(range) {
            Some(namespace) => Ok(namespace),
            None => self.spawner.user_namespace(range.id_base()).await,
        }
    }
}

/// A name that fits into 64 bytes and is a valid label, whatever characters an id may have.
pub fn hostname(sandbox: &SandboxId) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = sandbox.as_str().chars().map(plain).take(63).collect();
    name.trim_end_matches('-').to_owned()
}

fn new_token() -> Result<String, HostError> {
    let mut bytes = [0_u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|e| {
        HostError::Io {
            step: "draw a secret",
            source: e.into(),
        }
    })?;
    Ok(hex::encode(bytes))
}

fn listen(host: &Host, sandbox: &SandboxId) -> Result<OwnedFd, HostError> {
    let failed = |source: io::Error| HostError::Io {
        step: "make the agent's socket",
        source,
    };
    remove_listener(host, sandbox);
    let path = crate::socket_path(&host.sockets, sandbox.as_str());
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    // The agent's runtime expects a socket that does not block.
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener.into())
}

/// Whether the process has not ended yet.
pub fn is_alive(pidfd: &OwnedFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(
        pidfd,
        rustix::event::PollFlags::IN,
    )];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
}

/// Removes the agent's socket, if it is there.
pub fn remove_listener(host: &Host, sandbox: &SandboxId) {
    match rustix::fs::unlinkat(
        &host.sockets,
        sandbox.as_str(),
        rustix::fs::AtFlags::empty(),
    ) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => {
            tracing::error!(sandbox.id = %sandbox, %error, "cannot remove the agent's socket");
        }
    }
}

/// Removes what the agent said, if it is there.
pub fn remove_log(host: &Host, sandbox: &SandboxId) {
    let _ = std::fs::remove_file(log_path(host, sandbox));
}

fn log_path(host: &Host, sandbox: &SandboxId) -> PathBuf {
    host.log_folder.join(format!("{sandbox}.log"))
}

struct SpawnFds {
    root: OwnedFd,
    network: OwnedFd,
    listener: OwnedFd,
}

async fn spawn(
    start: &Start<'_>,
    image: &Image,
    token: &str,
    group: &Group,
    fds: SpawnFds,
) -> Result<Spawned, HostError> {
    let Start {
        host,
        sandbox,
        spec,
        record,
        ..
    } = start;
    let config = agent_config(sandbox, spec, image, token)?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(log_path(host, sandbox))
        .map_err(|source| HostError::Io {
            step: "open the agent's log",
            source,
        })?;
    let (cgroup_entry, cgroups) = group.entry().map_err(HostError::Limits)?;
    let mut descriptors = vec![
        fds.root.as_fd(),
        fds.network.as_fd(),
        fds.listener.as_fd(),
        config.as_fd(),
        host.agent_program.as_fd(),
        log.as_fd(),
    ];
    descriptors.extend(cgroups.iter().map(AsFd::as_fd));
    let spawn = Spawn {
        id_base: record.range.id_base(),
        hostname: hostname(sandbox),
        cgroup_entry,
        shm_bytes: spec.resources.memory_bytes / SHM_DIVISOR,
    };
    host.spawner
        .spawn(spawn, &descriptors)
        .await
        .map_err(HostError::Spawn)
}

/// The agent's configuration as a sealed file in memory: it holds a secret and is on no disk.
fn agent_config(
    sandbox: &SandboxId,
    spec: &SandboxSpec,
    image: &Image,
    token: &str,
) -> Result<OwnedFd, HostError> {
    let mut env: BTreeMap<String, String> = image
        .config
        .env
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let bundle = format!("/{}", host_layer::CA_BUNDLE);
    for name in CERTIFICATE_VARIABLES {
        env.entry(name.to_owned()).or_insert_with(|| bundle.clone());
    }
    env.extend(spec.env.clone());
    let mut config = serde_json::json!({
        "sandboxId": sandbox,
        "token": token,
        "user": spec.user,
        "env": env,
    });
    if !image.config.workdir.is_empty() {
        config["workdir"] = image.config.workdir.clone().into();
    }
    let failed = |e: rustix::io::Errno| HostError::Io {
        step: "write the agent's configuration",
        source: e.into(),
    };
    let file = rustix::fs::memfd_create("agent", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(failed)?;
    let bytes = config.to_string().into_bytes();
    let mut written = 0;
    while written < bytes.len() {
        let offset = u64::try_from(written).unwrap_or(u64::MAX);
        written += rustix::io::pwrite(&file, &bytes[written..], offset).map_err(failed)?;
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(failed)?;
    Ok(file)
}

async fn await_agent(
    start: &Start<'_>,
    token: &str,
    pid: i32,
    pidfd: &OwnedFd,
    group: &Group,
) -> Result<String, HostError> {
    let Start { host, sandbox, .. } = start;
    let limit = host.bounds.agent_deadline;
    let answer = agent_probe::version(&host.sockets, sandbox.as_str(), token);
    let ended = crate::pidfd::ended(pidfd);
    tokio::select! {
        biased;
        version = answer => match version {
            Ok(version) => Ok(version),
            // The connection breaks when the agent ends; a moment later its end says why.
            Err(error) => match tokio::time::timeout(Duration::from_secs(1), crate::pidfd::ended(pidfd)).await {
                Ok(_) => Err(agent_ended(start, pid, group).await),
                Err(_) => Err(HostError::Io {
                    step: "talk to the agent",
                    source: io::Error::other(error),
                }),
            },
        },
        _ = ended => Err(agent_ended(start, pid, group).await),
        () = tokio::time::sleep(limit) => Err(HostError::AgentSilent { limit }),
    }
}

async fn agent_ended(start: &Start<'_>, pid: i32, group: &Group) -> HostError {
    let Start { host, sandbox, .. } = start;
    let status = host
        .spawner
        .exit_status(pid, Duration::from_millis(500))
        .await;
    let log = std::fs::read_to_string(log_path(host, sandbox)).unwrap_or_default();
    // Bounded: the text goes into the store and to the caller.
    let last: String = log
        .lines()
        .next_back()
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect();
    if status == Some(ExitStatus::Code(AGENT_USER_MISSING)) {
        return HostError::UserMissing { message: last };
    }
    let mut detail = match status {
        Some(ExitStatus::Code(code)) => format!(" with code {code}"),
        Some(ExitStatus::Signal(signal)) => format!(" by signal {signal}"),
        None => String::new(),
    };
    if !last.is_empty() {
        detail = format!("{detail}: {last}");
    }
    HostError::AgentEnded {
        detail,
        was_oom: group.had_oom_kill(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_gives_a_valid_host_name() {
        for (id, name) in [
            (
                "0f8fad5b-d9cb-469f-a165-70867728950e",
                "0f8fad5b-d9cb-469f-a165-70867728950e",
            ),
            ("A_b.c-", "a-b-c"),
        ] {
            assert_eq!(id.parse().as_ref().map(hostname), Ok(name.to_owned()));
        }
        let long = "x".repeat(64).parse();
        assert_eq!(long.as_ref().map(|id| hostname(id).len()), Ok(63));
    }
}
