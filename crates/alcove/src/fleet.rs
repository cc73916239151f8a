//! What the operator says about hosts and about what stands before them.

use alcove_control::{Draining, service_key_hash};
use alcove_domain::ServiceKeyHash;

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
