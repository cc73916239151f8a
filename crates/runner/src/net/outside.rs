//! Which addresses are the outside: those that any sandbox may reach.
//!
//! The firewall holds what sandboxes send themselves. What the runner sends for one goes by no rule of it, so the same
//! is asked here before an address is opened, and again before it is connected to.

use std::io;
use std::net::Ipv4Addr;

#[cfg(test)]
use super::config::Ipv4Pool;
use super::config::NetworkConfig;
use super::netlink::Netlink;
use super::table;

#[derive(Debug)]
pub(super) struct Outside {
    config: NetworkConfig,
    /// For tests, whose outside is this very host.
    is_everything: bool,
}

impl Outside {
    pub fn new(config: NetworkConfig) -> Self {
        Self {
            config,
            is_everything: false,
        }
    }

    #[cfg(test)]
    pub fn everything() -> Self {
        Self {
            config: NetworkConfig::for_instance(b"test", Ipv4Pool::default()),
            is_everything: true,
        }
    }

    /// Whether the address is neither closed to sandboxes, nor one of them, nor this host. A kernel that does not say is
    /// taken for a no.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        if self.is_everything {
            return true;
        }
        !table::is_closed(&self.config, address) && is_elsewhere(address).unwrap_or(false)
    }
}

/// Whether the host's way to an address leaves the host. Asked each time: addresses of hosts change.
fn is_elsewhere(address: Ipv4Addr) -> io::Result<bool> {
    Netlink::open()?.leads_elsewhere(address)
}
