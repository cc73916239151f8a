//! Listeners in sandboxes, over a link: the runner accepts, keeps the connection for a moment, and says its number; the
//! server asks for it with a tunnel.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alcove_control::{AgentStream, PortListener};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use crate::call::{Accepted, Dial};
use crate::frame::Message;
use crate::remote::RemoteRunner;

/// How long a connection is kept that nobody comes for.
const KEPT: Duration = Duration::from_secs(10);
/// Connections that are kept at once; one more is closed.
const WAITING_MAX: usize = 1_000;

/// The server's side of a listener.
pub(crate) struct RemoteListener {
    runner: RemoteRunner,
    accepted: BoxStream<'static, io::Result<Message>>,
    /// Heard of and not fetched yet, where a caller gave up in between.
    next: Option<Accepted>,
}

impl RemoteListener {
    pub fn new(runner: RemoteRunner, accepted: BoxStream<'static, io::Result<Message>>) -> Self {
        Self {
            runner,
            accepted,
            next: None,
        }
    }
}

#[async_trait]
impl PortListener for RemoteListener {
    async fn accept(&mut self) -> io::Result<(Box<dyn AgentStream>, SocketAddr)> {
        loop {
            if self.next.is_none() {
                let told = self.accepted.next().await;
                let told = told.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))??;
                self.next = told.json();
            }
            let Some(accepted) = &self.next else {
                continue;
            };
            let peer = accepted.peer.parse().map_err(io::Error::other)?;
            let number = accepted.number;
            let dialled = self.runner.dial(&Dial::Accepted { number }).await;
            self.next = None;
            // One that went away again is nobody's.
            if let Ok((stream, _)) = dialled {
                return Ok((stream, peer));
            }
        }
    }
}

/// The runner's side: connections that were accepted and are not fetched yet.
#[derive(Default)]
pub(crate) struct Waiting {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    last: u64,
    streams: HashMap<u64, Box<dyn AgentStream>>,
}

impl Waiting {
    /// Keeps a connection for a while. None if there are too many: it is closed then.
    pub fn keep(self: &Arc<Self>, stream: Box<dyn AgentStream>) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.streams.len() >= WAITING_MAX {
            return None;
        }
        inner.last += 1;
        let number = inner.last;
        inner.streams.insert(number, stream);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            drop(this.take(number));
        });
        Some(number)
    }

    pub fn take(&self, number: u64) -> Option<Box<dyn AgentStream>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.streams.remove(&number)
    }
}
