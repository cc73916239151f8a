//! Kept connections to agents, and the count of requests that are open in each sandbox.
//!
//! A connection is in the pool only while it is idle. Who takes one owns it; it comes back once its
//! answer has been read to the end, and never if that end was not reached. Both numbers are bounded, so
//! that one sandbox cannot use up the server's file descriptors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alcove_domain::SandboxId;
use axum::body::Body;
use http::HeaderValue;
use hyper::client::conn::http1::SendRequest;

use crate::Target;

/// Idle connections kept for one sandbox. SDKs send one request after another; parallel ones find
/// this many warm, and a fresh connection over a unix socket costs little.
const IDLE_PER_SANDBOX: usize = 8;
/// Requests and sockets open in one sandbox at once.
const OPEN_PER_SANDBOX: usize = 1024;
/// Idle connections older than this are closed. Far below what the agent waits, so that the two never
/// close and send at the same moment.
pub(crate) const IDLE_FOR: Duration = Duration::from_secs(20);

/// A connection that is ready for a request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub sender: SendRequest<Body>,
    /// The secret that an agent asks for.
    pub token: Option<HeaderValue>,
}

#[derive(Default)]
struct Entry {
    idle: Vec<(Instant, Connection)>,
    open: usize,
    /// Of the open ones, those that count as use of the sandbox.
    counted: usize,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.open == 0
    }
}

#[derive(Default)]
pub(crate) struct Pool {
    entries: Mutex<HashMap<Target, Entry>>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Entry>> {
        // A panic while holding it cannot leave an entry half-changed: each change is one step.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a request; None when too many are open.
    pub(crate) fn lease(self: &Arc<Self>, target: &Target, is_counted: bool) -> Option<Lease> {
        let mut entries = self.lock();
        let entry = entries.entry(target.clone()).or_default();
        if entry.open >= OPEN_PER_SANDBOX {
            return None;
        }
        entry.open += 1;
        entry.counted += usize::from(is_counted);
        Some(Lease {
            pool: Arc::clone(self),
            target: target.clone(),
            is_counted,
        })
    }

    /// The connection used last, if an open one is idle.
    pub(crate) fn take(&self, target: &Target) -> Option<Connection> {
        let mut entries = self.lock();
        let entry = entries.get_mut(target)?;
        while let Some((_, connection)) = entry.idle.pop() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    pub(crate) fn put(&self, target: &Target, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut entries = self.lock();
        let entry = entries.entry(target.clone()).or_default();
        if entry.idle.len() < IDLE_PER_SANDBOX {
            entry.idle.push((Instant::now(), connection));
        }
    }

    /// Drops the idle connections of a sandbox that are closed. Called when one of them ends, so that
    /// nothing of a dead sandbox is kept.
    pub(crate) fn drop_closed(&self, target: &Target) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(target) {
            entry
                .idle
                .retain(|(_, connection)| !connection.sender.is_closed());
            if entry.is_empty() {
                entries.remove(target);
            }
        }
    }

    /// Drops what has been idle for too long and tells which sandboxes are in use.
    pub(crate) fn sweep(&self) -> Vec<SandboxId> {
        let mut entries = self.lock();
        let mut in_use = Vec::new();
        entries.retain(|target, entry| {
            entry.idle.retain(|(since, connection)| {
                !connection.sender.is_closed() && since.elapsed() < IDLE_FOR
            });
            if entry.counted > 0 {
                in_use.push(target.sandbox.clone());
            }
            !entry.is_empty()
        });
        in_use
    }

    /// Drops all idle connections.
    pub(crate) fn clear(&self) {
        self.lock().retain(|_, entry| {
            entry.idle.clear();
            !entry.is_empty()
        });
    }

    #[cfg(test)]
    fn idle(&self, target: &Target) -> usize {
        self.lock().get(target).map_or(0, |entry| entry.idle.len())
    }
}

/// One open request. Dropping it ends the count.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    target: Target,
    is_counted: bool,
}

impl Lease {
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut entries = self.pool.lock();
        if let Some(entry) = entries.get_mut(&self.target) {
            entry.open -= 1;
            entry.counted -= usize::from(self.is_counted);
            if entry.is_empty() {
                entries.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    use super::*;

    fn target() -> Target {
        Target {
            sandbox: "a".parse().unwrap(),
            generation: 1,
            server: crate::Server::Agent,
        }
    }

    async fn connection() -> (Connection, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        let mut connection = Connection {
            sender,
            token: None,
        };
        connection.sender.ready().await.unwrap();
        (connection, theirs)
    }

    #[tokio::test]
    async fn no_more_idle_connections_are_kept_than_the_bound() {
        let pool = Arc::new(Pool::default());
        let mut peers = Vec::new();
        for _ in 0..IDLE_PER_SANDBOX + 3 {
            let (connection, peer) = connection().await;
            peers.push(peer);
            pool.put(&target(), connection);
        }
        assert_eq!(pool.idle(&target()), IDLE_PER_SANDBOX);
    }

    #[tokio::test]
    async fn a_connection_that_the_agent_closed_is_not_handed_out() {
        let pool = Arc::new(Pool::default());
        let (connection, peer) = connection().await;
        pool.put(&target(), connection);
        drop(peer);
        tokio::task::yield_now().await;
        assert!(pool.take(&target()).is_none());
        pool.drop_closed(&target());
        assert!(pool.lock().is_empty());
    }

    #[test]
    fn the_count_of_open_requests_is_bounded_and_comes_back() {
        let pool = Arc::new(Pool::default());
        let leases: Vec<_> = (0..OPEN_PER_SANDBOX)
            .map(|_| pool.lease(&target(), true).unwrap())
            .collect();
        assert!(pool.lease(&target(), true).is_none());
        assert_eq!(pool.sweep(), [target().sandbox]);
        drop(leases);
        assert!(pool.lock().is_empty());
        let _quiet = pool.lease(&target(), false).unwrap();
        assert!(pool.sweep().is_empty());
    }
}
