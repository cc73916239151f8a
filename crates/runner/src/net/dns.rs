//! The sandboxes' resolver: passes queries on to the host's own servers and answers back.
//!
//! It listens on the gateway's address only, holds no cache, and reads no more of a message than its
//! question. Each query goes out from a socket of its own (a fresh source port) under a fresh random
//! id, so that an answer cannot be guessed. One sandbox can hold no more than its share of the queries
//! under way.

mod upstreams;
mod wire;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::upstreams::Upstreams;
use self::wire::{MAX_MESSAGE, Query, Rcode};
use super::config::Ipv4Pool;

const PORT: u16 = 53;

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

const LISTEN_BACKLOG: i32 = 128;

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
    datagrams: Mutex<Pending>,
    streams: Mutex<Pending>,
}

impl Resolver {
    pub fn bind(pool: Ipv4Pool, resolv_conf: PathBuf) -> io::Result<Self> {
        let gateway = pool.gateway();
        let datagrams = std::net::UdpSocket::from(bound_socket(SocketType::DGRAM, gateway)?);
        let listener = bound_socket(SocketType::STREAM, gateway)?;
        rustix::net::listen(&listener, LISTEN_BACKLOG)?;
        Ok(Self {
            datagrams: UdpSocket::from_std(datagrams)?,
            streams: TcpListener::from_std(listener.into())?,
            shared: Arc::new(Shared {
                upstreams: Upstreams::new(resolv_conf, gateway),
                pool,
                datagrams: Mutex::new(Pending::new(DATAGRAM_LIMIT)),
                streams: Mutex::new(Pending::new(STREAM_LIMIT)),
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
                    let Some(permit) = self.shared.admit(client, Transport::Datagram) else { continue };
                    let (datagrams, shared) = (Arc::clone(&datagrams), Arc::clone(&self.shared));
                    let message = buffer[..length].to_vec();
                    tasks.spawn(until(stop.clone(), async move {
                        if let Some(answer) = shared.answer(&message, Transport::Datagram).await {
                            let _ = datagrams.send_to(&answer, client).await;
                        }
                        drop(permit);
                    }));
                }
                accepted = self.streams.accept() => {
                    let Ok((stream, client)) = accepted else {
                        // Out of descriptors, most likely: let others finish first.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let Some(permit) = self.shared.admit(client, Transport::Stream) else { continue };
                    let shared = Arc::clone(&self.shared);
                    tasks.spawn(until(stop.clone(), async move {
                        let _ = shared.serve_stream(stream).await;
                        drop(permit);
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
    fn pending(&self, transport: Transport) -> MutexGuard<'_, Pending> {
        let pending = match transport {
            Transport::Datagram => &self.datagrams,
            Transport::Stream => &self.streams,
        };
        pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, client: SocketAddr, transport: Transport) -> Option<Permit> {
        let IpAddr::V4(client) = client.ip() else {
            return None;
        };
        // The firewall lets nobody else in; this holds without it too.
        if !self.pool.contains(client) {
            return None;
        }
        let is_admitted = self.pending(transport).enter(client);
        is_admitted.then(|| Permit {
            shared: Arc::clone(self),
            client,
            transport,
        })
    }

    /// The answer to a client's message; `None` where silence is right.
    async fn answer(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(rejection) => return wire::rejection_answer(message, rejection),
        };
        let mut failure = None;
        for server in self.upstreams.servers().into_iter().take(MAX_ATTEMPTS) {
            match timeout(UPSTREAM_TIMEOUT, ask(&query, server, transport)).await {
                Ok(Ok(answer)) if wire::is_failure(&answer) => failure = Some(answer),
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(_)) | Err(_) => self.upstreams.demote(server),
            }
        }
        Some(failure.unwrap_or_else(|| query.refusal(Rcode::ServerFailure)))
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let Ok(message) = timeout(STREAM_IDLE, read_framed(&mut stream)).await else {
                return Ok(());
            };
            let Some(answer) = self.answer(&message?, Transport::Stream).await else {
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

fn bound_socket(kind: SocketType, address: Ipv4Addr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    // The address may come back later than we do when somebody reconfigures the loopback interface.
    sockopt::set_ip_freebind(&socket, true)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::from((address, PORT)))?;
    Ok(socket)
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    total: usize,
    per_sandbox: usize,
}

/// Who has how many queries under way.
#[derive(Debug)]
struct Pending {
    limit: Limit,
    total: usize,
    by_client: HashMap<Ipv4Addr, usize>,
}

impl Pending {
    fn new(limit: Limit) -> Self {
        Self {
            limit,
            total: 0,
            by_client: HashMap::new(),
        }
    }

    fn enter(&mut self, client: Ipv4Addr) -> bool {
        let count = self.by_client.get(&client).copied().unwrap_or(0);
        if self.total >= self.limit.total || count >= self.limit.per_sandbox {
            return false;
        }
        self.total += 1;
        self.by_client.insert(client, count + 1);
        true
    }

    fn leave(&mut self, client: Ipv4Addr) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

/// A place among the pending queries, given back on drop.
#[derive(Debug)]
struct Permit {
    shared: Arc<Shared>,
    client: Ipv4Addr,
    transport: Transport,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.pending(self.transport).leave(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sandbox_cannot_take_the_share_of_others() {
        let mut pending = Pending::new(STREAM_LIMIT);
        let greedy = Ipv4Addr::new(10, 200, 0, 2);
        let admitted = (0..STREAM_LIMIT.total)
            .filter(|_| pending.enter(greedy))
            .count();
        assert_eq!(admitted, STREAM_LIMIT.per_sandbox);
        assert!(pending.enter(Ipv4Addr::new(10, 200, 0, 3)));
        pending.leave(greedy);
        assert!(pending.enter(greedy));
    }

    #[test]
    fn all_sandboxes_together_have_a_limit_and_nothing_is_left_when_they_are_done() {
        let mut pending = Pending::new(STREAM_LIMIT);
        let clients: Vec<_> = (0..200)
            .map(|last| Ipv4Addr::new(10, 200, 1, last))
            .collect();
        let mut entered: Vec<&Ipv4Addr> = Vec::new();
        for _ in 0..STREAM_LIMIT.per_sandbox {
            entered.extend(clients.iter().filter(|client| pending.enter(**client)));
        }
        assert_eq!(entered.len(), STREAM_LIMIT.total);
        for client in entered {
            pending.leave(*client);
        }
        assert!(pending.total == 0 && pending.by_client.is_empty());
    }
}
