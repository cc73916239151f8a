//! The sandboxes' resolver: passes queries on to the host's own servers and answers back.
//!
//! It listens on the gateway's address only, holds no cache, and reads no more of a message than its
//! question. For sandboxes that may reach some names only it does more, and passes on less ([`listed`]). Each query goes out from a socket of its own (a fresh source port) under a fresh random
//! id, so that an answer cannot be guessed. One sandbox can hold no more than its share of the queries
//! under way.

mod answer;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod listed;
mod upstreams;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alcove_runner_api::Wanted;
use rustix::net::SocketType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::upstreams::Upstreams;
use self::wire::{MAX_MESSAGE, Query, Rcode};
use super::config::{Ipv4Pool, NetworkConfig};
use super::links;
use super::names::NameRule;
use super::outside::Outside;
use super::policy::Policies;
use super::shares::{Limit, Share, Shares};
use super::sockets::bound_socket;

const PORT: u16 = 53;

/// What is put down of a question for what is no name of a host.
const NO_NAME: &str = "(not the name of a host)";

/// Queries by datagram under way, of all sandboxes and of one.
const DATAGRAM_LIMIT: Limit = Limit {
    total: 2048,
    per_sandbox: 64,
};

/// Open streams. Fewer: a silent one costs its owner nothing.
const STREAM_LIMIT: Limit = Limit {
    total: 512,
    per_sandbox: 8,
};

/// One server's time to answer, and how many are tried. Clients give up after five seconds or so.
const UPSTREAM_TIMEOUT: Duration = Duration::from_millis(1500);
const MAX_ATTEMPTS: usize = 3;

/// How long a client's stream may stay silent.
const STREAM_IDLE: Duration = Duration::from_secs(10);

/// Longer answers do not come as datagrams: the client is told to use a stream.
const MAX_DATAGRAM: usize = 4096;

/// The sockets, bound and not yet served.
#[derive(Debug)]
pub(super) struct Resolver {
    datagrams: UdpSocket,
    streams: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstreams: Upstreams,
    pool: Ipv4Pool,
    policies: Arc<Policies>,
    outside: Outside,
    datagrams: Arc<Shares>,
    streams: Arc<Shares>,
}

impl Resolver {
    pub fn bind(config: &NetworkConfig, policies: Arc<Policies>) -> io::Result<Self> {
        let pool = config.pool;
        let gateway = pool.gateway();
        let upstreams = if config.dns_servers.is_empty() {
            Upstreams::new(config.resolv_conf.clone(), gateway)
        } else {
            Upstreams::named(config.dns_servers.clone(), gateway)
        };
        let datagrams = std::net::UdpSocket::from(bound_socket(SocketType::DGRAM, gateway, PORT)?);
        let listener = bound_socket(SocketType::STREAM, gateway, PORT)?;
        Ok(Self {
            datagrams: UdpSocket::from_std(datagrams)?,
            streams: TcpListener::from_std(listener.into())?,
            shared: Arc::new(Shared {
                upstreams,
                pool,
                policies,
                outside: Outside::new(config.clone()),
                datagrams: Shares::new(DATAGRAM_LIMIT),
                streams: Shares::new(STREAM_LIMIT),
            }),
        })
    }

    /// Answers until `stop`.
    pub async fn serve(self, stop: CancellationToken, tasks: TaskTracker) {
        let datagrams = Arc::new(self.datagrams);
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = datagrams.recv_from(&mut buffer) => {
                    // An error is a client's (it has closed its port): nothing to do about it here.
                    let Ok((length, client)) = received else { continue };
                    let Some(share) = self.shared.admit(client, Transport::Datagram) else { continue };
                    let (datagrams, shared) = (Arc::clone(&datagrams), Arc::clone(&self.shared));
                    let message = buffer[..length].to_vec();
                    tasks.spawn(until(stop.clone(), async move {
                        if let Some(answer) = shared.answer(client, &message, Transport::Datagram).await {
                            let _ = datagrams.send_to(&answer, client).await;
                        }
                        drop(share);
                    }));
                }
                accepted = self.streams.accept() => {
                    let Ok((stream, client)) = accepted else {
                        // Out of descriptors, most likely: let others finish first.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let Some(share) = self.shared.admit(client, Transport::Stream) else { continue };
                    let shared = Arc::clone(&self.shared);
                    tasks.spawn(until(stop.clone(), async move {
                        let _ = shared.serve_stream(client, stream).await;
                        drop(share);
                    }));
                }
            }
        }
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// How a client asks, and so how its question is best passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Datagram,
    Stream,
}

impl Shared {
    fn admit(&self, client: SocketAddr, transport: Transport) -> Option<Share> {
        let IpAddr::V4(client) = client.ip() else {
            return None;
        };
        // The firewall lets nobody else in; this holds without it too.
        if !self.pool.contains(client) {
            return None;
        }
        let shares = match transport {
            Transport::Datagram => &self.datagrams,
            Transport::Stream => &self.streams,
        };
        shares.enter(client)
    }

    /// The answer to a client's message; `None` where silence is right.
    async fn answer(
        &self,
        client: SocketAddr,
        message: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(rejection) => return wire::rejection_answer(message, rejection),
        };
        let IpAddr::V4(client) = client.ip() else {
            return None;
        };
        if let Some(name) = query.name()
            && let Some(label) = links::peer_label(&name)
        {
            return Some(self.answer_peer(&query, client, label).await);
        }
        let rule = self.policies.names().rule(client);
        self.note(&query, client, &rule);
        match rule {
            NameRule::Any => Some(self.forward(&query, transport).await),
            NameRule::None => Some(query.refusal(Rcode::NoSuchName)),
            NameRule::Listed(names) => Some(self.answer_listed(&query, names).await),
        }
    }

    /// Puts down which name was asked for, and whether it may be.
    fn note(&self, query: &Query<'_>, client: Ipv4Addr, rule: &NameRule) {
        let name = query.name();
        let is_allowed = match (rule, &name) {
            (NameRule::Any, _) => true,
            (NameRule::Listed(names), Some(name)) => names.allows(name),
            (NameRule::Listed(_), None) | (NameRule::None, _) => false,
        };
        let name = name.map_or_else(|| NO_NAME.to_owned(), |name| name.to_string());
        let wanted = Wanted::Name { name, is_allowed };
        self.policies.sightings().note(client, wanted);
    }

    /// Where a linked sandbox is. Names of this kind are known here or not at all: no server outside hears of them.
    async fn answer_peer(&self, query: &Query<'_>, client: Ipv4Addr, label: &str) -> Vec<u8> {
        match self.policies.peer_address(client, label).await {
            None => query.refusal(Rcode::NoSuchName),
            // Not to be kept: it has another one when it has been started again.
            Some(address) if query.asks_for_addresses() => query.addresses(&[address], 0),
            Some(_) => query.refusal(Rcode::NoError),
        }
    }

    /// What the host's own servers say to a query.
    async fn forward(&self, query: &Query<'_>, transport: Transport) -> Vec<u8> {
        let mut failure = None;
        for server in self.upstreams.servers().into_iter().take(MAX_ATTEMPTS) {
            match timeout(UPSTREAM_TIMEOUT, ask(query, server, transport)).await {
                Ok(Ok(answer)) if wire::is_failure(&answer) => failure = Some(answer),
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) | Err(_) => self.upstreams.demote(server),
            }
        }
        failure.unwrap_or_else(|| query.refusal(Rcode::ServerFailure))
    }

    async fn serve_stream(&self, client: SocketAddr, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let Ok(message) = timeout(STREAM_IDLE, read_framed(&mut stream)).await else {
                return Ok(());
            };
            let Some(answer) = self.answer(client, &message?, Transport::Stream).await else {
                return Ok(());
            };
            timeout(STREAM_IDLE, write_framed(&mut stream, &answer)).await??;
        }
    }
}

/// Asks one server and gives its answer the client's id.
async fn ask(query: &Query<'_>, server: SocketAddr, transport: Transport) -> io::Result<Vec<u8>> {
    let mut answer = match transport {
        Transport::Datagram => ask_by_datagram(query, server).await?,
        // A server that takes no streams may still have a short answer.
        Transport::Stream => match ask_by_stream(query, server).await {
            Ok(answer) => answer,
            Err(_) => ask_by_datagram(query, server).await?,
        },
    };
    wire::set_id(&mut answer, query.id());
    Ok(answer)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a number against forged answers; nothing is decided by it"
)]
async fn ask_by_datagram(query: &Query<'_>, server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected: the kernel drops what comes from anybody else.
    socket.connect(server).await?;
    let id = rand::random();
    socket.send(&query.with_id(id)).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if !query.is_answered_by(&buffer[..length], id) {
            continue;
        }
        if length == buffer.len() {
            return Ok(query.truncation());
        }
        buffer.truncate(length);
        return Ok(buffer);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a number against forged answers; nothing is decided by it"
)]
async fn ask_by_stream(query: &Query<'_>, server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = timeout(UPSTREAM_TIMEOUT / 2, TcpStream::connect(server)).await??;
    let id = rand::random();
    write_framed(&mut stream, &query.with_id(id)).await?;
    let answer = read_framed(&mut stream).await?;
    if query.is_answered_by(&answer, id) {
        Ok(answer)
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    debug_assert!(message.len() <= MAX_MESSAGE);
    let length =
        u16::try_from(message.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
