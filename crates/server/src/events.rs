//! The event socket: Socket.IO at `/api/socket.io/`, WebSocket transport only.
//!
//! A client proves itself in the Socket.IO CONNECT packet, not in the HTTP handshake, and then gets all
//! events of its organization; it does not subscribe to anything. A page of this server that sends no token there is known by
//! the session's cookie of the handshake. Without this endpoint, programs on
//! Node.js do not end for minutes after their last line.
//!
//! One task an organization turns the control plane's events into messages, as long as somebody
//! listens, and shows no state that is over before it could be read (`hold.rs`). A client that does not keep up loses messages, which costs it a second: it also polls. Who must not lose any
//! reads them as server-sent events (`routes/daytona/event.rs`). A socket ends with the key that it came with.

mod hold;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alcove_control::{Caller, Event, EventBody};
use alcove_domain::OrganizationId;
use axum::Router;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use socketioxide::extract::{SocketRef, State, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::layer::SocketIoLayer;
use socketioxide::{SocketIo, TransportType};
use tokio::time::Instant;
use tower::Layer;

use self::hold::Hold;
use crate::app::App;
use crate::{present, session};

/// What clients are told about liveness; they compute their own deadlines from it.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// SDKs send their token at once; who does not is let go.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest message that a client may send. It has nothing to say but its token.
const PAYLOAD_MAX_BYTES: u64 = 1_000_000;
/// Messages held for one slow client.
const BUFFER_MAX_MESSAGES: usize = 256;

/// Goes around the router and takes the socket's path.
pub(crate) struct EventLayer(SocketIoLayer);

impl EventLayer {
    pub(crate) fn layer_on(&self, router: Router) -> Router {
        Router::new().fallback_service(self.0.layer(router))
    }
}

pub(crate) fn layer(app: App) -> (EventLayer, SocketIo) {
    let (layer, io) = SocketIo::builder()
        .req_path("/api/socket.io")
        .transports([TransportType::Websocket])
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_payload(PAYLOAD_MAX_BYTES)
        .max_buffer_size(BUFFER_MAX_MESSAGES)
        .with_state(Feeds {
            app,
            listeners: Arc::default(),
        })
        .build_layer();
    io.ns("/", joined.with(admit));
    (EventLayer(layer), io)
}

/// Which organizations are listened to, and by how many sockets.
#[derive(Clone)]
struct Feeds {
    app: App,
    listeners: Arc<Mutex<HashMap<OrganizationId, Listeners>>>,
}

struct Listeners {
    count: usize,
    task: tokio::task::AbortHandle,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Auth {
    token: Option<String>,
    /// Where who has signed in is to listen; else it is the user's personal organization.
    organization_id: Option<String>,
}

/// What a refused client reads.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalid credentials")
    }
}

impl std::error::Error for Refused {}

async fn admit(
    socket: SocketRef,
    TryData(auth): TryData<Auth>,
    State(feeds): State<Feeds>,
) -> Result<(), Refused> {
    // Without any, the handshake may have brought a session.
    let auth = auth.unwrap_or_default();
    let caller = if let Some(token) = &auth.token {
        // SDKs send the bare token; a caller that copies the header's value is understood as well.
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        let caller = feeds.app.control().authenticate(token).await;
        caller.map_err(|_| Refused)?
    } else {
        let organization = auth.organization_id.as_deref();
        let caller = session::at_socket(socket.req_parts(), &feeds.app, organization).await;
        caller.ok_or(Refused)?
    };
    socket.extensions.insert(caller);
    Ok(())
}

async fn joined(socket: SocketRef, io: SocketIo, State(feeds): State<Feeds>) {
    let Some(caller) = socket.extensions.get::<Caller>() else {
        return;
    };
    let organization = caller.organization.clone();
    socket.join([room(&organization), format!("user:{}", caller.user)]);
    feeds.listen(&io, &organization);
    let ended = watch_key(feeds.app.clone(), socket.clone(), caller);
    let leaving = feeds.clone();
    socket.on_disconnect(async move || {
        ended.abort();
        leaving.leave(&organization);
    });
}

/// Cuts a socket when the key that it came with is good no more.
fn watch_key(app: App, socket: SocketRef, caller: Caller) -> tokio::task::AbortHandle {
    let watching = tokio::spawn(async move {
        app.control().key_ended(&caller).await;
        // It may have left at this very moment.
        let _ = socket.disconnect();
    });
    watching.abort_handle()
}

fn room(organization: &OrganizationId) -> String {
    format!("organization:{organization}")
}

impl Feeds {
    fn listen(&self, io: &SocketIo, organization: &OrganizationId) {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(listeners) = listeners.get_mut(organization) {
            listeners.count += 1;
            return;
        }
        let feeds = self.clone();
        let io = io.clone();
        let mut events = self.app.control().subscribe_events(organization);
        let room = room(organization);
        let task = tokio::spawn(async move {
            let mut hold = Hold::default();
            loop {
                let due = hold.due();
                let told = tokio::select! {
                    biased;
                    event = events.next() => match event {
                        Some(event) => hold.take(event, Instant::now()),
                        None => return,
                    },
                    () = until(due) => hold.take_due(Instant::now()),
                };
                for event in told {
                    let (name, payload) = message(&feeds.app, &event);
                    if let Err(error) = io.to(room.clone()).emit(name, &payload).await {
                        tracing::debug!(%error, event = name, "event did not reach every listener");
                    }
                }
            }
        });
        listeners.insert(
            organization.clone(),
            Listeners {
                count: 1,
                task: task.abort_handle(),
            },
        );
    }

    fn leave(&self, organization: &OrganizationId) {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = listeners.get_mut(organization) {
            left.count -= 1;
            if left.count == 0 {
                left.task.abort();
                listeners.remove(organization);
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// An event's name and payload. What it is about is always the whole object: Go clients decode it as one.
pub(crate) fn message(app: &App, event: &Event) -> (&'static str, Value) {
    match &event.body {
        EventBody::SandboxCreated { sandbox } => {
            ("sandbox.created", json!(present::sandbox(app, sandbox)))
        }
        EventBody::SandboxStateUpdated {
            sandbox,
            old_state,
            new_state,
        } => (
            "sandbox.state.updated",
            json!({
                "sandbox": present::sandbox(app, sandbox),
                "oldState": old_state.as_str(),
                "newState": new_state.as_str(),
            }),
        ),
        EventBody::SandboxDesiredStateUpdated {
            sandbox,
            old_desired_state,
            new_desired_state,
        } => (
            "sandbox.desired-state.updated",
            json!({
                "sandbox": present::sandbox(app, sandbox),
                "oldDesiredState": old_desired_state.as_str(),
                "newDesiredState": new_desired_state.as_str(),
            }),
        ),
        EventBody::SnapshotCreated { snapshot } => {
            ("snapshot.created", json!(present::snapshot(app, snapshot)))
        }
        EventBody::SnapshotStateUpdated {
            snapshot,
            old_state,
            new_state,
        } => (
            "snapshot.state.updated",
            json!({
                "snapshot": present::snapshot(app, snapshot),
                "oldState": old_state.as_str(),
                "newState": new_state.as_str(),
            }),
        ),
        EventBody::SnapshotRemoved { snapshot } => {
            ("snapshot.removed", json!(present::snapshot(app, snapshot)))
        }
        EventBody::VolumeCreated { volume } => ("volume.created", json!(present::volume(volume))),
        EventBody::VolumeStateUpdated {
            volume,
            old_state,
            new_state,
        } => (
            "volume.state.updated",
            json!({
                "volume": present::volume(volume),
                "oldState": old_state.as_str(),
                "newState": new_state.as_str(),
            }),
        ),
        EventBody::VolumeLastUsedAtUpdated { volume } => {
            ("volume.lastUsedAt.updated", json!(present::volume(volume)))
        }
    }
}
