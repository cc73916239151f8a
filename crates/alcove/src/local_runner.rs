//! The runner of this process, as the control plane wants to see one.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use alcove_control::{
    AgentConnection, AgentStream, DialError, FetchedPieces, PortListener, RunnerClient,
};
use alcove_domain::{BuildId, Port, SandboxId};
use alcove_runner::Runner;
use alcove_runner_api::{
    Build, BuildLogPiece, BuildOutcome, Collected, Fetch, FetchError, HostCapabilities, HostStatus,
    ImageEntry, Needed, Order, OrderError, Pull, PullState, Report, Sample, Sighting, VolumeOrder,
    VolumeOutcome, WarmKind, WarmState, WarmWish,
};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream, WatchStream};

/// Reports that a slow listener may be behind. What it misses it learns from the inventory.
const REPORTS: usize = 1024;

#[derive(Debug)]
pub struct LocalRunner {
    runner: Runner,
    capabilities: HostCapabilities,
    reports: broadcast::Sender<Report>,
}

impl LocalRunner {
    /// A runner on a host that can do this.
    pub fn new(runner: Runner, capabilities: HostCapabilities) -> Self {
        let (reports, _) = broadcast::channel(REPORTS);
        if let Some(mut source) = runner.take_reports() {
            let sender = reports.clone();
            tokio::spawn(async move {
                while let Some(report) = source.recv().await {
                    // Nobody listens while the control plane starts; it reads the inventory then.
                    let _ = sender.send(report);
                }
            });
        }
        Self {
            runner,
            capabilities,
            reports,
        }
    }

    pub fn runner(&self) -> &Runner {
        &self.runner
    }
}

#[async_trait]
impl RunnerClient for LocalRunner {
    async fn apply(&self, order: Order) -> Result<Report, OrderError> {
        self.runner.apply(order).await
    }

    async fn apply_volume(&self, order: VolumeOrder) -> Result<VolumeOutcome, OrderError> {
        self.runner.apply_volume(order).await
    }

    async fn inventory(&self) -> Result<Vec<Report>, OrderError> {
        Ok(self.runner.inventory())
    }

    async fn host_status(&self) -> Result<HostStatus, OrderError> {
        let status = self.runner.host_status().await.map_err(|error| {
            tracing::error!(%error, "cannot see how the host is");
            OrderError::Unavailable
        })?;
        Ok(HostStatus {
            capabilities: Some(self.capabilities.clone()),
            ..status
        })
    }

    async fn samples(&self) -> Result<Vec<Sample>, OrderError> {
        Ok(self.runner.samples().await)
    }

    async fn images(&self) -> Result<Vec<ImageEntry>, OrderError> {
        Ok(self.runner.images())
    }

    async fn pull(&self, pull: Pull) -> Result<BoxStream<'static, PullState>, OrderError> {
        let states = self.runner.pull(pull)?;
        Ok(WatchStream::new(states).boxed())
    }

    async fn release_image(&self, name: &str) -> Result<(), OrderError> {
        let released = self.runner.release_image(name).await;
        released.map_err(|error| {
            tracing::error!(
                error = &error as &dyn Error,
                "cannot release the image {name}"
            );
            OrderError::Unavailable
        })
    }

    async fn collect_images(&self, needed: Needed) -> Result<Collected, OrderError> {
        let collected = self.runner.collect(needed).await;
        collected.map_err(|error| {
            tracing::error!(error = &error as &dyn Error, "cannot take images away");
            OrderError::Unavailable
        })
    }

    async fn keep_warm(&self, wishes: Vec<WarmWish>) -> Result<(), OrderError> {
        self.runner.keep_warm(wishes);
        Ok(())
    }

    async fn warm_states(&self) -> Result<Vec<WarmState>, OrderError> {
        Ok(self.runner.warm_states())
    }

    async fn take_warm(&self, kinds: &[WarmKind]) -> Result<Option<SandboxId>, OrderError> {
        Ok(self.runner.take_warm(kinds))
    }

    async fn give_warm_back(&self, sandbox: &SandboxId) -> Result<(), OrderError> {
        self.runner.give_warm_back(sandbox);
        Ok(())
    }

    async fn take_sightings(&self) -> Result<Vec<Sighting>, OrderError> {
        Ok(self.runner.take_sightings().await)
    }

    fn reports(&self) -> BoxStream<'static, Report> {
        BroadcastStream::new(self.reports.subscribe())
            .filter_map(|report| std::future::ready(report.ok()))
            .boxed()
    }

    async fn build(&self, order: Build) -> Result<BuildOutcome, OrderError> {
        self.runner.build(order).await
    }

    async fn cancel_build(&self, build: &BuildId) -> Result<(), OrderError> {
        self.runner.cancel_build(build.as_str());
        Ok(())
    }

    async fn forget_build(&self, build: &BuildId) -> Result<(), OrderError> {
        self.runner
            .forget_build(build.as_str())
            .await
            .map_err(|error| {
                tracing::error!(build.id = %build, %error, "cannot remove the log of a build");
                OrderError::Unavailable
            })
    }

    async fn build_log(
        &self,
        build: &BuildId,
        from: u64,
        waits: bool,
    ) -> Result<BuildLogPiece, OrderError> {
        let piece = self.runner.build_log(build.as_str(), from, waits).await;
        piece.map_err(|error| {
            tracing::error!(build.id = %build, %error, "cannot read the log of a build");
            OrderError::Unavailable
        })
    }

    async fn fetch(&self, order: Fetch) -> Result<FetchedPieces, FetchError> {
        let pieces = self.runner.fetch(order).await?;
        Ok(ReceiverStream::new(pieces).boxed())
    }

    async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError> {
        match self.runner.dial_agent(sandbox).await {
            Ok((stream, token)) => Ok(AgentConnection {
                stream: Box::new(stream),
                token: token.to_string(),
            }),
            Err(error) => Err(refused(sandbox, &error)),
        }
    }

    async fn dial_port(
        &self,
        sandbox: &SandboxId,
        port: Port,
    ) -> Result<Box<dyn AgentStream>, DialError> {
        match self.runner.dial_port(sandbox, port.get()).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(refused(sandbox, &error)),
        }
    }

    async fn listen_port(
        &self,
        sandbox: &SandboxId,
        port: Option<Port>,
    ) -> Result<(Box<dyn PortListener>, u16), DialError> {
        let port = port.map(Port::get);
        let listener = self.runner.listen_port(sandbox, port).await;
        let listener = listener.map_err(|error| refused(sandbox, &error))?;
        let port = listener
            .local_addr()
            .map_err(|_| DialError::Unavailable)?
            .port();
        Ok((Box::new(Inside(listener)), port))
    }
}

/// A listener in a sandbox.
struct Inside(TcpListener);

#[async_trait]
impl PortListener for Inside {
    async fn accept(&mut self) -> io::Result<(Box<dyn AgentStream>, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), peer))
    }
}

fn refused(sandbox: &SandboxId, error: &alcove_runner::DialError) -> DialError {
    match error {
        alcove_runner::DialError::NotRunning => DialError::NotRunning,
        alcove_runner::DialError::NobodyListens { .. } => DialError::NobodyListens,
        alcove_runner::DialError::Taken { .. } => DialError::PortTaken,
        alcove_runner::DialError::Connect(_) => {
            tracing::warn!(sandbox.id = %sandbox, %error, "a sandbox does not take connections");
            DialError::Unavailable
        }
    }
}
