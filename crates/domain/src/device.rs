//! Programs that wait for a person to let them in (RFC 8628).

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::{OrganizationId, UserId};

/// What is kept of a code that a program or a person shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceCodeHash(pub [u8; 32]);

impl fmt::Debug for DeviceCodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceCodeHash(..)")
    }
}

/// What a person says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceDecision {
    None,
    Denied,
    /// As whom, and in which organization.
    Approved(UserId, OrganizationId),
}

/// A program that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLogin {
    /// Of the code that the program asks with.
    pub code: DeviceCodeHash,
    /// Of the one that its user shows.
    pub user_code: DeviceCodeHash,
    /// What the program says of itself.
    pub client: String,
    /// The host that it says it runs on.
    pub device: Option<String>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    pub began_at: Timestamp,
    pub decision: DeviceDecision,
}
