//! Ports of the client in the sandbox: a listener there, whose connections become channels.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_control::{AgentStream, Control, DialError, PortListener};
use alcove_domain::{Port, SandboxId};
use russh::ChannelId;
use russh::server::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channel::Outlet;
use crate::inbox::{Held, Inbox};
use crate::raw::{Ending, carry};
use crate::wire::Link;

/// Ports that one client may have listened on.
pub const LISTENERS_MAX: usize = 16;
/// Ports below are the system's.
const FIRST_PORT: u32 = 1024;

/// The inboxes of a connection's channels.
#[derive(Debug, Clone, Default)]
pub struct Inboxes(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    slots: HashMap<ChannelId, Slot>,
    /// Channels that the client was asked for and has not answered about.
    asked_for: usize,
}

#[derive(Debug)]
struct Slot {
    inbox: Arc<Inbox>,
    /// The client has confirmed the channel, and the task that asked for it has not gone on yet.
    awaits_task: bool,
    is_closed: bool,
}

impl Slot {
    fn new(held: &Arc<Held>, awaits_task: bool) -> Self {
        Self {
            inbox: Inbox::new(Arc::clone(held)),
            awaits_task,
            is_closed: false,
        }
    }
}

impl Inboxes {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so a panic leaves nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel's, made where there is none yet. One that its client has closed meanwhile is given all the same: what
    /// was sent before counts.
    pub fn open(&self, id: ChannelId, held: &Arc<Held>) -> Arc<Inbox> {
        let slots = &mut self.lock().slots;
        let slot = slots.entry(id).or_insert_with(|| Slot::new(held, false));
        slot.awaits_task = false;
        let (inbox, is_closed) = (Arc::clone(&slot.inbox), slot.is_closed);
        if is_closed {
            slots.remove(&id);
        }
        inbox
    }

    /// The client has confirmed a channel of ours, and may send at once, or close it, before the task that asked for it
    /// goes on.
    pub fn confirm(&self, id: ChannelId, held: &Arc<Held>) {
        let slots = &mut self.lock().slots;
        slots.entry(id).or_insert_with(|| Slot::new(held, true));
    }

    pub fn get(&self, id: ChannelId) -> Option<Arc<Inbox>> {
        let state = self.lock();
        state.slots.get(&id).map(|slot| Arc::clone(&slot.inbox))
    }

    /// The client has closed the channel. Where a task is still to come for it, that finds it closed.
    pub fn close(&self, id: ChannelId) {
        let slots = &mut self.lock().slots;
        let Some(slot) = slots.get_mut(&id) else {
            return;
        };
        slot.inbox.close();
        slot.is_closed = true;
        if !slot.awaits_task {
            slots.remove(&id);
        }
    }

    pub fn remove(&self, id: ChannelId) {
        self.lock().slots.remove(&id);
    }

    /// Channels that there are, and those that the client was asked for.
    pub fn count(&self) -> usize {
        let state = self.lock();
        state.slots.len() + state.asked_for
    }

    /// Counts a channel that the client is about to be asked for, until the answer; None where there are too many.
    fn ask(&self, most: usize) -> Option<Asked> {
        let mut state = self.lock();
        if state.slots.len() + state.asked_for >= most {
            return None;
        }
        state.asked_for += 1;
        Some(Asked(self.clone()))
    }

    /// Closes all, since the connection has ended.
    pub fn close_all(&self) {
        for (_, slot) in self.lock().slots.drain() {
            slot.inbox.close();
        }
    }
}

/// A channel that the client was asked for.
struct Asked(Inboxes);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.lock().asked_for -= 1;
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
            let Some(asked) = self.inboxes.ask(self.channels_max) else {
                continue;
            };
            let way = Way {
                handle: self.handle.clone(),
                link: Arc::clone(&self.link),
                inboxes: self.inboxes.clone(),
                address: self.address.clone(),
                port: self.port,
            };
            // A task of its own, which a stop leaves alone: a channel that is confirmed after it must not be nobody's.
            self.tasks.spawn(way.carry(stream, peer, asked));
        }
    }
}

/// From one connection in the sandbox to the client.
struct Way {
    handle: Handle,
    link: Arc<Link>,
    inboxes: Inboxes,
    address: String,
    port: u32,
}

impl Way {
    async fn carry(self, stream: Box<dyn AgentStream>, peer: SocketAddr, asked: Asked) {
        let opening = self.handle.channel_open_forwarded_tcpip(
            self.address,
            self.port,
            peer.ip().to_string(),
            peer.port().into(),
        );
        let opened = tokio::select! {
            opened = opening => opened,
            () = self.link.cut.cancelled() => return,
        };
        // The client may not want this one.
        let Ok(channel) = opened else { return };
        let inbox = self.inboxes.open(channel.id(), &self.link.held);
        drop(asked);
        let (_, half) = channel.split();
        let outlet = Outlet::new(half, self.handle.clone(), self.link);
        carry(stream, inbox, outlet, Ending::Port).await;
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
mod tests;
