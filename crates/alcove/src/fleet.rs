//! What the operator says about hosts and about what stands before them.

use alcove_control::{Draining, service_key_hash};
use alcove_domain::runner::{Overcommit, PlacingRules};
use alcove_domain::{HostBound, ServiceKeyHash};
use alcove_runner::HostSize;

/// What a host that is drained does with stopped sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DrainingMode {
    /// Puts them into the archive.
    Archive,
    /// Leaves them where they are.
    Keep,
}

#[derive(Debug, clap::Args)]
pub struct FleetArguments {
    /// What becomes of stopped sandboxes while the runner is drained; see docs/runners.md.
    #[arg(
        long,
        env = "ALCOVE_DRAINING_MODE",
        value_name = "MODE",
        value_enum,
        default_value = "archive"
    )]
    draining_mode: DrainingMode,
    /// Stops sandboxes that run or are paused while the runner is drained. Without it they run on.
    #[arg(long, env = "ALCOVE_DRAINING_FORCE")]
    draining_force: bool,
    /// How much more than they have runners outside of the server may promise to sandboxes, in percent of what they have.
    #[arg(
        long,
        env = "ALCOVE_RUNNER_OVERCOMMIT",
        value_name = "PERCENT",
        default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    runner_overcommit: u32,
    /// How much of its disk the server's own host may promise to sandboxes and volumes, in percent of what its file system has.
    /// Without it there is no bound; see docs/runners.md.
    #[arg(
        long,
        env = "ALCOVE_HOST_DISK_OVERCOMMIT",
        value_name = "PERCENT",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    host_disk_overcommit: Option<u32>,
    /// How much of its memory the server's own host may promise to sandboxes that run, in percent of what it has. Without it
    /// there is no bound.
    #[arg(
        long,
        env = "ALCOVE_HOST_MEMORY_OVERCOMMIT",
        value_name = "PERCENT",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    host_memory_overcommit: Option<u32>,
    /// The score below which a runner outside of the server takes no new sandbox, 0 to 100; see docs/runners.md.
    #[arg(long, env = "ALCOVE_RUNNER_SCORE_MIN", value_name = "SCORE", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=100))]
    runner_score_min: u32,
    /// The key of a proxy of your own in front of all sandboxes, for the operations below /api/preview: 32 characters or
    /// more. Without one only proxies of regions can ask them.
    #[arg(long, env = "ALCOVE_PROXY_API_KEY", value_name = "KEY", hide_env_values = true, value_parser = proxy_key)]
    proxy_api_key: Option<ProxyKey>,
}

/// The hash of it, so that the key itself is kept nowhere.
#[derive(Debug, Clone, Copy)]
struct ProxyKey(ServiceKeyHash);

fn proxy_key(text: &str) -> Result<ProxyKey, String> {
    const MIN_BYTES: usize = 32;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.len() < MIN_BYTES || !is_plain {
        return Err(format!(
            "the key must have {MIN_BYTES} characters or more, and no spaces"
        ));
    }
    Ok(ProxyKey(service_key_hash(text)))
}

impl FleetArguments {
    pub fn draining(&self) -> Draining {
        Draining {
            archives: self.draining_mode == DrainingMode::Archive,
            stops: self.draining_force,
        }
    }

    pub fn placing(&self) -> PlacingRules {
        PlacingRules {
            overcommit: Overcommit {
                cpu_percent: self.runner_overcommit,
                memory_percent: self.runner_overcommit,
                disk_percent: self.runner_overcommit,
            },
            score_min: self.runner_score_min,
        }
    }

    pub fn host_bound(&self, has: HostSize) -> HostBound {
        HostBound::percent_of(
            (has.memory_bytes, self.host_memory_overcommit),
            (has.disk_bytes, self.host_disk_overcommit),
        )
    }

    pub fn proxy_key(&self) -> Option<ServiceKeyHash> {
        self.proxy_api_key.map(|key| key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_can_be_guessed_is_refused() {
        assert!(proxy_key("short").is_err());
        assert!(proxy_key(&"x ".repeat(20)).is_err());
        let key = "k".repeat(32);
        assert!(proxy_key(&key).is_ok_and(|hash| hash.0 == service_key_hash(&key)));
    }
}
