//! The way to a runner, as a trait: the real one speaks to a host, the test kit's one plays a host.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use alcove_domain::{BuildId, Port, SandboxId};
use alcove_runner_api::{
    Build, BuildLogPiece, BuildOutcome, Collected, Fetch, FetchError, HostStatus, ImageEntry,
    Needed, Order, OrderError, Pull, PullState, Report, Sample, Sighting, VolumeOrder,
    VolumeOutcome, WarmKind, WarmState, WarmWish,
};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};

/// A file as it comes.
pub type FetchedPieces = BoxStream<'static, Result<Vec<u8>, FetchError>>;

/// A host that keeps sandboxes.
#[async_trait]
pub trait RunnerClient: Send + Sync + 'static {
    /// Resolves when the goal is reached or has failed. Safe to repeat; dropping the future does not
    /// take the order back.
    async fn apply(&self, order: Order) -> Result<Report, OrderError>;

    /// Resolves when the volume's goal is reached or has failed. Safe to repeat; dropping the future does not take the
    /// order back.
    async fn apply_volume(&self, order: VolumeOrder) -> Result<VolumeOutcome, OrderError>;

    /// Everything that the host keeps.
    async fn inventory(&self) -> Result<Vec<Report>, OrderError>;

    /// How the host is. Takes as long as it takes to see what its processors do.
    async fn host_status(&self) -> Result<HostStatus, OrderError>;

    /// What every sandbox with processes uses now.
    async fn samples(&self) -> Result<Vec<Sample>, OrderError>;

    /// Images that sandboxes can be started from.
    async fn images(&self) -> Result<Vec<ImageEntry>, OrderError>;

    /// Brings an image from a registry. The stream tells how far that is and ends with its end. Safe to repeat: an
    /// image that has the name already is the one. Dropping the stream does not end the pull.
    async fn pull(&self, pull: Pull) -> Result<BoxStream<'static, PullState>, OrderError>;

    /// Ends the pull for this name, and takes the name away from its image. Safe to repeat.
    async fn release_image(&self, name: &str) -> Result<(), OrderError>;

    /// Removes images and layers that have no name, are not needed, and are of no sandbox on the host.
    async fn collect_images(&self, needed: Needed) -> Result<Collected, OrderError>;

    /// Observations that nobody ordered. Calling it again gives a new stream from now on.
    fn reports(&self) -> BoxStream<'static, Report>;

    /// Builds an image. Resolves when it is there or will not be. Safe to repeat; dropping the future does not end the
    /// build.
    async fn build(&self, order: Build) -> Result<BuildOutcome, OrderError>;

    /// Ends a build, if it is under way.
    async fn cancel_build(&self, build: &BuildId) -> Result<(), OrderError>;

    /// Removes the log of a build. Safe to repeat.
    async fn forget_build(&self, build: &BuildId) -> Result<(), OrderError>;

    /// The next piece of a build's log, from this byte on. With `waits`, waits for one while the build is under way.
    async fn build_log(
        &self,
        build: &BuildId,
        from: u64,
        waits: bool,
    ) -> Result<BuildLogPiece, OrderError>;

    /// Replaces what is wished for of sandboxes made ahead of need. Safe to repeat.
    async fn keep_warm(&self, wishes: Vec<WarmWish>) -> Result<(), OrderError>;

    /// What there is of every kind that is wished for.
    async fn warm_states(&self) -> Result<Vec<WarmState>, OrderError>;

    /// Takes a member of the first of these kinds that has one. It is the caller's until the caller orders a sandbox of
    /// this id to run, which hands it over, or gives it back; after a while it goes.
    async fn take_warm(&self, kinds: &[WarmKind]) -> Result<Option<SandboxId>, OrderError>;

    /// Gives a taken member back of which nothing was ordered. Safe to repeat.
    async fn give_warm_back(&self, sandbox: &SandboxId) -> Result<(), OrderError>;

    /// Fetches a file from an address outside. Resolves when the host has begun to answer with it; an error is the last
    /// that comes.
    async fn fetch(&self, order: Fetch) -> Result<FetchedPieces, FetchError>;

    /// What the host saw of the network use of its sandboxes since the last time that it was asked.
    async fn take_sightings(&self) -> Result<Vec<Sighting>, OrderError>;

    /// A fresh connection to the agent of a running sandbox.
    async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError>;

    /// A fresh connection to what listens on this port of a running sandbox's own loopback.
    async fn dial_port(
        &self,
        sandbox: &SandboxId,
        port: Port,
    ) -> Result<Box<dyn AgentStream>, DialError>;

    /// Listens on a port of a running sandbox's own loopback, and says on which; none takes a free one.
    async fn listen_port(
        &self,
        sandbox: &SandboxId,
        port: Option<Port>,
    ) -> Result<(Box<dyn PortListener>, u16), DialError>;
}

/// A listener in a sandbox. It should be dropped when the sandbox stops.
#[async_trait]
pub trait PortListener: Send {
    /// The next connection, and where it comes from. Safe to drop and call again.
    async fn accept(&mut self) -> io::Result<(Box<dyn AgentStream>, SocketAddr)>;
}

/// Bytes to and from an agent, or another server in a sandbox.
pub trait AgentStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> AgentStream for T {}

/// A connection to an agent with the secret that each request on it must carry in the header
/// `X-Alcove-Agent-Token`.
pub struct AgentConnection {
    pub stream: Box<dyn AgentStream>,
    pub token: String,
}

impl fmt::Debug for AgentConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConnection").finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("the sandbox is not running")]
    NotRunning,
    #[error("nothing listens on this port of the sandbox")]
    NobodyListens,
    #[error("the port is taken")]
    PortTaken,
    #[error("the runner or the agent is not available")]
    Unavailable,
}
