//! What a host saw of the network use of its sandboxes.

use std::net::Ipv4Addr;
use std::time::Duration;

use alcove_domain::SandboxId;
use serde::{Deserialize, Serialize};

/// Something that a sandbox wanted of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    pub sandbox: SandboxId,
    /// How long ago it was seen first.
    pub age: Duration,
    /// How often it was seen since the last time that sightings were taken.
    pub count: u32,
    pub wanted: Wanted,
}

/// What was wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Wanted {
    /// The addresses of a name, or other records of it.
    #[serde(rename_all = "camelCase")]
    Name { name: String, is_allowed: bool },
    /// A connection that says whom it means, seen by the gate.
    #[serde(rename_all = "camelCase")]
    Host {
        name: String,
        address: Ipv4Addr,
        port: u16,
        is_allowed: bool,
    },
    /// A connection that the kernel keeps.
    #[serde(rename_all = "camelCase")]
    Address {
        /// The number of the protocol: 6 is TCP, 17 is UDP, 1 is ICMP.
        protocol: u8,
        address: Ipv4Addr,
        /// 0 where the protocol has none.
        port: u16,
    },
    /// More than is kept apart.
    More,
}
