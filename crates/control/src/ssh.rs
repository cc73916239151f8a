//! Who may open SSH sessions in a sandbox, and until when an open one lasts.
//!
//! A session holds an [`SshSession`], which knows everything that ends it: its token's time, a revocation, the
//! sandbox's stop. Whoever carries the bytes waits for that end and asks no questions of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use alcove_domain::{
    Permission, Reason, Sandbox, SandboxId, SandboxState, SshAccess, SshAccessEnd, SshAccessId,
    SshKeyId, SshTokenHash, SshTokenRefusal, ssh,
};
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::directory::Entry;
use crate::rng::uuid_v4;
use crate::sandboxes;
use crate::shared::{Shared, lock};
use crate::traffic::{self, SshUse};
use crate::{Caller, Error};

/// A new token, and what it opens.
#[derive(Clone)]
pub struct SshGrant {
    pub access: SshAccess,
    /// Shown this once.
    pub token: String,
}

impl fmt::Debug for SshGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshGrant")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// Why no session is opened. The texts are for whoever tries.
#[derive(Debug, thiserror::Error)]
pub enum SshRefusal {
    #[error("this token is not known")]
    Unknown,
    #[error(transparent)]
    Ended(#[from] SshTokenRefusal),
    #[error("the sandbox of this token is gone")]
    Gone,
    #[error("the sandbox is not started: its state is {0}")]
    NotStarted(SandboxState),
    #[error("the server cannot look at the token right now")]
    Unavailable(#[source] Error),
}

/// Why an open session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshEnd {
    #[error("the token of this session has been revoked")]
    Revoked,
    #[error("the token of this session has expired")]
    Expired,
    #[error("the key of this session has been removed")]
    KeyRemoved,
    #[error("the sandbox does not run any more: its state is {0}")]
    Stopped(SandboxState),
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Open sessions.
#[derive(Default)]
pub(crate) struct SshSessions(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    sessions: HashMap<u64, OpenSession>,
}

struct OpenSession {
    sandbox: SandboxId,
    opener: Opener,
    ended: CancellationToken,
}

/// What opened a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opener {
    Token(SshTokenHash, SshAccessId),
    Key(SshKeyId),
}

impl fmt::Display for Opener {
    /// For logs, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_, access) => write!(f, "access {access}"),
            Self::Key(key) => write!(f, "key {key}"),
        }
    }
}

impl SshSessions {
    fn insert(&self, sandbox: &SandboxId, opener: Opener) -> (u64, CancellationToken) {
        let ended = CancellationToken::new();
        let mut open = lock(&self.0);
        open.next += 1;
        let number = open.next;
        let session = OpenSession {
            sandbox: sandbox.clone(),
            opener,
            ended: ended.clone(),
        };
        open.sessions.insert(number, session);
        (number, ended)
    }

    /// Ends those of one token of a sandbox, or of all its tokens.
    fn revoke(&self, sandbox: &SandboxId, token: Option<SshTokenHash>) {
        self.end(|session| match &session.opener {
            Opener::Token(opener, _) => {
                session.sandbox == *sandbox && token.is_none_or(|token| token == *opener)
            }
            Opener::Key(_) => false,
        });
    }

    pub(crate) fn end_of_key(&self, key: &SshKeyId) {
        self.end(|session| matches!(&session.opener, Opener::Key(opener) if opener == key));
    }

    fn end(&self, is_meant: impl Fn(&OpenSession) -> bool) {
        for session in lock(&self.0).sessions.values() {
            if is_meant(session) {
                session.ended.cancel();
            }
        }
    }
}

/// The right to one open session. Dropping it gives it back.
pub struct SshSession {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    opener: Opener,
    expires_at: Option<Timestamp>,
    number: u64,
    ended: CancellationToken,
}

impl fmt::Debug for SshSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshSession")
            .field("sandbox", &self.entry.id)
            .field("opener", &self.opener)
            .finish_non_exhaustive()
    }
}

impl Drop for SshSession {
    fn drop(&mut self) {
        lock(&self.shared.ssh_sessions.0)
            .sessions
            .remove(&self.number);
    }
}

impl SshSession {
    pub fn sandbox(&self) -> &SandboxId {
        &self.entry.id
    }

    /// For logs: by what it was opened, without its secret.
    pub fn opener(&self) -> impl fmt::Display {
        &self.opener
    }

    /// Puts a program down that the session begins: this command, or a shell.
    pub fn note_program(&self, command: Option<&[u8]>) {
        self.note(&command.map_or(SshUse::Terminal, SshUse::Command));
    }

    /// Puts down that the session begins to pass files.
    pub fn note_files(&self) {
        self.note(&SshUse::Files);
    }

    fn note(&self, begun: &SshUse<'_>) {
        let opener = self.opener.to_string();
        traffic::record_ssh(&self.shared, &self.entry.sandbox(), opener, begun);
    }

    /// Resolves when the session has to end.
    pub async fn ended(&self) -> SshEnd {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => match self.opener {
                Opener::Token(..) => SshEnd::Revoked,
                Opener::Key(_) => SshEnd::KeyRemoved,
            },
            () = self.expired() => SshEnd::Expired,
            state = self.stopped() => SshEnd::Stopped(state),
            () = self.shared.cancelled() => SshEnd::ShuttingDown,
        }
    }

    async fn expired(&self) {
        let Some(expires_at) = self.expires_at else {
            return std::future::pending().await;
        };
        loop {
            let left = expires_at.duration_since(self.shared.clock.now());
            match left.unsigned_abs() {
                _ if !left.is_positive() => return,
                left => self.shared.clock.sleep(left).await,
            }
        }
    }

    async fn stopped(&self) -> SandboxState {
        let mut watch = self.entry.watch();
        loop {
            let sandbox = Arc::clone(&watch.borrow_and_update());
            if !sandbox.lifecycle.phase.keeps_programs() || watch.changed().await.is_err() {
                return sandbox.state();
            }
        }
    }
}

/// Gives the sandbox a token. Earlier ones open no more sessions.
pub(crate) async fn create(
    shared: &Shared,
    caller: &Caller,
    id_or_name: &str,
    minutes: Option<f64>,
) -> Result<SshGrant, Error> {
    caller.require(Permission::WriteSandboxes)?;
    let sandbox = sandboxes::find(shared, caller, id_or_name)?.sandbox();
    if !shared.settings.has_ssh {
        return Err(Error::refused(vec![Reason::unsupported(
            "This server takes no SSH connections",
        )]));
    }
    let lifetime = ssh::lifetime(minutes).map_err(|reason| Error::refused(vec![reason]))?;
    let now = shared.clock.now();
    let mut random = [0; ssh::TOKEN_CHARACTERS * 5 / 8];
    shared.rng.fill(&mut random);
    let token = BASE32_NOPAD.encode(&random).to_ascii_lowercase();
    let access = SshAccess {
        id: SshAccessId::from_uuid(uuid_v4(&*shared.rng)),
        sandbox_id: sandbox.id.clone(),
        token: hash(&token),
        expires_at: crate::clock::whole_milliseconds(now + lifetime),
        created_at: now,
        updated_at: now,
        end: None,
    };
    let failed = |error| Error::store("granting SSH access", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    tx.ssh_access_forget(now - ssh::REMEMBERED_FOR)
        .await
        .map_err(failed)?;
    tx.ssh_access_end(&sandbox.id, None, SshAccessEnd::Replaced, now)
        .await
        .map_err(failed)?;
    tx.ssh_access_insert(&access).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    tracing::info!(
        sandbox.id = %sandbox.id,
        user.id = %caller.user,
        ssh_access.id = %access.id,
        "SSH access {} to sandbox {} granted until {}",
        access.id,
        sandbox.id,
        access.expires_at
    );
    Ok(SshGrant { access, token })
}

/// Ends one token of the sandbox or all, and the sessions that came with it. Safe to repeat.
pub(crate) async fn revoke(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    token: Option<&str>,
) -> Result<Arc<Sandbox>, Error> {
    caller.require(Permission::WriteSandboxes)?;
    let entry = sandboxes::find(shared, caller, id_or_name)?;
    let failed = |error| Error::store("revoking SSH access", error);
    let token = token.map(hash);
    if let Some(token) = token {
        let found = shared.store.reader().ssh_access_find(token).await;
        let found = found.map_err(failed)?;
        if found.is_none_or(|access| access.sandbox_id != entry.id) {
            return Err(Error::NotFound {
                message: "There is no such SSH token of this sandbox".to_owned(),
            });
        }
    }
    let sandbox = entry.id.clone();
    let task = |shared: Arc<Shared>| async move {
        let now = shared.clock.now();
        let tx = shared.store.begin().await.map_err(failed)?;
        tx.ssh_access_end(&sandbox, token, SshAccessEnd::Revoked, now)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        shared.ssh_sessions.revoke(&sandbox, token);
        Ok(())
    };
    // A caller that goes away must not leave sessions of a token that has ended.
    shared.finish_shared("revoking SSH access", task).await?;
    tracing::info!(
        sandbox.id = %entry.id,
        user.id = %caller.user,
        "SSH access to sandbox {} revoked",
        entry.id
    );
    Ok(entry.current())
}

/// The sandbox that a token opens now: one of the caller's organization, or any where no caller is named.
pub(crate) async fn validate(
    shared: &Shared,
    caller: Option<&Caller>,
    token: &str,
) -> Result<Option<SandboxId>, Error> {
    let found = shared.store.reader().ssh_access_find(hash(token)).await;
    let found = found.map_err(|error| Error::store("looking an SSH token up", error))?;
    let access = found.filter(|access| access.check(shared.clock.now()).is_ok());
    let entry = access.and_then(|access| shared.directory.get(&access.sandbox_id));
    let entry = entry.filter(|entry| {
        let sandbox = entry.sandbox();
        let is_seen = caller.is_none_or(|caller| sandbox.organization_id == caller.organization);
        is_seen && sandbox.is_visible()
    });
    Ok(entry.map(|entry| entry.id.clone()))
}

/// Opens a session for whoever has the token.
pub(crate) async fn open(shared: &Arc<Shared>, token: &str) -> Result<SshSession, SshRefusal> {
    if !looks_like_token(token) {
        return Err(SshRefusal::Unknown);
    }
    let token = hash(token);
    let found = find(shared, token).await?;
    found.check(shared.clock.now())?;
    let entry = shared.directory.get(&found.sandbox_id);
    let entry = entry
        .filter(|entry| entry.sandbox().is_visible())
        .ok_or(SshRefusal::Gone)?;
    let opener = Opener::Token(token, found.id);
    let session = begin(shared, entry, opener, Some(found.expires_at))?;
    // Once more, now that a revocation would find the session: none can fall in between.
    find(shared, token).await?.check(shared.clock.now())?;
    Ok(session)
}

/// A session in a sandbox that runs, to be found by what ends it.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    entry: Arc<Entry>,
    opener: Opener,
    expires_at: Option<Timestamp>,
) -> Result<SshSession, SshRefusal> {
    let state = entry.sandbox().state();
    if state != SandboxState::Started {
        return Err(SshRefusal::NotStarted(state));
    }
    let (number, ended) = shared.ssh_sessions.insert(&entry.id, opener.clone());
    Ok(SshSession {
        shared: Arc::clone(shared),
        entry,
        opener,
        expires_at,
        number,
        ended,
    })
}

async fn find(shared: &Shared, token: SshTokenHash) -> Result<SshAccess, SshRefusal> {
    let found = shared.store.reader().ssh_access_find(token).await;
    found
        .map_err(|error| SshRefusal::Unavailable(Error::store("looking an SSH token up", error)))?
        .ok_or(SshRefusal::Unknown)
}

/// Whether a text has the form of a token, known or not.
pub(crate) fn looks_like_token(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte);
    text.len() == ssh::TOKEN_CHARACTERS && text.bytes().all(is_digit)
}

fn hash(token: &str) -> SshTokenHash {
    SshTokenHash(Sha256::digest(token.as_bytes()).into())
}
