//! The gate: what a sandbox that may reach some names only says to the addresses of these names goes through here.
//!
//! ```text
//!   sandbox ── to 192.0.2.7:443 ──> kernel: open? turned over ──> gate ── to 192.0.2.7:443 ──>
//!                                                                  reads for whom it is
//! ```
//!
//! One address serves many names. So each connection has to say whom it means, in a way that the other side goes by:
//! the server name of TLS ([`hello`]) or, where nothing is encrypted, the `Host` of each request ([`http`]). It is let
//! through to the address that it asked for, if that was opened for this very name. Nothing is decrypted.
//!
//! Only ports 80 and 443: behind others are services that go by no name, and may be a neighbour's. Whatever does not say a
//! name is refused, and while no server runs there is nobody to pass anything on.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod hello;
mod http;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::HostName;
use alcove_runner_api::Wanted;
use rustix::net::{SocketType, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::hello::{Hello, HelloError};
use super::config::NetworkConfig;
use super::names::{ListedNames, NameRules};
use super::outside::Outside;
use super::policy::Policies;
use super::shares::{Limit, Shares};
use super::sightings::Sightings;
use super::sockets::bound_socket;

/// On the gateway's address. Only root can listen there, nobody has a use for it, and it is not among the ports that
/// outgoing connections get: while no server runs, nobody else answers in its place.
pub(super) const PORT: u16 = 54;

/// The ports that lead through the gate.
pub(super) const OPEN_PORTS: [u16; 2] = [80, 443];

const CONNECTIONS: Limit = Limit {
    total: 8192,
    per_sandbox: 512,
};

/// How long a connection may take to say whom it means.
const NAME_PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Silence after which the other side of a connection is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);

/// Of each direction. No more is read than the other side takes.
const BUFFER: usize = 32 << 10;

/// The first byte of a TLS record that holds a handshake message.
const TLS_HANDSHAKE: u8 = 22;

/// Fatal alert 49, access denied, in the form that every version of TLS reads.
const TLS_ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// How long whoever was refused has to read why.
const LINGER: Duration = Duration::from_secs(2);

/// The socket, bound and not yet served.
#[derive(Debug)]
pub(super) struct Gate {
    listener: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    names: Arc<NameRules>,
    sightings: Arc<Sightings>,
    outside: Outside,
    connections: Arc<Shares>,
}

/// Where one connection of a sandbox leads.
#[derive(Debug, Clone)]
struct Way {
    sandbox: Ipv4Addr,
    names: Arc<ListedNames>,
    destination: SocketAddrV4,
    shared: Arc<Shared>,
}

impl Gate {
    pub fn bind(config: &NetworkConfig, policies: &Policies) -> io::Result<Self> {
        let listener = bound_socket(SocketType::STREAM, config.pool.gateway(), PORT)?;
        Ok(Self {
            listener: TcpListener::from_std(listener.into())?,
            shared: Arc::new(Shared {
                names: Arc::clone(policies.names()),
                sightings: Arc::clone(policies.sightings()),
                outside: Outside::new(config.clone()),
                connections: Shares::new(CONNECTIONS),
            }),
        })
    }

    /// Lets connections through until `stop`.
    pub async fn serve(self, stop: CancellationToken, tasks: TaskTracker) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, client)) = accepted else {
                // Out of descriptors, most likely: let others finish first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let SocketAddr::V4(client) = client else {
                continue;
            };
            // For nobody else does the kernel turn connections over.
            let Some(names) = self.shared.names.listed(*client.ip()) else {
                continue;
            };
            let Some(share) = self.shared.connections.enter(*client.ip()) else {
                continue;
            };
            // What the kernel wrote down when it turned the connection over, out of the sandbox's reach.
            let Ok(destination) = sockopt::ip_original_dst(&stream) else {
                continue;
            };
            if !OPEN_PORTS.contains(&destination.port()) {
                continue;
            }
            let way = Way {
                sandbox: *client.ip(),
                names,
                destination,
                shared: Arc::clone(&self.shared),
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    // An error is of one of the two sides, and both notice.
                    _ = way.pass(stream) => {}
                }
                drop(share);
            });
        }
    }
}

impl Way {
    async fn pass(self, stream: TcpStream) -> io::Result<()> {
        if !self.names.is_open(*self.destination.ip()) {
            return Ok(());
        }
        prepare(&stream)?;
        let mut first = [0];
        if timeout(NAME_PATIENCE, stream.peek(&mut first)).await?? == 0 {
            return Ok(());
        }
        if first == [TLS_HANDSHAKE] {
            self.pass_tls(stream).await
        } else {
            http::pass(self, stream).await
        }
    }

    async fn pass_tls(self, mut stream: TcpStream) -> io::Result<()> {
        let hello = timeout(NAME_PATIENCE, read_hello(&mut stream)).await?;
        let Ok(hello) = hello else {
            return refuse(stream, &TLS_ACCESS_DENIED).await;
        };
        let name = &hello.name;
        let is_allowed = self.names.is_open_for(name, *self.destination.ip());
        self.note(name, is_allowed);
        if !is_allowed {
            tracing::debug!(%name, destination = %self.destination, "refused a connection to a name that is not open");
            return refuse(stream, &TLS_ACCESS_DENIED).await;
        }
        let mut outside = self.connect().await?;
        let relay = async {
            outside.write_all(&hello.bytes).await?;
            tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut outside, BUFFER, BUFFER)
                .await
        };
        tokio::select! {
            () = self.names.closed_to(|list| list.allows(name)) => Ok(()),
            relayed = relay => relayed.map(drop),
        }
    }

    /// Puts down whom the sandbox meant.
    fn note(&self, name: &HostName, is_allowed: bool) {
        let wanted = Wanted::Host {
            name: name.to_string(),
            address: *self.destination.ip(),
            port: self.destination.port(),
            is_allowed,
        };
        self.shared.sightings.note(self.sandbox, wanted);
    }

    /// Connects to where the sandbox meant to, and nowhere else.
    async fn connect(&self) -> io::Result<TcpStream> {
        // Asked when it was opened; addresses of the host may have changed since.
        if !self.shared.outside.has(*self.destination.ip()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let stream = timeout(CONNECT_PATIENCE, TcpStream::connect(self.destination)).await??;
        prepare(&stream)?;
        Ok(stream)
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    Ok(())
}

async fn read_hello(stream: &mut TcpStream) -> Result<Hello, HelloError> {
    let mut reader = hello::Reader::default();
    let mut buffer = vec![0; 4096];
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return Err(HelloError::CutOff);
        }
        if let Some(hello) = reader.push(&buffer[..length])? {
            return Ok(hello);
        }
    }
}

/// Says why and waits for the other side to have read it: a close on unread bytes would take it back.
async fn refuse(mut stream: TcpStream, words: &[u8]) -> io::Result<()> {
    let said = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    timeout(LINGER, said).await?
}

#[cfg(test)]
mod tests;
