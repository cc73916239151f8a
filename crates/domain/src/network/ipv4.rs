//! A network of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Addresses that begin with the same bits. The bits behind the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Network {
    address: Ipv4Addr,
    prefix_len: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an IPv4 network is an address, a slash and a number from 0 to 32")]
pub struct NetworkParseError;

impl Ipv4Network {
    /// Every address.
    pub const EVERYTHING: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        prefix_len: 0,
    };

    /// The network of this many bits that holds the address; more than 32 bits are 32.
    pub fn new(address: Ipv4Addr, prefix_len: u8) -> Self {
        let prefix_len = prefix_len.min(32);
        let address = Ipv4Addr::from_bits(address.to_bits() & Self::mask_bits(prefix_len));
        Self {
            address,
            prefix_len,
        }
    }

    /// The first address.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The mask of this many bits.
    pub fn mask(prefix_len: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(Self::mask_bits(prefix_len))
    }

    fn mask_bits(prefix_len: u8) -> u32 {
        let rest = 32 - u32::from(prefix_len.min(32));
        u32::MAX.checked_shl(rest).unwrap_or(0)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self::new(address, self.prefix_len) == self
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

impl fmt::Display for Ipv4Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Ipv4Network {
    type Err = NetworkParseError;

    fn from_str(text: &str) -> Result<Self, NetworkParseError> {
        let (address, prefix) = text.split_once('/').ok_or(NetworkParseError)?;
        // The number's own parser takes a sign.
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NetworkParseError);
        }
        let address = address.parse().map_err(|_| NetworkParseError)?;
        match prefix.parse() {
            Ok(prefix_len @ 0..=32) => Ok(Self::new(address, prefix_len)),
            _ => Err(NetworkParseError),
        }
    }
}

impl TryFrom<String> for Ipv4Network {
    type Error = NetworkParseError;

    fn try_from(text: String) -> Result<Self, NetworkParseError> {
        text.parse()
    }
}

impl From<Ipv4Network> for String {
    fn from(network: Ipv4Network) -> Self {
        network.to_string()
    }
}
