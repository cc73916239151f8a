//! Builds: a Dockerfile becomes an image.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ImageDigest, ImageEntry, NetworkSpec, RegistryCredentials};

/// An order to build an image. Ordered again under the same name it goes on with the steps that are done already: an
/// image that has the name is the one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// Names the build and its log.
    pub id: String,
    /// The name that the image gets on the runner.
    pub name: String,
    /// Whose build it is: nobody is served what another one has built or uploaded.
    pub organization: String,
    pub dockerfile: String,
    /// Parts of the context, as the organization has uploaded them. Later ones lie over earlier ones.
    pub contexts: Vec<String>,
    /// What the names of images in the Dockerfile mean.
    pub images: BTreeMap<String, BaseImage>,
    /// Time for all of it.
    pub limit: Duration,
    /// Whether what its commands send carries the mark by which hosts limit traffic.
    #[serde(default)]
    pub is_limited: bool,
}

impl Build {
    /// What its commands may reach: all that sandboxes without a policy may, under the limit of their organization.
    pub fn network(&self) -> NetworkSpec {
        NetworkSpec {
            is_limited: self.is_limited,
            ..NetworkSpec::default()
        }
    }
}

/// What the name of an image in a Dockerfile means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "camelCase")]
pub enum BaseImage {
    /// An image that is on the runner.
    Here { digest: ImageDigest },
    /// One that its registry is asked for.
    Pull(PullOfBase),
}

/// An image that is brought for a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullOfBase {
    /// As people write it: registry, repository, tag or digest.
    pub reference: String,
    /// For the registry of the reference; none is anonymous.
    pub credentials: Option<RegistryCredentials>,
    /// The registry of the reference is asked without TLS, though the runner's own settings do not say so.
    pub is_plain: bool,
    /// Largest image, of its compressed layers together and of its files together.
    pub max_bytes: u64,
}

/// What became of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum BuildOutcome {
    Done { image: ImageEntry },
    Failed { fault: BuildFault },
}

/// Why there is no image, in words that a program can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BuildFaultCode {
    /// The Dockerfile is wrong, or asks for something that is not supported.
    Refused,
    /// A command failed, or a file is not there.
    StepFailed,
    /// An image that the Dockerfile names cannot be had from its registry.
    BaseImage,
    /// A part of the context is not there, or cannot be unpacked.
    Context,
    /// It took too long.
    TimedOut,
    /// Nobody wants it any more.
    Cancelled,
    /// No disk space or no inodes left on the host.
    HostDiskFull,
    /// Anything else; the text says what.
    Internal,
}

/// A cause: the code for programs, the text for people. The text holds no secrets and no host paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFault {
    pub code: BuildFaultCode,
    pub message: String,
}

impl BuildFault {
    pub fn new(code: BuildFaultCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// A piece of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildLogPiece {
    pub bytes: Vec<u8>,
    /// Nothing comes after it, for now: the build is over, or does not run on this runner.
    pub is_over: bool,
}
