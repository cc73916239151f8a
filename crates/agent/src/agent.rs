//! What all requests share.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_agent_api::AgentConfig;
use rand::Rng;
use tokio::sync::watch;

use crate::exec::Execs;
use crate::git::Helpers;
use crate::home::Home;
use crate::interpreter::registry::Contexts;
use crate::lsp::registry::LanguageServers;
use crate::port::loopback::Loopback;
use crate::process::job::JobTags;
use crate::process::reaper::Children;
use crate::pty::registry::Terminals;
use crate::session::registry::Sessions;
use crate::usage::{GroupFiles, Usage};

/// The agent: configuration, children, sessions, terminals, interpreter contexts.
#[derive(Debug)]
pub struct Agent {
    pub home: Home,
    pub children: Arc<Children>,
    pub tags: JobTags,
    pub sessions: Sessions,
    pub execs: Execs,
    pub contexts: Contexts,
    pub loopback: Loopback,
    pub usage: Usage,
    pub git: Helpers,
    pub terminals: Terminals,
    pub language_servers: LanguageServers,
    /// `/dev/null` for reading and writing.
    pub null: OwnedFd,
    /// Becomes true when the agent is about to end.
    pub is_stopping: watch::Sender<bool>,
    /// WebSockets that are open.
    sockets: watch::Sender<usize>,
    /// Of commands whose caller names no limit.
    pub execute_limit: Option<Duration>,
    /// Whether the sandbox is a step of a build.
    pub is_build: bool,
    /// Secret that requests must carry.
    token: String,
    /// Token of the platform for its telemetry, handed over by `/init`.
    telemetry_token: Mutex<String>,
}

impl Agent {
    /// # Errors
    /// The system has no `/dev/null`.
    #[expect(
        clippy::disallowed_methods,
        reason = "a number that no other agent is likely to have; nothing is decided by it"
    )]
    pub fn new(
        config: &AgentConfig,
        home: Home,
        limits: Option<GroupFiles>,
        git: Helpers,
    ) -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self {
            home,
            children: Children::new(),
            tags: JobTags::new(rand::rng().next_u32()),
            contexts: Contexts::default(),
            execs: Execs::default(),
            sessions: Sessions::new(config.session_log_max_bytes),
            loopback: Loopback::default(),
            usage: Usage::new(limits),
            git,
            terminals: Terminals::default(),
            language_servers: LanguageServers::default(),
            null: null.into(),
            is_stopping: watch::Sender::new(false),
            sockets: watch::Sender::new(0),
            execute_limit: config.execute_timeout_seconds.map(Duration::from_secs),
            is_build: config.build,
            token: config.token.clone(),
            telemetry_token: Mutex::default(),
        })
    }

    /// Whether the secret is ours. Takes the same time wherever the first difference is.
    pub fn knows_token(&self, offered: &[u8]) -> bool {
        let own = self.token.as_bytes();
        let mut difference = own.len() ^ offered.len();
        for (at, byte) in own.iter().enumerate() {
            // The length is no secret; only the content is.
            difference |= usize::from(byte ^ offered.get(at).copied().unwrap_or(!byte));
        }
        std::hint::black_box(difference) == 0 && !own.is_empty()
    }

    /// Resolves when the agent is about to end.
    pub async fn stopping(&self) {
        // The sender lives in `self`.
        let _ = self
            .is_stopping
            .subscribe()
            .wait_for(|stopping| *stopping)
            .await;
    }

    /// Notes down an open WebSocket. The server does not know them any more, and the agent does not end before they
    /// have said good-bye.
    pub fn note_socket(self: &Arc<Self>) -> OpenSocket {
        self.sockets.send_modify(|count| *count += 1);
        OpenSocket(self.clone())
    }

    /// Resolves when no WebSocket is open.
    pub async fn sockets_closed(&self) {
        // The sender lives in `self`.
        let _ = self.sockets.subscribe().wait_for(|count| *count == 0).await;
    }

    pub fn set_telemetry_token(&self, token: String) {
        *self
            .telemetry_token
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = token;
    }
}

/// A WebSocket that is open for as long as this lives.
#[derive(Debug)]
pub struct OpenSocket(Arc<Agent>);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.sockets.send_modify(|count| *count -= 1);
    }
}
