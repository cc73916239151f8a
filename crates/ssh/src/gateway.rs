//! The listener, and the task of each connection.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Control, SshSession};
use russh::keys::PrivateKey;
use russh::server::{self, Config, Handle};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hostkey::HostKey;
use crate::inbox::WINDOW_BYTES;
use crate::limits::{Counted, Counts, Stranger};
use crate::login::Login;
use crate::peer::Peer;
use crate::turned_away::turn_away;
use crate::wire::{Link, Wire};

/// How the server calls itself.
pub const SERVER_ID: &str = "SSH-2.0-Alcove";
/// How often connections whose channels carry bytes count as use of the sandbox: well below the shortest interval, one
/// minute.
const ACTIVITY_EVERY: Duration = Duration::from_secs(15);
/// Silence after which a client is asked whether it is still there; OpenSSH answers by itself.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);
/// Questions without an answer after which it is not.
const KEEP_ALIVE_MAX: usize = 4;
/// A client that takes nothing off its connection for so long is gone.
const STUCK_AFTER: Duration = Duration::from_mins(10);
/// What a client gets to hear the reason of an end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Pause after a failed accept; most likely no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Clients that are told at once why they are turned away.
const TURNED_AWAY_AT_ONCE: usize = 64;
/// Before a login fails, so that guessing costs time.
const REJECTION_TIME: Duration = Duration::from_millis(300);

/// Bounds of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections that have not logged in.
    pub strangers: usize,
    /// The same from one address.
    pub strangers_per_address: usize,
    /// Connections that are logged in to one sandbox.
    pub connections_per_sandbox: usize,
    /// Channels of one connection.
    pub channels: usize,
    /// Tries to log in on one connection.
    pub attempts: usize,
    /// Time to log in.
    pub login: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            strangers: 128,
            strangers_per_address: 16,
            connections_per_sandbox: 64,
            channels: 64,
            attempts: 6,
            login: Duration::from_secs(30),
        }
    }
}

/// The gateway. Clones are cheap and are the same one.
#[derive(Debug, Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub control: Control,
    pub limits: Limits,
    pub counts: Arc<Counts>,
    pub tasks: TaskTracker,
    turned_away: Arc<Semaphore>,
    config: Arc<Config>,
}

/// What a connection becomes once its client has logged in.
pub(crate) type LoggedIn = watch::Sender<Option<Arc<SshSession>>>;

impl Gateway {
    pub fn new(control: Control, key: &HostKey, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                control,
                counts: Counts::new(limits),
                tasks: TaskTracker::new(),
                turned_away: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)),
                config: Arc::new(config(key.0.clone(), &limits)),
                limits,
            }),
        }
    }

    /// Serves until `shutdown`, then tells everybody that it is over and waits for them.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    // Keystrokes are sent as they are typed.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot turn off packet delay");
                    }
                    self.take(stream, address, &shutdown);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an SSH connection");
                    tokio::select! {
                        () = sleep(ACCEPT_PAUSE) => {}
                        () = shutdown.cancelled() => break,
                    }
                }
            }
        }
        drop(listener);
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Serves one connection as a task.
    pub(crate) fn take<S>(&self, stream: S, address: SocketAddr, shutdown: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let shutdown = shutdown.clone();
        match shared.counts.enter(address.ip()) {
            Ok((counted, stranger)) => {
                let connection = Connection {
                    shared: Arc::clone(&shared),
                    address,
                    _counted: counted,
                };
                shared.tasks.spawn(async move {
                    connection.serve(stream, stranger, shutdown).await;
                });
            }
            Err(full) => {
                tracing::debug!(peer = %address, %full, "an SSH connection is turned away");
                // A flood of them gets no words.
                let Ok(place) = Arc::clone(&shared.turned_away).try_acquire_owned() else {
                    return;
                };
                shared.tasks.spawn(async move {
                    let _ = timeout(LAST_WORDS, turn_away(stream, &full.to_string())).await;
                    drop(place);
                });
            }
        }
    }
}

fn config(key: PrivateKey, limits: &Limits) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed(SERVER_ID)),
        methods: MethodSet::from(&[MethodKind::PublicKey, MethodKind::Password][..]),
        auth_rejection_time: REJECTION_TIME,
        // What it tells is only which methods there are.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        window_size: WINDOW_BYTES,
        max_auth_attempts: limits.attempts,
        inactivity_timeout: Some(STUCK_AFTER),
        keepalive_interval: Some(KEEP_ALIVE_EVERY),
        keepalive_max: KEEP_ALIVE_MAX,
        preferred: Preferred::default(),
        ..Config::default()
    }
}

struct Connection {
    shared: Arc<Shared>,
    address: SocketAddr,
    _counted: Counted,
}

impl Connection {
    async fn serve<S>(self, stream: S, stranger: Stranger, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let link = Arc::new(Link::default());
        let wire = Wire::new(stream, Arc::clone(&link));
        let (logged_in, mut login) = watch::channel(None);
        let login_of_peer = Login::new(Arc::clone(&self.shared), stranger, logged_in);
        let peer = Peer::new(Arc::clone(&self.shared), Arc::clone(&link), login_of_peer);
        let inboxes = peer.inboxes().clone();
        // Whatever happens next, nothing of this connection outlives it.
        let _cut = link.cut.clone().drop_guard();
        let limits = &self.shared.limits;
        let begun = timeout(
            limits.login,
            server::run_stream(Arc::clone(&self.shared.config), wire, peer),
        );
        let begun = tokio::select! {
            begun = begun => begun,
            () = shutdown.cancelled() => return,
        };
        let mut session = match begun {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.address, %error, "an SSH connection did not begin");
                return;
            }
            Err(_) => return,
        };
        let handle = session.handle();
        let reason = tokio::select! {
            ended = &mut session => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %self.address, %error, "an SSH connection broke");
                }
                None
            }
            reason = self.ends(&link, &mut login, shutdown) => Some(reason),
        };
        if let Some(reason) = reason {
            say_goodbye(&handle, reason).await;
            let _ = timeout(LAST_WORDS, session).await;
        }
        inboxes.close_all();
    }

    /// Waits for whatever ends the connection from our side; why it does.
    async fn ends(
        &self,
        link: &Link,
        login: &mut watch::Receiver<Option<Arc<SshSession>>>,
        shutdown: CancellationToken,
    ) -> String {
        let has_login = async {
            let session = login.wait_for(Option::is_some).await;
            session.ok().and_then(|session| session.clone())
        };
        let session = tokio::select! {
            session = has_login => session,
            () = sleep(self.shared.limits.login) => return "the login took too long".to_owned(),
            () = shutdown.cancelled() => return "the server is shutting down".to_owned(),
        };
        // The sender goes with the connection, whose end is awaited beside this.
        let Some(session) = session else {
            return std::future::pending().await;
        };
        let counted = async {
            loop {
                sleep(ACTIVITY_EVERY).await;
                if link.take_traffic() {
                    self.shared.control.record_activity(session.sandbox());
                }
            }
        };
        let end = tokio::select! {
            end = session.ended() => end.to_string(),
            () = shutdown.cancelled() => "the server is shutting down".to_owned(),
            () = counted => return std::future::pending().await,
        };
        tracing::info!(
            sandbox.id = %session.sandbox(),
            peer = %self.address,
            "an SSH session by {} ends: {end}",
            session.opener()
        );
        end
    }
}

async fn say_goodbye(handle: &Handle, reason: String) {
    let goodbye = handle.disconnect(Disconnect::ByApplication, reason, String::new());
    let _ = timeout(LAST_WORDS, goodbye).await;
}

#[cfg(test)]
mod tests;
