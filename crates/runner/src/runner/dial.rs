//! Connections into sandboxes.

use std::io;
use std::sync::{Arc, PoisonError};

use alcove_domain::SandboxId;
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{Entry, Runner};
use crate::driver::View;

/// Why something in a sandbox cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the sandbox does not run")]
    NotRunning,
    #[error("nothing listens on port {port}")]
    NobodyListens { port: u16 },
    #[error("port {port} is taken")]
    Taken { port: u16 },
    #[error("cannot connect")]
    Connect(#[source] io::Error),
}

impl Runner {
    /// A new connection to a sandbox's agent, and the secret that it asks for.
    pub async fn dial_agent(
        &self,
        sandbox: &SandboxId,
    ) -> Result<(UnixStream, Arc<str>), DialError> {
        let token = self.of_running(sandbox, |view| view.token.clone())?;
        let path = crate::socket_path(&self.inner.host.sockets, sandbox.as_str());
        match UnixStream::connect(path).await {
            Ok(stream) => Ok((stream, token)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DialError::NotRunning),
            Err(error) => Err(DialError::Connect(error)),
        }
    }

    /// A new connection to whatever listens on this port of a sandbox's loopback.
    pub async fn dial_port(&self, sandbox: &SandboxId, port: u16) -> Result<TcpStream, DialError> {
        let process = self.of_running(sandbox, |view| view.process.clone())?;
        let connected = self.inner.host.inside.connect(process, port).await;
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => DialError::NobodyListens { port },
            io::ErrorKind::NotFound => DialError::NotRunning,
            _ => DialError::Connect(error),
        })
    }

    /// Listens on a port of a sandbox's loopback; none takes a free one. The listener goes with the sandbox's network, and
    /// its holder should let it go before.
    pub async fn listen_port(
        &self,
        sandbox: &SandboxId,
        port: Option<u16>,
    ) -> Result<TcpListener, DialError> {
        let process = self.of_running(sandbox, |view| view.process.clone())?;
        let port = port.unwrap_or_default();
        let listener = self.inner.host.inside.listen(process, port).await;
        listener.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => DialError::Taken { port },
            io::ErrorKind::NotFound => DialError::NotRunning,
            _ => DialError::Connect(error),
        })
    }

    /// What the view of a sandbox has only while it runs.
    fn of_running<T>(
        &self,
        sandbox: &SandboxId,
        of: impl FnOnce(&View) -> Option<T>,
    ) -> Result<T, DialError> {
        let entries = self.entries();
        let Some(Entry::Driven { view, .. }) = entries.get(sandbox) else {
            return Err(DialError::NotRunning);
        };
        let view = view.read().unwrap_or_else(PoisonError::into_inner);
        of(&view).ok_or(DialError::NotRunning)
    }
}
