//! How a sandbox comes to run: named steps, each of which knows how to undo itself.
//!
//! [`Parts`] holds what has been taken so far. A step that fails leaves it to [`Parts::undo`], which gives
//! everything back in reverse; each undo can be repeated and none stops the others.
//!
//! A sandbox may be parked before its agent learns whose it is, and handed over later; see `parked`.

mod agent;
mod parked;

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use alcove_domain::SandboxId;
use alcove_runner_api::SandboxSpec;

use self::agent::{SpawnFds, await_agent, config_text, listen, new_token, sealed, spawn};
pub use self::agent::{remove_listener, remove_log};
pub use self::parked::{Parked, discard, forget, hand_over, park};
use crate::disk::LoopNumber;
use crate::disk_pool::{AttachedDisk, blocking};
use crate::faults::Step;
use crate::host::{Host, HostError, admit};
use crate::host_layer;
use crate::image::{Image, Layer};
use crate::journal::{self, Hold, Phase, ProcessIdentity, RangeIndex, Record, Running};
use crate::laps::Laps;
use crate::limits::Group;
use crate::mounts::{
    ExtraMount, ExtraTree, MadePoints, MountedDisk, MountedLayers, RootPlan, VolumePlan,
};
use crate::net::SlotIndex;
use crate::spawner_client::Spawned;

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
    pub extras: &'a Extras,
}

/// What a step of a build has besides.
#[derive(Debug, Default)]
pub struct Extras {
    /// The agent has the routes of a build, nothing of the image runs by itself, and no file of the platform is
    /// written to the disk.
    pub is_build: bool,
    /// Nothing but itself can be reached from it.
    pub has_no_network: bool,
    pub mounts: Vec<ExtraMount>,
    /// Mount points that had to be made.
    pub made: MadePoints,
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
    /// In the scratch; gone from here once the root holds them.
    layers: MountedLayers,
    volumes: Vec<MountedDisk>,
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
    let mut laps = Laps::start();
    let frame = assemble(start, parts, &mut laps).await?;
    if !start.extras.has_no_network {
        enforce(start, frame.slot, &mut laps).await?;
    }
    let token = new_token()?;
    let config = sealed(&config_text(start, &frame.image, &token))?;
    let (group, slot, loop_device) = (frame.group, frame.slot, frame.loop_device);
    let spawned = spawn(start, &config, &group, frame.fds).await?;
    laps.lap("spawn");
    hit(start, Step::Spawn)?;
    let first = First {
        spawned,
        group,
        slot,
        loop_device,
    };
    finish(start, first, token, laps).await
}

/// Says what the sandbox may reach, before anything of it runs that is its owner's.
async fn enforce(start: &Start<'_>, slot: Slot, laps: &mut Laps) -> Result<(), HostError> {
    let network = &start.host.network;
    network
        .set_policy(slot.index, &start.spec.network)
        .await
        .map_err(HostError::Policy)?;
    laps.lap("policy");
    hit(start, Step::Policy)
}

fn hit(start: &Start<'_>, step: Step) -> Result<(), HostError> {
    start.host.faults.at(step).map_err(|source| HostError::Io {
        step: "pass a fault point",
        source,
    })
}

/// All that is there before the first process.
struct Frame {
    image: Arc<Image>,
    group: Group,
    slot: Slot,
    loop_device: LoopNumber,
    fds: SpawnFds,
}

/// Where in the network a sandbox is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    index: SlotIndex,
    address: Ipv4Addr,
}

/// The first process and where it is.
#[derive(Debug)]
struct First {
    spawned: Spawned,
    group: Group,
    slot: Slot,
    loop_device: LoopNumber,
}

async fn assemble(
    start: &Start<'_>,
    parts: &mut Parts,
    laps: &mut Laps,
) -> Result<Frame, HostError> {
    let Start {
        host,
        sandbox,
        spec,
        ..
    } = start;
    admit(&host.bounds, &host.data_dir)?;
    laps.lap("admit");
    hit(start, Step::Admit)?;
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
    laps.lap("disk");
    hit(start, Step::Disk)?;

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
    laps.lap("group");
    hit(start, Step::Group)?;

    let taken = host.network.take().await.map_err(HostError::Network)?;
    parts.slot = Some(taken.index);
    let slot = Slot {
        index: taken.index,
        address: taken.address,
    };
    laps.lap("network");
    hit(start, Step::Network)?;

    let volumes = host
        .volumes
        .attach(&spec.volumes)
        .await
        .map_err(HostError::Volume)?;
    parts.volumes = volumes.iter().map(|volume| volume.disk.clone()).collect();
    laps.lap("volumes");
    hit(start, Step::Volumes)?;

    let layers = layers_of(&image, start.extras);
    let layers = host.disk_layers.attach(layers).await;
    parts.layers = layers.map_err(HostError::Disk)?;
    laps.lap("layers");
    hit(start, Step::Layers)?;

    let network = if start.extras.has_no_network {
        // The slot stays taken, for the record; its network has no process.
        let made = blocking(crate::net::nothing_but_itself)
            .await
            .map_err(HostError::Disk)?;
        made.map_err(|source| HostError::Io {
            step: "make a network without interfaces",
            source,
        })?
    } else {
        taken.netns
    };

    let root = make_root(start, &image, mounted, parts.layers.clone(), volumes).await?;
    // The root keeps them now.
    parts.disk = None;
    parts.layers = MountedLayers::default();
    parts.volumes.clear();
    laps.lap("root");
    hit(start, Step::Root)?;

    let listener = listen(host, sandbox)?;
    parts.has_listener = true;
    laps.lap("listener");
    hit(start, Step::Listener)?;
    Ok(Frame {
        image,
        group,
        slot,
        loop_device,
        fds: SpawnFds {
            root,
            network,
            listener,
        },
    })
}

/// From the first process to a sandbox that runs.
async fn finish(
    start: &Start<'_>,
    first: First,
    token: String,
    mut laps: Laps,
) -> Result<Made, HostError> {
    let Start {
        host,
        sandbox,
        spec,
        ..
    } = start;
    let First {
        spawned: Spawned { pid, pidfd },
        group,
        slot,
        loop_device,
    } = first;
    let agent_version = await_agent(start, &token, pid, &pidfd, &group).await?;
    laps.lap("agent");
    hit(start, Step::Agent)?;

    let process = ProcessIdentity::of(pid).map_err(|source| HostError::Io {
        step: "identify the first process",
        source,
    })?;
    let running = Running {
        spec: journal::kept(spec),
        process,
        slot: slot.index,
        address: slot.address,
        loop_device,
        token,
        agent_version,
        hold: Hold::Nothing,
    };
    let record = Record {
        is_copy: false,
        phase: Phase::Running(running.clone()),
        ..start.record.clone()
    };
    host.journal.write(&record).map_err(HostError::Journal)?;
    laps.lap("record");
    hit(start, Step::RecordRunning)?;
    tracing::debug!(
        sandbox.id = %sandbox,
        took_us = laps.total().as_micros(),
        "sandbox {sandbox} made, ms: {laps}"
    );
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
        host.volumes.release(self.volumes).await;
        host.disk_layers.release(&self.layers).await;
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
    disk: MountedDisk,
    mounted: MountedLayers,
    volumes: Vec<VolumePlan>,
) -> Result<OwnedFd, HostError> {
    let Start {
        host,
        sandbox,
        record,
        extras,
        ..
    } = start;
    let user_namespace = host
        .spawner_namespace(record.range)
        .await
        .map_err(HostError::Spawn)?;
    let hostname = hostname(sandbox);
    let (layer, files) = if extras.is_build {
        // What the platform brings must not become part of the image.
        let hosts = hosts("build");
        (
            host_layer::ensure_with_hosts(
                &host.layer_folder,
                host.network.gateway(),
                &host.egress.certificates,
                &hosts,
            ),
            Vec::new(),
        )
    } else {
        let files = vec![
            ("etc/hostname", format!("{hostname}\n")),
            ("etc/hosts", hosts(&hostname)),
        ];
        (
            host_layer::ensure(
                &host.layer_folder,
                host.network.gateway(),
                &host.egress.certificates,
            ),
            files,
        )
    };
    let layer = layer.map_err(|source| HostError::Io {
        step: "make the host's layer",
        source,
    })?;
    let mut layers = image.layers.clone();
    layers.push(Layer::Folder(layer));
    let plan = RootPlan {
        layers,
        mounted,
        disk,
        user_namespace,
        id_base: record.range.id_base(),
        files,
        is_copy: record.is_copy,
        volumes,
        mounts: extras.mounts.clone(),
        made: extras.made.clone(),
        notes_tmp: extras.is_build,
    };
    host.mounts.make_root(plan).await.map_err(HostError::Mount)
}

/// All layers that a start mounts, in no order.
fn layers_of<'a>(image: &'a Image, extras: &'a Extras) -> impl Iterator<Item = &'a Layer> {
    let mounts = extras.mounts.iter().filter_map(|mount| match &mount.tree {
        ExtraTree::Layers { layers, .. } => Some(layers),
        ExtraTree::Opened { .. } | ExtraTree::Memory { .. } => None,
    });
    image.layers.iter().chain(mounts.flatten())
}

fn hosts(hostname: &str) -> String {
    format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    )
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
