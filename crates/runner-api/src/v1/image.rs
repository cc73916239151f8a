//! Images that come from registries, and what is still needed of those that are there.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ImageDigest, ImageEntry};

/// A user and a password, or a token, at a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryCredentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// An order to bring an image from a registry. Ordered again under the same name it goes on where it was: an image
/// that has the name already is the one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The name that the image gets on the runner.
    pub name: String,
    /// As people write it: registry, repository, tag or digest.
    pub reference: String,
    /// Whose pull it is. Contents that another owner has brought are taken only from a registry that hands them out to
    /// this one too.
    pub owner: String,
    /// For the registry of the reference; none is anonymous.
    pub credentials: Option<RegistryCredentials>,
    /// The registry of the reference is asked without TLS, though the runner's own settings do not say so.
    #[serde(default)]
    pub is_plain: bool,
    /// Largest image, of its compressed layers together and of its files together.
    pub max_bytes: u64,
}

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum PullState {
    /// Others go first.
    Waiting,
    Running {
        /// Bytes of compressed layers that are here, or need not come.
        done_bytes: u64,
        /// None until the registry has said what there is.
        total_bytes: Option<u64>,
    },
    Done {
        image: ImageEntry,
    },
    Failed {
        fault: PullFault,
    },
}

impl PullState {
    /// Whether nothing comes after it.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }
}

/// Why an image did not come, in words that a program can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PullFaultCode {
    /// The registry has no such image, or none for this host.
    NotFound,
    /// The registry wants other credentials.
    Unauthorized,
    /// It is larger than the order allows, or than any image may be.
    TooLarge,
    /// What came is not what was promised.
    WrongDigest,
    /// The registry does not answer, or must not be asked.
    Unreachable,
    /// The image is not one that can be unpacked here.
    BadImage,
    /// No disk space or no inodes left on the host.
    HostDiskFull,
    /// Nobody wants it any more.
    Cancelled,
    /// Anything else; the text says what.
    Internal,
}

/// A cause: the code for programs, the text for people. The text holds no secrets and no host paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullFault {
    pub code: PullFaultCode,
    pub message: String,
}

/// All images that the control plane needs. What it does not name, and the runner itself does not need for a sandbox,
/// an archive or a name, goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needed {
    pub images: BTreeSet<ImageDigest>,
}

/// What has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    pub images: u64,
    pub layers: u64,
    /// Downloads that nobody went on with.
    pub downloads: u64,
}
