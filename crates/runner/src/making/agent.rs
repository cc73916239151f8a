//! The first process: its socket, its secret, its configuration, and waiting for its first answer.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_runner_api::SandboxSpec;
use alcove_spawner::protocol::{ExitStatus, Spawn};
use rustix::fs::{MemfdFlags, SealFlags};

use super::{Start, hostname};
use crate::agent_probe;
use crate::host::{Host, HostError};
use crate::host_layer;
use crate::image::{Image, ImageConfig};
use crate::limits::Group;
use crate::spawner_client::Spawned;

/// The agent's exit code for a user that the image does not have.
const AGENT_USER_MISSING: i32 = 3;

/// Variables that make programs trust what the host trusts; each has its own idea of where to look.
const CERTIFICATE_VARIABLES: [&str; 5] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
];

/// A sandbox's share of memory that `/dev/shm` may take.
const SHM_DIVISOR: u64 = 2;

pub(super) fn new_token() -> Result<String, HostError> {
    let mut bytes = [0_u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|e| {
        HostError::Io {
            step: "draw a secret",
            source: e.into(),
        }
    })?;
    Ok(hex::encode(bytes))
}

pub(super) fn listen(host: &Host, sandbox: &SandboxId) -> Result<OwnedFd, HostError> {
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

pub(super) struct SpawnFds {
    pub root: OwnedFd,
    pub network: OwnedFd,
    pub listener: OwnedFd,
}

pub(super) async fn spawn(
    start: &Start<'_>,
    config: &OwnedFd,
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
    let limits = group.for_agent().map_err(HostError::Limits)?;
    let mut descriptors = vec![
        fds.root.as_fd(),
        fds.network.as_fd(),
        fds.listener.as_fd(),
        config.as_fd(),
        host.agent_program.as_fd(),
        host.git_program.as_fd(),
        log.as_fd(),
    ];
    descriptors.extend(limits.iter().map(AsFd::as_fd));
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

/// The agent's configuration.
pub(super) fn config_text(start: &Start<'_>, image: &Image, token: &str) -> Vec<u8> {
    let Start {
        host,
        sandbox,
        spec,
        ..
    } = start;
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
    // Those that are narrowed do not reach it: everything can be reached through it.
    if let Some(proxy) = &host.egress.proxy
        && spec.network.policy.is_open()
    {
        for (name, value) in alcove_domain::proxy_variables(proxy.clone()) {
            env.entry(name.to_owned()).or_insert(value);
        }
    }
    env.extend(spec.env.clone());
    let mut config = serde_json::json!({
        "sandboxId": sandbox,
        "token": token,
        "user": spec.user,
        "env": env,
        "limits": true,
        "git": true,
    });
    if !image.config.workdir.is_empty() {
        config["workdir"] = image.config.workdir.clone().into();
    }
    if start.extras.is_build {
        config["build"] = true.into();
    } else if let Some(program) = entrypoint(spec, &image.config) {
        config["entrypoint"] = program.into();
    }
    if let Some(seconds) = host.bounds.execute_timeout_seconds {
        config["executeTimeoutSeconds"] = seconds.into();
    }
    config.to_string().into_bytes()
}

/// The configuration as a sealed file in memory: it holds a secret and is on no disk.
pub(super) fn sealed(bytes: &[u8]) -> Result<OwnedFd, HostError> {
    let failed = |e: rustix::io::Errno| HostError::Io {
        step: "write the agent's configuration",
        source: e.into(),
    };
    let file = rustix::fs::memfd_create("agent", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(failed)?;
    let mut written = 0;
    while written < bytes.len() {
        let offset = u64::try_from(written).unwrap_or(u64::MAX);
        written += rustix::io::pwrite(&file, &bytes[written..], offset).map_err(failed)?;
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(failed)?;
    Ok(file)
}

/// What is run beside the agent. What the order names stands for all that the image names.
fn entrypoint(spec: &SandboxSpec, image: &ImageConfig) -> Option<Vec<String>> {
    if !spec.entrypoint.is_empty() {
        return Some(spec.entrypoint.clone());
    }
    // An image without an entrypoint only names the shell that a person would get.
    let program = image.entrypoint.iter().chain(&image.cmd).cloned();
    (!image.entrypoint.is_empty()).then(|| program.collect())
}

pub(super) async fn await_agent(
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
