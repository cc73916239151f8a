//! Ports of the client in the sandbox: a listener there, whose connections become channels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use alcove_control::{Control, DialError, PortListener};
use alcove_domain::{Port, SandboxId};
use russh::ChannelId;
use russh::server::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channel::Outlet;
use crate::inbox::Inbox;
use crate::raw::{Ending, carry};
use crate::wire::Link;

/// Ports that one client may have listened on.
pub const LISTENERS_MAX: usize = 16;
/// Ports below are the system's.
const FIRST_PORT: u32 = 1024;

/// The inboxes of a connection's channels.
#[derive(Debug, Clone, Default)]
pub struct Inboxes(Arc<Mutex<HashMap<ChannelId, Arc<Inbox>>>>);

impl Inboxes {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChannelId, Arc<Inbox>>> {
        // Each change is one step, so a panic leaves nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel's, made where there is none yet.
    pub fn open(&self, id: ChannelId, link: &Link) -> Arc<Inbox> {
        let mut inboxes = self.lock();
        let inbox = inboxes
            .entry(id)
            .or_insert_with(|| Inbox::new(Arc::clone(&link.held)));
        Arc::clone(inbox)
    }

    pub fn get(&self, id: ChannelId) -> Option<Arc<Inbox>> {
        self.lock().get(&id).cloned()
    }

    pub fn remove(&self, id: ChannelId) -> Option<Arc<Inbox>> {
        self.lock().remove(&id)
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Closes all, since the connection has ended.
    pub fn close(&self) {
        for (_, inbox) in self.lock().drain() {
            inbox.close();
        }
    }
}

/// Where a client may have listened: on the sandbox's own loopback, whatever it asks for, as servers do by default.
pub fn may_listen(port: u32) -> bool {
    port == 0 || (FIRST_PORT..=u16::MAX.into()).contains(&port)
}

/// The port of the loopback that a client wants to reach.
pub fn on_loopback(host: &str, port: u32) -> Option<Port> {
    let is_loopback = matches!(
        host.to_ascii_lowercase().as_str(),
        "localhost" | "127.0.0.1" | "::1" | "" | "*" | "0.0.0.0" | "::" | "ip6-localhost"
    );
    let port = u16::try_from(port).ok().and_then(Port::new)?;
    is_loopback.then_some(port)
}

/// A listener in the sandbox, and where its connections go.
pub struct Forward {
    pub listener: Box<dyn PortListener>,
    pub handle: Handle,
    pub link: Arc<Link>,
    pub inboxes: Inboxes,
    /// As the client knows it.
    pub address: String,
    pub port: u32,
    pub channels_max: usize,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Forward {
    /// Has each connection become a channel, until it is told to stop.
    pub async fn run(mut self) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let Ok((stream, peer)) = accepted else {
                // The sandbox or its network is gone.
                return;
            };
            if self.inboxes.count() >= self.channels_max {
                continue;
            }
            let opened = tokio::select! {
                opened = self.handle.channel_open_forwarded_tcpip(
                    self.address.clone(),
                    self.port,
                    peer.ip().to_string(),
                    peer.port().into(),
                ) => opened,
                () = self.stop.cancelled() => return,
            };
            let Ok(channel) = opened else {
                // The client does not want this one.
                continue;
            };
            let id = channel.id();
            let inbox = self.inboxes.open(id, &self.link);
            let (_, half) = channel.split();
            let outlet = Outlet::new(half, self.handle.clone(), Arc::clone(&self.link));
            self.tasks.spawn(carry(stream, inbox, outlet, Ending::Port));
        }
    }
}

/// Listens on the sandbox's loopback.
pub async fn listen(
    control: &Control,
    sandbox: &SandboxId,
    port: u32,
) -> Result<(Box<dyn PortListener>, u16), DialError> {
    let port = u16::try_from(port).unwrap_or_default();
    control.listen_port(sandbox, Port::new(port)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_is_reached() {
        for host in ["localhost", "127.0.0.1", "::1", "LOCALHOST", ""] {
            assert_eq!(on_loopback(host, 80).map(Port::get), Some(80), "{host}");
        }
        for (host, port) in [
            ("10.0.0.1", 80),
            ("example.com", 80),
            ("127.0.0.2", 80),
            ("localhost", 0),
            ("localhost", 65_536),
        ] {
            assert_eq!(on_loopback(host, port), None, "{host}:{port}");
        }
    }

    #[test]
    fn ports_of_the_system_are_not_listened_on() {
        for (port, may) in [
            (0, true),
            (1, false),
            (1023, false),
            (1024, true),
            (65_535, true),
            (65_536, false),
        ] {
            assert_eq!(may_listen(port), may, "{port}");
        }
    }
}
