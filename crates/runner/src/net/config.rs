//! What an operator may say about the network, and the names and addresses that follow from it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use alcove_domain::Ipv4Network;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Network slots kept ready, so that a create need not wait for the kernel's network lock.
pub const DEFAULT_READY_SLOTS: usize = 8;

/// How long an address rests before another sandbox gets it. Long enough for a peer on the internet to
/// give up on a connection that the previous holder left open.
pub const DEFAULT_QUARANTINE: Duration = Duration::from_secs(10);

/// The addresses of the sandboxes of one server: an IPv4 network of 16 to 28 bits.
///
/// The first address is the gateway and the resolver, the last one (broadcast) is never used; each of
/// the others is one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Pool {
    network: Ipv4Addr,
    prefix_len: u8,
}

/// Why a text is no address pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolParseError {
    #[error("`{0}` is not an IPv4 network such as 10.200.0.0/16")]
    Syntax(String),
    #[error("the network must have 16 to 28 bits, this one has {0}")]
    Size(u8),
    #[error("bits are set behind the prefix; did you mean {0}?")]
    HostBits(Ipv4Pool),
    #[error(
        "{0} is not a private network (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10)"
    )]
    Public(Ipv4Pool),
}

impl Ipv4Pool {
    /// The gateway of all sandboxes, and their resolver.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        mask(address, self.prefix_len) == self.network
    }

    /// Whether the two networks share an address.
    pub fn overlaps(self, network: Ipv4Addr, prefix_len: u8) -> bool {
        let shorter = self.prefix_len.min(prefix_len);
        mask(self.network, shorter) == mask(network, shorter)
    }

    /// How many sandboxes can have a network at once.
    pub fn capacity(self) -> u16 {
        let addresses = 1_u32 << (32 - self.prefix_len);
        u16::try_from(addresses - 3).unwrap_or(u16::MAX)
    }

    /// The address of a slot; `None` for an index that this pool does not have.
    pub fn address(self, index: SlotIndex) -> Option<Ipv4Addr> {
        let is_inside = (1..=self.capacity()).contains(&index.0);
        is_inside.then(|| Ipv4Addr::from_bits(self.network.to_bits() + 1 + u32::from(index.0)))
    }

    /// The slot that has an address; `None` for one that is no sandbox's.
    pub fn index_of(self, address: Ipv4Addr) -> Option<SlotIndex> {
        let distance = address.to_bits().checked_sub(self.gateway().to_bits())?;
        let index = SlotIndex(u16::try_from(distance).ok()?);
        (self.address(index) == Some(address)).then_some(index)
    }
}

impl Default for Ipv4Pool {
    fn default() -> Self {
        Self {
            network: Ipv4Addr::new(10, 200, 0, 0),
            prefix_len: 16,
        }
    }
}

impl fmt::Display for Ipv4Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl FromStr for Ipv4Pool {
    type Err = PoolParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || PoolParseError::Syntax(text.to_owned());
        let (network, prefix_len) = text.split_once('/').ok_or_else(syntax)?;
        let network: Ipv4Addr = network.parse().map_err(|_| syntax())?;
        let prefix_len: u8 = prefix_len.parse().map_err(|_| syntax())?;
        if !(16..=28).contains(&prefix_len) {
            return Err(PoolParseError::Size(prefix_len));
        }
        let pool = Self {
            network: mask(network, prefix_len),
            prefix_len,
        };
        if pool.network != network {
            return Err(PoolParseError::HostBits(pool));
        }
        let is_shared = mask(network, 10) == Ipv4Addr::new(100, 64, 0, 0);
        if !network.is_private() && !is_shared {
            return Err(PoolParseError::Public(pool));
        }
        Ok(pool)
    }
}

fn mask(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    let bits = u32::MAX
        .checked_shl(32 - u32::from(prefix_len.min(32)))
        .unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & bits)
}

/// A network that is closed to sandboxes unless the operator opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateNetwork(Ipv4Network);

/// Why a text is no network that can be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivateNetworkError {
    #[error("`{0}` is not an IPv4 network such as 10.20.0.0/16")]
    Syntax(String),
    #[error("bits are set behind the prefix; did you mean {0}?")]
    HostBits(PrivateNetwork),
    #[error(
        "{0} is not within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 or 198.18.0.0/15; public networks are \
         open anyway, and others stay closed"
    )]
    NotPrivate(PrivateNetwork),
}

impl PrivateNetwork {
    pub(super) fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(address)
    }

    fn homes() -> [Ipv4Network; 5] {
        [
            ([10, 0, 0, 0], 8),
            ([172, 16, 0, 0], 12),
            ([192, 168, 0, 0], 16),
            ([100, 64, 0, 0], 10),
            ([198, 18, 0, 0], 15),
        ]
        .map(|(address, prefix_len)| Ipv4Network::new(address.into(), prefix_len))
    }
}

impl fmt::Display for PrivateNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PrivateNetwork {
    type Err = PrivateNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = |_| PrivateNetworkError::Syntax(text.to_owned());
        let network: Ipv4Network = text.parse().map_err(syntax)?;
        // A typing error must not open more than was meant.
        if !text.starts_with(&format!("{}/", network.address())) {
            return Err(PrivateNetworkError::HostBits(Self(network)));
        }
        let is_within = |home: &Ipv4Network| {
            home.prefix_len() <= network.prefix_len() && home.contains(network.address())
        };
        if !Self::homes().iter().any(is_within) {
            return Err(PrivateNetworkError::NotPrivate(Self(network)));
        }
        Ok(Self(network))
    }
}

/// The number of a slot within its pool, from 1. Stays with a sandbox for as long as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotIndex(pub u16);

impl fmt::Display for SlotIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How one server's network is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    pub pool: Ipv4Pool,
    /// What the names of this server's host interfaces begin with. No other server on the host may have
    /// the same: interfaces with this prefix that nobody knows are removed at the start.
    pub prefix: String,
    /// The nftables table (family `inet`) of this server.
    pub table: String,
    pub ready_slots: usize,
    pub quarantine: Duration,
    /// Networks of the host's neighbourhood that sandboxes may reach, as far as their policies say. The host itself, other
    /// sandboxes and link-local addresses stay closed.
    pub allow_private: Vec<PrivateNetwork>,
    /// Where the resolver finds the servers to ask.
    pub resolv_conf: PathBuf,
    /// The servers to ask instead of those, if there are any.
    pub dns_servers: Vec<SocketAddr>,
    /// Where the outbound proxy listens, on this host or elsewhere. Sandboxes that nothing narrows reach it, also where
    /// nobody else there is open to them.
    pub proxy: Vec<SocketAddrV4>,
    /// How much one sandbox may send and get, gate and resolver included. What is more is thrown away.
    pub upload_limit: Option<Rate>,
    pub download_limit: Option<Rate>,
}

/// A bound on what one sandbox sends or gets, in millions of bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub mbit: NonZeroU32,
}

impl Rate {
    pub(super) fn bytes_per_second(self) -> u64 {
        u64::from(self.mbit.get()) * 125_000
    }
}

impl NetworkConfig {
    /// The usual set-up. `key` tells servers on one host apart and stays the same over restarts: the
    /// path of the data folder serves well.
    pub fn for_instance(key: &[u8], pool: Ipv4Pool) -> Self {
        let digest = Sha256::digest(key);
        let tag = hex::encode(&digest[..3]);
        Self {
            pool,
            // 10 characters; with the longest index that makes 15, the kernel's limit.
            prefix: format!("alc{tag}-"),
            table: format!("alcove_{tag}"),
            ready_slots: DEFAULT_READY_SLOTS,
            quarantine: DEFAULT_QUARANTINE,
            allow_private: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            dns_servers: Vec::new(),
            proxy: Vec::new(),
            upload_limit: None,
            download_limit: None,
        }
    }

    /// The host's end of a slot's link.
    pub(super) fn interface(&self, index: SlotIndex) -> String {
        format!("{}{index}", self.prefix)
    }

    /// The slot of one of our interfaces.
    pub(super) fn index_of(&self, interface: &str) -> Option<SlotIndex> {
        let number = interface.strip_prefix(&self.prefix)?;
        number.parse().ok().map(SlotIndex)
    }

    /// The label of the gateway's address, by which a later start knows it as ours.
    pub(super) fn gateway_label(&self) -> String {
        format!("lo:{}", self.prefix.trim_end_matches('-'))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_pool_has_its_gateway_first() {
        let pool = Ipv4Pool::default();
        assert_eq!(pool.to_string(), "10.200.0.0/16");
        assert_eq!(pool.gateway(), Ipv4Addr::new(10, 200, 0, 1));
        assert_eq!(
            pool.address(SlotIndex(1)),
            Some(Ipv4Addr::new(10, 200, 0, 2))
        );
        assert_eq!(
            pool.address(SlotIndex(65533)),
            Some(Ipv4Addr::new(10, 200, 255, 254))
        );
        assert_eq!(pool.address(SlotIndex(65534)), None);
        assert_eq!(pool.address(SlotIndex(0)), None);
    }

    #[test]
    fn a_pool_that_makes_no_sense_is_refused_with_the_reason() {
        let parse = |text: &str| text.parse::<Ipv4Pool>().unwrap_err();
        assert!(matches!(parse("10.200.0.0"), PoolParseError::Syntax(_)));
        assert!(matches!(parse("ten/16"), PoolParseError::Syntax(_)));
        assert_eq!(parse("10.200.0.0/8"), PoolParseError::Size(8));
        assert_eq!(parse("10.200.0.0/29"), PoolParseError::Size(29));
        assert_eq!(
            parse("10.200.3.0/16").to_string(),
            "bits are set behind the prefix; did you mean 10.200.0.0/16?"
        );
        assert!(matches!(parse("8.8.0.0/16"), PoolParseError::Public(_)));
    }

    #[test]
    fn only_what_is_private_can_be_opened() {
        let parse = |text: &str| text.parse::<PrivateNetwork>();
        for good in [
            "10.0.0.0/8",
            "10.20.0.0/16",
            "192.168.1.7/32",
            "100.64.0.0/10",
        ] {
            assert_eq!(parse(good).unwrap().to_string(), good);
        }
        assert!(matches!(
            parse("10.0.0.1"),
            Err(PrivateNetworkError::Syntax(_))
        ));
        assert_eq!(
            parse("10.20.0.1/16").unwrap_err().to_string(),
            "bits are set behind the prefix; did you mean 10.20.0.0/16?"
        );
        for other in [
            "0.0.0.0/0",
            "8.8.8.0/24",
            "169.254.0.0/16",
            "127.0.0.0/8",
            "192.0.0.0/8",
        ] {
            let refused = parse(other);
            assert!(
                matches!(refused, Err(PrivateNetworkError::NotPrivate(_))),
                "{other}"
            );
        }
    }

    #[test]
    fn an_overlap_is_seen_in_both_directions() {
        let pool: Ipv4Pool = "10.200.16.0/24".parse().unwrap();
        assert!(pool.overlaps(Ipv4Addr::new(10, 0, 0, 0), 8));
        assert!(pool.overlaps(Ipv4Addr::new(10, 200, 16, 7), 32));
        assert!(pool.overlaps(Ipv4Addr::UNSPECIFIED, 0));
        assert!(!pool.overlaps(Ipv4Addr::new(10, 200, 17, 0), 24));
    }

    #[test]
    fn interface_names_fit_the_kernel_and_lead_back_to_their_slot() {
        let config = NetworkConfig::for_instance(b"/var/lib/alcove", Ipv4Pool::default());
        let name = config.interface(SlotIndex(65533));
        assert!(name.len() <= 15, "{name}");
        assert!(config.gateway_label().len() <= 15);
        assert_eq!(config.index_of(&name), Some(SlotIndex(65533)));
        assert_eq!(config.index_of("eth0"), None);
    }

    proptest! {
        #[test]
        fn every_slot_has_its_own_address_inside_the_pool(bits in 16_u8..=28, a in any::<u16>(), b in any::<u16>()) {
            let pool: Ipv4Pool = format!("10.200.0.0/{bits}").parse().unwrap();
            let (first, second) = (pool.address(SlotIndex(a)), pool.address(SlotIndex(b)));
            if let Some(first) = first {
                prop_assert!(pool.contains(first));
                prop_assert_ne!(first, pool.gateway());
                prop_assert_eq!(pool.index_of(first), Some(SlotIndex(a)));
            }
            if a != b && first.is_some() {
                prop_assert_ne!(first, second);
            }
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in "\\PC*") {
            let _ = text.parse::<Ipv4Pool>();
        }
    }
}
