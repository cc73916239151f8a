//! A sandbox that is made up to the point where it would learn whose it is, and waits there.
//!
//! It has everything that any sandbox has before its agent starts: disk, control groups, network and its rules, root,
//! namespaces, filter, and its first process in the agent's program. That process waits for its configuration on a pipe,
//! and the pipe's other end is held by this process alone. So a parked sandbox ends by itself when the server does; its
//! record says that it is half-made, and the next runner takes it apart like any other such.
//!
//! What a sandbox's owner decides, user, variables, entrypoint, comes with the configuration, as does the agent's secret,
//! which does not exist before. What it may reach is said right before that.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use alcove_domain::SandboxId;
use alcove_runner_api::{DiskOrigin, Generation, NetworkSpec, SandboxSpec};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::{
    Extras, First, LastDevice, Made, Parts, Start, assemble, config_text, enforce, finish, hit,
    is_alive, new_token, remove_log, spawn,
};
use crate::faults::Step;
use crate::host::{Host, HostError, admit};
use crate::journal::Record;
use crate::laps::Laps;

/// How long a configuration may take to go through the pipe. What does not fit into it waits for the agent.
const CONFIG_LIMIT: Duration = Duration::from_secs(5);

/// A sandbox that waits for its owner.
#[derive(Debug)]
pub struct Parked {
    sandbox: SandboxId,
    /// With nobody's user and variables.
    spec: SandboxSpec,
    record: Record,
    parts: Parts,
    first: First,
    config: OwnedFd,
    made_at: Instant,
}

impl Parked {
    pub fn sandbox(&self) -> &SandboxId {
        &self.sandbox
    }

    pub fn age(&self) -> Duration {
        self.made_at.elapsed()
    }

    pub fn is_alive(&self) -> bool {
        is_alive(&self.first.spawned.pidfd)
    }

    /// Whether handing it over gives what the order asks for.
    pub fn fits(&self, spec: &SandboxSpec) -> bool {
        // What is decided by the configuration may differ, what is made may not.
        let alike = SandboxSpec {
            user: self.spec.user.clone(),
            env: self.spec.env.clone(),
            entrypoint: self.spec.entrypoint.clone(),
            network: self.spec.network.clone(),
            ..spec.clone()
        };
        alike == self.spec
    }
}

/// Makes a sandbox that waits. The fields of `spec` that its owner decides are ignored.
pub async fn park(host: &Host, sandbox: SandboxId, spec: SandboxSpec) -> Result<Parked, HostError> {
    let full = |e| HostError::Range(crate::ranges::MakeRangeError::Full(e));
    let range = host.ranges.claim().map_err(full)?;
    let record = Record::new(sandbox.clone(), Generation(0), range, spec.image.clone());
    let spec = SandboxSpec {
        user: String::new(),
        env: std::collections::BTreeMap::new(),
        entrypoint: Vec::new(),
        volumes: Vec::new(),
        network: NetworkSpec::default(),
        disk: DiskOrigin::New,
        ..spec
    };
    let extras = Extras::default();
    let start = Start {
        host,
        sandbox: &sandbox,
        spec: &spec,
        record: record.clone(),
        last_device: LastDevice::NoDisk,
        extras: &extras,
    };
    let mut parts = Parts::default();
    let parked = async {
        host.journal.write(&record).map_err(HostError::Journal)?;
        begin(&start, &mut parts).await
    };
    match parked.await {
        Ok((first, config)) => Ok(Parked {
            first,
            config,
            record,
            parts,
            made_at: Instant::now(),
            sandbox: sandbox.clone(),
            spec: spec.clone(),
        }),
        Err(error) => {
            parts.undo(&start).await;
            forget(host, &record);
            Err(error)
        }
    }
}

async fn begin(start: &Start<'_>, parts: &mut Parts) -> Result<(First, OwnedFd), HostError> {
    let mut laps = Laps::start();
    let frame = assemble(start, parts, &mut laps).await?;
    let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(|e| HostError::Io {
        step: "make a pipe for the agent's configuration",
        source: e.into(),
    });
    let (reader, config) = pipe?;
    let (group, slot, loop_device) = (frame.group, frame.slot, frame.loop_device);
    let spawned = spawn(start, &reader, &group, frame.fds).await?;
    laps.lap("spawn");
    hit(start, Step::Parked)?;
    tracing::debug!(sandbox.id = %start.sandbox, "sandbox {} parked, ms: {laps}", start.sandbox);
    let first = First {
        spawned,
        group,
        slot,
        loop_device,
    };
    Ok((first, config))
}

/// Gives a parked sandbox to its owner: it runs, as if it had been made for this order. On failure nothing is left of it.
pub async fn hand_over(
    host: &Host,
    parked: Parked,
    spec: &SandboxSpec,
    generation: Generation,
) -> Result<Made, HostError> {
    let Parked {
        sandbox,
        record,
        parts,
        first,
        config,
        ..
    } = parked;
    let extras = Extras::default();
    let start = Start {
        host,
        sandbox: &sandbox,
        spec,
        record: Record {
            generation,
            ..record
        },
        last_device: LastDevice::NoDisk,
        extras: &extras,
    };
    let handed = async {
        let mut laps = Laps::start();
        admit(&host.bounds, &host.data_dir)?;
        let image = host
            .images
            .get(&spec.image)
            .ok_or_else(|| HostError::ImageMissing {
                digest: spec.image.0.clone(),
            })?;
        // Until here it has no policy, and reaches nothing.
        enforce(&start, first.slot, &mut laps).await?;
        let token = new_token()?;
        tell(config, &config_text(&start, &image, &token)).await?;
        laps.lap("configuration");
        hit(&start, Step::HandedOver)?;
        finish(&start, first, token, laps).await
    };
    match handed.await {
        Ok(made) => Ok(made),
        Err(error) => {
            parts.undo(&start).await;
            forget(host, &start.record);
            Err(error)
        }
    }
}

/// Writes the configuration and closes the pipe, which is when the agent begins.
async fn tell(pipe: OwnedFd, config: &[u8]) -> Result<(), HostError> {
    let failed = |source| HostError::Io {
        step: "tell a parked sandbox whose it is",
        source,
    };
    let mut sender = pipe::Sender::from_owned_fd(pipe).map_err(failed)?;
    match tokio::time::timeout(CONFIG_LIMIT, sender.write_all(config)).await {
        Ok(written) => written.map_err(failed),
        Err(_) => Err(failed(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Removes a parked sandbox with all that it has.
pub async fn discard(host: &Host, parked: Parked) {
    let extras = Extras::default();
    let start = Start {
        host,
        sandbox: &parked.sandbox,
        spec: &parked.spec,
        record: parked.record.clone(),
        last_device: LastDevice::NoDisk,
        extras: &extras,
    };
    parked.parts.undo(&start).await;
    forget(host, &parked.record);
}

/// Removes the last traces of a sandbox without a disk.
pub fn forget(host: &Host, record: &Record) {
    remove_log(host, &record.sandbox);
    match host.journal.remove(&record.sandbox) {
        Ok(()) => host.ranges.release(record.range),
        // The range stays claimed: a record says that it is in use.
        Err(error) => {
            tracing::error!(sandbox.id = %record.sandbox, %error, "cannot forget a sandbox");
        }
    }
}
