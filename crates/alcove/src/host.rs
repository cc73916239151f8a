//! What the operator says about a host that keeps sandboxes, whether the server runs on it or a runner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alcove_runner::net::{Ipv4Pool, PrivateNetwork};
use alcove_runner::probe::{ProbeRequest, Status, abilities, probe, required_failures};
use alcove_runner::registry::RegistrySettings;
use alcove_runner::{Programs, Runner, RunnerConfig};
use alcove_runner_api::HostCapabilities;
use anyhow::Context;

use crate::egress::EgressArguments;
use crate::images::NamedImage;
use crate::kill::KillAt;
use crate::registries::Registries;

#[derive(Debug, clap::Args)]
pub struct HostArguments {
    /// The image of the snapshot `default`: an OCI archive.
    #[arg(long, env = "ALCOVE_DEFAULT_IMAGE")]
    pub default_image: Option<PathBuf>,
    /// Another image, as NAME=FILE; its snapshot gets that name.
    #[arg(long = "image")]
    pub images: Vec<NamedImage>,
    /// A file that says how registries of images are reached, and with what credentials; see docs/registries.md. One
    /// that is not named there is reached by TLS, at public addresses only.
    #[arg(long, env = "ALCOVE_REGISTRIES", value_name = "FILE")]
    pub registries: Option<PathBuf>,
    /// Addresses for sandboxes; must not overlap with any network of the host.
    #[arg(long, env = "ALCOVE_NETWORK_POOL", default_value_t)]
    pub network_pool: Ipv4Pool,
    /// A private network that sandboxes may reach, such as 10.20.0.0/16; may be given several times, or with commas. What
    /// is of the host itself, other sandboxes and link-local addresses stay closed.
    #[arg(
        long,
        env = "ALCOVE_NETWORK_ALLOW_PRIVATE",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub network_allow_private: Vec<PrivateNetwork>,
    #[command(flatten)]
    pub egress: EgressArguments,
    /// Network slots, disks and id ranges to hold ready.
    #[arg(long, env = "ALCOVE_READY_PARTS", default_value_t = 8)]
    pub ready_parts: usize,
    /// Disk space that creates leave to the host, in MiB.
    #[arg(long, env = "ALCOVE_DISK_RESERVE_MIB", default_value_t = 256)]
    pub disk_reserve_mib: u64,
    /// Memory that creates leave to the host, in MiB.
    #[arg(long, env = "ALCOVE_MEMORY_RESERVE_MIB", default_value_t = 128)]
    pub memory_reserve_mib: u64,
    /// Seconds that a command of `execute` gets whose caller names no limit. Clients count on none.
    #[arg(long, env = "ALCOVE_EXECUTE_TIMEOUT", value_name = "SECONDS")]
    pub execute_timeout: Option<u64>,
}

impl HostArguments {
    /// The images of the command line.
    pub fn named_images(&self) -> Vec<NamedImage> {
        let default = self.default_image.clone().map(|archive| NamedImage {
            name: "default".to_owned(),
            archive,
        });
        self.images.iter().cloned().chain(default).collect()
    }

    /// How registries are reached.
    pub fn registries(&self) -> anyhow::Result<Registries> {
        match &self.registries {
            Some(path) => Registries::read(path),
            None => Ok(Registries::default()),
        }
    }

    pub fn runner_config(
        &self,
        data_dir: &Path,
        programs: &Programs,
        registries: RegistrySettings,
    ) -> anyhow::Result<RunnerConfig> {
        let key = data_dir.as_os_str().as_encoded_bytes();
        let mut config = RunnerConfig::new(data_dir, key, self.network_pool, programs.clone());
        config.registries = registries;
        config.ready_parts = self.ready_parts;
        config.network.ready_slots = self.ready_parts;
        config
            .network
            .allow_private
            .clone_from(&self.network_allow_private);
        config.bounds.disk_reserve_bytes = self.disk_reserve_mib << 20;
        config.bounds.memory_reserve_bytes = self.memory_reserve_mib << 20;
        config.bounds.execute_timeout_seconds = self.execute_timeout;
        self.egress.apply(&mut config)?;
        Ok(config)
    }
}

pub fn open_data_dir(path: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot close off {}", path.display()))?;
    fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))
}

/// Tries what the host can do.
///
/// # Errors
/// Everything that sandboxes need and the host has not.
pub async fn refuse_unfit(
    data_dir: &Path,
    network_pool: Ipv4Pool,
    programs: &Programs,
) -> anyhow::Result<HostCapabilities> {
    let request = ProbeRequest {
        data_dir: data_dir.to_owned(),
        network_pool,
        spawner_program: programs.spawner.clone(),
    };
    let checks = probe(&request).await;
    for check in checks
        .iter()
        .filter(|check| check.status == Status::Degraded)
    {
        tracing::debug!(check = check.name, "{}: {}", check.name, check.found);
    }
    let failures = required_failures(&checks);
    if failures.is_empty() {
        return Ok(abilities(&checks));
    }
    let lines: Vec<String> = failures
        .iter()
        .map(|check| {
            format!(
                "{}: found {}, needs {}. {}",
                check.name, check.found, check.need, check.advice
            )
        })
        .collect();
    anyhow::bail!("this host cannot run sandboxes:\n  {}", lines.join("\n  "))
}

pub async fn open_runner(
    mut config: RunnerConfig,
    kill: Option<Arc<KillAt>>,
) -> anyhow::Result<Runner> {
    if let Some(kill) = kill {
        config.faults = kill;
    }
    Runner::open(config)
        .await
        .context("cannot start the runner")
}
