//! What the host's own network must give and is given: a pool that overlaps nothing, the gateway's
//! address, forwarding, the size of packets.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use super::config::{Ipv4Pool, NetworkConfig};
use super::netlink::{HostAddress, Link, Netlink, Route};

/// Routes this wide are ways to everywhere (a default route, or a VPN's two halves of one) and take
/// nothing away from a pool.
const WIDEST_LOCAL_ROUTE: u8 = 8;

/// Used where no default route names an uplink.
const ETHERNET_MTU: u32 = 1500;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Why the host's network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(
        "the address pool {pool} overlaps {what} of this host; set `network.pool` to a private network that is free here"
    )]
    Overlap { pool: Ipv4Pool, what: String },
    #[error("cannot read the host's {what}")]
    Read {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot put the gateway's address {address} on the loopback interface")]
    Gateway {
        address: Ipv4Addr,
        #[source]
        source: io::Error,
    },
    #[error("cannot turn on net.ipv4.ip_forward, without which no sandbox reaches the internet")]
    Forwarding(#[source] io::Error),
}

/// The host's network as it was found.
#[derive(Debug)]
pub(super) struct Survey {
    pub links: Vec<Link>,
    pub addresses: Vec<HostAddress>,
    pub routes: Vec<Route>,
}

impl Survey {
    pub fn take(netlink: &mut Netlink) -> Result<Self, HostError> {
        let read = |what| move |source| HostError::Read { what, source };
        Ok(Self {
            links: netlink.links().map_err(read("interfaces"))?,
            addresses: netlink.addresses().map_err(read("addresses"))?,
            routes: netlink.routes().map_err(read("routes"))?,
        })
    }

    /// Refuses a pool that takes addresses away from somebody else. What an earlier run of this server
    /// left behind is known by its names.
    pub fn check(&self, config: &NetworkConfig) -> Result<(), HostError> {
        let pool = config.pool;
        let name_of = |index: u32| {
            self.links
                .iter()
                .find(|link| link.index == index)
                .map_or("?", |link| link.name.as_str())
        };
        let overlap = |what| Err(HostError::Overlap { pool, what });
        for address in &self.addresses {
            let is_ours = address.label == config.gateway_label()
                || address.label.starts_with(&config.prefix);
            if !is_ours && pool.overlaps(address.address, address.prefix_len) {
                let name = name_of(address.interface);
                return overlap(format!(
                    "the address {}/{} on {name}",
                    address.address, address.prefix_len
                ));
            }
        }
        for route in self.routes.iter().filter(|route| route.is_main) {
            let name = route.interface.map_or("?", name_of);
            let is_wide = route.prefix_len < WIDEST_LOCAL_ROUTE;
            if !is_wide
                && !name.starts_with(&config.prefix)
                && pool.overlaps(route.destination, route.prefix_len)
            {
                return overlap(format!(
                    "the route {}/{} by {name}",
                    route.destination, route.prefix_len
                ));
            }
        }
        Ok(())
    }

    /// The size of packets on the way to the internet.
    pub fn uplink_mtu(&self) -> u32 {
        let default = self
            .routes
            .iter()
            .filter(|route| route.is_main && route.prefix_len == 0);
        let uplink = default
            .min_by_key(|route| route.metric)
            .and_then(|route| route.interface);
        self.links
            .iter()
            .find(|link| Some(link.index) == uplink)
            .map_or(ETHERNET_MTU, |link| link.mtu)
    }

    fn loopback(&self) -> u32 {
        self.links
            .iter()
            .find(|link| link.name == "lo")
            .map_or(1, |link| link.index)
    }

    fn has_gateway(&self, config: &NetworkConfig) -> bool {
        self.addresses
            .iter()
            .any(|address| address.address == config.pool.gateway())
    }

    /// Puts the gateway's address on the loopback interface, where it does not come and go with slots.
    pub fn gateway_add(
        &self,
        netlink: &mut Netlink,
        config: &NetworkConfig,
    ) -> Result<(), HostError> {
        if self.has_gateway(config) {
            return Ok(());
        }
        let address = config.pool.gateway();
        netlink
            .address_add(self.loopback(), address, 32, Some(&config.gateway_label()))
            .map_err(|source| HostError::Gateway { address, source })
    }

    /// Takes the gateway's address away again.
    pub fn gateway_delete(
        &self,
        netlink: &mut Netlink,
        config: &NetworkConfig,
    ) -> Result<(), HostError> {
        if !self.has_gateway(config) {
            return Ok(());
        }
        let address = config.pool.gateway();
        netlink
            .address_delete(self.loopback(), address, 32)
            .map_err(|source| HostError::Gateway { address, source })
    }
}

/// Lets the host pass packets on, and says whether it did so before.
pub(super) fn enable_forwarding() -> Result<bool, HostError> {
    let was_on = fs::read_to_string(FORWARDING)
        .map_err(HostError::Forwarding)?
        .trim()
        == "1";
    if !was_on {
        fs::write(FORWARDING, "1").map_err(HostError::Forwarding)?;
    }
    Ok(was_on)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn survey(destination: [u8; 4], prefix_len: u8, interface: &str) -> Survey {
        Survey {
            links: vec![Link {
                index: 7,
                name: interface.to_owned(),
                mtu: 1400,
                is_operational: true,
            }],
            addresses: Vec::new(),
            routes: vec![Route {
                destination: destination.into(),
                prefix_len,
                interface: Some(7),
                metric: 0,
                is_main: true,
            }],
        }
    }

    fn config() -> NetworkConfig {
        NetworkConfig::for_instance(b"x", Ipv4Pool::default())
    }

    #[test]
    fn a_route_into_the_pool_is_refused_and_the_option_is_named() {
        let error = survey([10, 200, 3, 0], 24, "tun0")
            .check(&config())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the address pool 10.200.0.0/16 overlaps the route 10.200.3.0/24 by tun0 of this host; \
             set `network.pool` to a private network that is free here"
        );
        assert!(survey([10, 0, 0, 0], 8, "eth0").check(&config()).is_err());
    }

    #[test]
    fn a_default_route_and_our_own_slots_do_not_count() {
        survey([0, 0, 0, 0], 0, "eth0").check(&config()).unwrap();
        survey([0, 0, 0, 0], 1, "wg0").check(&config()).unwrap();
        let own = format!("{}17", config().prefix);
        survey([10, 200, 0, 18], 32, &own).check(&config()).unwrap();
    }

    #[test]
    fn an_address_of_another_server_in_the_pool_is_refused() {
        let mut survey = survey([0, 0, 0, 0], 0, "lo");
        let address = |label: String| HostAddress {
            address: Ipv4Addr::new(10, 200, 0, 1),
            prefix_len: 32,
            interface: 7,
            label,
        };
        survey.addresses = vec![address("lo:alc000000".to_owned())];
        assert!(survey.check(&config()).is_err());
        survey.addresses = vec![address(config().gateway_label())];
        survey.check(&config()).unwrap();
    }

    #[test]
    fn packets_are_as_large_as_the_uplink_allows() {
        assert_eq!(survey([0, 0, 0, 0], 0, "eth0").uplink_mtu(), 1400);
        assert_eq!(
            survey([192, 0, 2, 0], 24, "eth0").uplink_mtu(),
            ETHERNET_MTU
        );
    }
}
