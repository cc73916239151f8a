//! What clients of sessions do with sandboxes.
//!
//! A session is a number on the sandbox: it grows when one of these clients starts the sandbox again. Everything else is
//! the sandbox's own, and so is the truth about what runs; see `docs/adr/0030`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use alcove_domain::session::{self, SessionId, SessionRecord, SessionTerms};
use alcove_domain::{NetworkSettings, Reason, Sandbox, SandboxId};
use tokio::sync::OwnedMutexGuard;

use crate::Error;
use crate::shared::lock;

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
}

/// What is to be otherwise with a sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionChange {
    pub is_persistent: Option<bool>,
    pub timeout_ms: Option<i64>,
    pub ports: Option<Vec<i64>>,
    pub vcpus: Option<i64>,
    pub tags: Option<BTreeMap<String, String>>,
    pub network: Option<NetworkSettings>,
}

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

    pub fn id(&self) -> SessionId {
        self.record.id(&self.sandbox.id)
    }
}

/// Changes of one sandbox's sessions, one after another.
#[derive(Default)]
pub(crate) struct SessionTurns(Mutex<HashMap<SandboxId, Arc<tokio::sync::Mutex<()>>>>);

impl SessionTurns {
    pub async fn take(&self, sandbox: &SandboxId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.0);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(sandbox.clone()).or_default())
        };
        turn.lock_owned().await
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
    if let Some(changed) = &change.tags {
        session::check_tags(changed, reasons);
        tags.clone_from(changed);
    }
}
