//! What clients of sessions do with sandboxes.
//!
//! A session is a number on the sandbox: it grows when one of these clients starts the sandbox again. Everything else is
//! the sandbox's own, and so is the truth about what runs; see `docs/adr/0030`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use alcove_domain::session::{
    self, DriveMount, KeepLastRequest, Retention, SessionId, SessionRecord, SessionTerms,
};
use alcove_domain::{
    Command, DesiredState, NetworkSettings, Permission, Reason, Sandbox, SandboxId,
};
use alcove_runner_api::FetchError;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::OwnedMutexGuard;

use crate::driver::Wish;
use crate::sandboxes::wish;
use crate::shared::{Shared, lock};
use crate::{Caller, Error};

/// A sandbox as a client of sessions asks for it. Absent fields are None; nothing is checked yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewSession {
    pub project: String,
    pub name: Option<String>,
    pub is_persistent: Option<bool>,
    pub timeout_ms: Option<i64>,
    pub ports: Vec<i64>,
    pub vcpus: Option<i64>,
    pub runtime: Option<String>,
    pub image: Option<String>,
    /// Id or name of a snapshot of ours.
    pub snapshot: Option<String>,
    pub region: Option<String>,
    pub env: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub network: Option<NetworkSettings>,
    /// Milliseconds that its snapshots are kept; 0 is for ever.
    pub snapshot_expiration_ms: Option<i64>,
    pub keep_last: Option<KeepLastRequest>,
    /// By the paths where they are to be.
    pub drives: BTreeMap<String, DriveMount>,
}

/// What is to be otherwise with a sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionChange {
    pub is_persistent: Option<bool>,
    pub timeout_ms: Option<i64>,
    pub ports: Option<Vec<i64>>,
    pub vcpus: Option<i64>,
    /// Instead of the whole of what there is; for the sessions to come.
    pub env: Option<BTreeMap<String, String>>,
    pub tags: Option<BTreeMap<String, String>>,
    pub network: Option<NetworkSettings>,
    pub snapshot_expiration_ms: Option<i64>,
    pub keep_last: Option<KeepLastChange>,
    /// Only that of the sandbox: it stays where it is.
    pub region: Option<String>,
    /// Instead of all that there are, by the paths where they are to be. No fork has others than its parent.
    pub drives: Option<BTreeMap<String, DriveMount>>,
}

/// What is to become of the rule for the newest snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepLastChange {
    Set(KeepLastRequest),
    /// There is to be none.
    Clear,
}

/// A file as it is fetched.
pub type SourcePieces = BoxStream<'static, Result<Vec<u8>, Error>>;

/// Puts into a new sandbox what it is to begin with.
pub type Filling<E> = Box<dyn FnOnce(SandboxId) -> BoxFuture<'static, Result<(), E>> + Send>;

/// A sandbox with its last session.
#[derive(Debug, Clone)]
pub struct Session {
    pub sandbox: Arc<Sandbox>,
    pub record: SessionRecord,
}

impl Session {
    pub(crate) fn of(sandbox: Arc<Sandbox>) -> Self {
        Self {
            record: SessionRecord::of(&sandbox),
            sandbox,
        }
    }

    /// In the words of its clients.
    pub fn status(&self) -> &'static str {
        self.record.status(self.sandbox.state())
    }

    pub fn id(&self) -> SessionId {
        self.record.id(&self.sandbox.id)
    }
}

/// Changes of one sandbox's sessions, one after another.
#[derive(Default)]
pub(crate) struct SessionTurns(Mutex<HashMap<SandboxId, Arc<tokio::sync::Mutex<()>>>>);

impl SessionTurns {
    pub async fn take(&self, sandbox: &SandboxId) -> OwnedMutexGuard<()> {
        self.turn(sandbox).lock_owned().await
    }

    /// None while somebody has it.
    fn take_now(&self, sandbox: &SandboxId) -> Option<OwnedMutexGuard<()>> {
        self.turn(sandbox).try_lock_owned().ok()
    }

    fn turn(&self, sandbox: &SandboxId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.0);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(sandbox.clone()).or_default())
    }
}

/// Removes a sandbox that has not all that it begins with. Whoever asks has its turn.
pub(crate) async fn abandon(shared: &Arc<Shared>, id: &SandboxId) {
    let Some(entry) = shared.directory.get(id) else {
        return;
    };
    let sandbox = entry.sandbox();
    if !sandbox.is_unfinished || sandbox.desired_state() == DesiredState::Destroyed {
        return;
    }
    match wish(shared, &entry, Wish::Plain(Command::Delete)).await {
        Ok(_) => {
            tracing::info!(sandbox.id = %id, "{id} goes: it never had all that it was to begin with");
        }
        // The safety net tries again.
        Err(error) => tracing::error!(
            sandbox.id = %id, %error,
            "cannot delete {id}, which has not all that it was to begin with"
        ),
    }
}

/// Removes what an earlier process began and nobody was told of.
///
/// Going on with it would need the source kept, credentials and all, for a client that has long heard of a broken
/// connection, and asks again.
pub(crate) async fn take_up(shared: &Arc<Shared>) {
    for entry in shared.directory.entries() {
        if entry.sandbox().is_unfinished
            && let Some(_turn) = shared.session_turns.take_now(&entry.id)
        {
            abandon(shared, &entry.id).await;
        }
    }
}

pub(crate) fn stopped(message: &str) -> Error {
    Error::Invalid {
        reasons: vec![Reason::invalid(message)],
        code: "SANDBOX_STOPPED",
        sandbox: None,
        state: None,
        fault: None,
    }
}

/// What a caller hears whose source does not come, or not as a whole.
pub(crate) fn not_fetched(error: &FetchError) -> Error {
    if *error == FetchError::Unavailable {
        return Error::Unavailable {
            message: "Too much is being fetched; try again later",
            retry_after: None,
            cause: None,
        };
    }
    Error::Invalid {
        reasons: vec![Reason::invalid(format!(
            "The source was not fetched: {error}"
        ))],
        code: "SOURCE_NOT_FETCHED",
        sandbox: None,
        state: None,
        fault: None,
    }
}

pub(crate) fn no_snapshot() -> Error {
    Error::Invalid {
        reasons: vec![Reason::invalid(
            "This sandbox is not persistent: nothing is left of its last session to start from",
        )],
        code: "SNAPSHOT_NOT_FOUND",
        sandbox: None,
        state: None,
        fault: None,
    }
}

/// How many minutes what has stopped is kept; never deleted is less than none.
pub(crate) fn kept_for(is_persistent: bool) -> i64 {
    if is_persistent {
        -1
    } else {
        session::DISCARDED_AFTER_MINUTES
    }
}

pub(crate) fn timeout(ms: Option<i64>, reasons: &mut Vec<Reason>) -> u64 {
    ms.map_or(session::TIMEOUT_DEFAULT_MS, |ms| {
        session::check_timeout("timeout", ms, session::TIMEOUT_MIN_MS, reasons)
    })
}

pub(crate) fn expiration(ms: i64, reasons: &mut Vec<Reason>) -> u64 {
    session::check_expiration("snapshotExpiration", ms, reasons)
}

/// Whoever has snapshots deleted must be allowed to.
pub(crate) fn may_keep(caller: &Caller, retention: &Retention) -> Result<(), Error> {
    match retention.keep_last {
        Some(keep) if keep.deletes_evicted => caller.require(Permission::DeleteSnapshots),
        _ => Ok(()),
    }
}

pub(crate) fn apply(
    change: &SessionChange,
    terms: &mut SessionTerms,
    tags: &mut BTreeMap<String, String>,
    reasons: &mut Vec<Reason>,
) {
    if let Some(is_persistent) = change.is_persistent {
        terms.is_persistent = is_persistent;
    }
    if change.timeout_ms.is_some() {
        terms.timeout_ms = timeout(change.timeout_ms, reasons);
    }
    if let Some(ports) = &change.ports {
        terms.ports = session::check_ports(ports, reasons);
    }
    if let Some(vcpus) = change.vcpus {
        session::check_vcpus(vcpus, reasons);
    }
    if let Some(ms) = change.snapshot_expiration_ms {
        terms.retention.expiration_ms = Some(expiration(ms, reasons));
    }
    match change.keep_last {
        None => {}
        Some(KeepLastChange::Clear) => terms.retention.keep_last = None,
        Some(KeepLastChange::Set(keep)) => terms.retention.keep_last = Some(keep.check(reasons)),
    }
    if let Some(changed) = &change.tags {
        session::check_tags(changed, reasons);
        tags.clone_from(changed);
    }
    if let Some(drives) = &change.drives {
        let names = drives.iter();
        terms.drives = names
            .map(|(path, drive)| (path.clone(), drive.name.clone()))
            .collect();
    }
}

/// Whoever names the region that a sandbox is in asks for nothing.
pub(crate) fn check_region(change: &SessionChange, sandbox: &Sandbox, reasons: &mut Vec<Reason>) {
    if let Some(region) = &change.region
        && *region != sandbox.region
    {
        reasons.push(Reason::invalid(format!(
            "region must be {}: a sandbox stays where it is",
            sandbox.region
        )));
    }
}
