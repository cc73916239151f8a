//! What changes beside a sandbox's own row: the snapshot that is made of it, the fork that is born of it.
//!
//! Such rows are inserted in the transaction that takes the wish, and brought to their end in the one that
//! takes the runner's answer, so that neither a kill nor a lost answer leaves one without the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use alcove_domain::session::{self, RunUsage, SessionRecord};
use alcove_domain::{
    Capability, Command, Fault, FaultCode, Goal, Lifecycle, Lineage, Phase, Placing, Reason,
    ResizeRequest, Resources, Sandbox, SandboxId, SandboxState, Snapshot, SnapshotId,
    SnapshotState, resize,
};
use alcove_runner_api::Work;
use alcove_store::{NewOutboxEntry, OutboxChange, SnapshotOutcome, StoreError, Tx};
use jiff::Timestamp;

use super::Ask;
use crate::directory::Entry;
use crate::order::read_fault;
use crate::sandboxes::name_taken;
use crate::shared::{Shared, lock};
use crate::snapshots::wishes;
use crate::{Error, quota, sealing};

/// What a caller or a timer wants of a sandbox.
#[derive(Debug)]
pub(crate) enum Wish {
    Plain(Command),
    /// A start, with which the next session begins.
    Session,
    Resize(ResizeRequest),
    Snapshot {
        id: SnapshotId,
        name: String,
        birth: SnapshotBirth,
    },
    Fork {
        id: SandboxId,
        name: String,
        terms: ForkTerms,
    },
}

/// What a fork has instead of what its parent has.
#[derive(Debug, Default)]
pub(crate) struct ForkTerms {
    pub labels: Option<BTreeMap<String, String>>,
    pub env: Option<BTreeMap<String, String>>,
    /// Whether more is to be done to it before it is anybody's.
    pub is_unfinished: bool,
}

/// What a snapshot has from the beginning beside its name.
#[derive(Debug, Default)]
pub(crate) struct SnapshotBirth {
    pub expires_at: Option<Timestamp>,
    pub lineage: Option<Lineage>,
}

impl Wish {
    /// What the host must be able to do for it.
    pub fn needs(&self) -> Option<Capability> {
        match self {
            Self::Plain(Command::Pause) => Some(Capability::Pause),
            Self::Snapshot { .. } => Some(Capability::Snapshots),
            _ => None,
        }
    }

    /// What it takes of the host, of a sandbox that is in this phase.
    pub fn placing(&self, phase: &Phase) -> Option<Placing> {
        match self {
            Self::Session
            | Self::Plain(Command::Start | Command::Recover { skip_start: false }) => match phase {
                Phase::Archived => Some(Placing::Take),
                Phase::Stopped { .. }
                | Phase::Stopping
                | Phase::Archiving
                | Phase::Pausing
                | Phase::Paused
                | Phase::Error { .. } => Some(Placing::Start),
                // It runs, or has been let already; or there is nothing to start.
                Phase::Creating
                | Phase::Restoring
                | Phase::Started
                | Phase::Starting
                | Phase::Resuming
                | Phase::Resizing { .. }
                | Phase::Snapshotting { .. }
                | Phase::Forking { .. }
                | Phase::Destroyed
                | Phase::Destroying
                | Phase::BuildFailed { .. }
                | Phase::PendingBuild
                | Phase::BuildingSnapshot
                | Phase::Unknown
                | Phase::PullingSnapshot => None,
            },
            Self::Fork { .. } => Some(Placing::Take),
            Self::Plain(_) | Self::Resize(_) | Self::Snapshot { .. } => None,
        }
    }

    /// Whether it makes or starts something, as opposed to ending or putting it away.
    pub fn makes_work(&self) -> bool {
        match self {
            Self::Plain(command) => match command {
                Command::Start
                | Command::Recover { .. }
                | Command::Resize { .. }
                | Command::Snapshot { .. }
                | Command::Fork { .. } => true,
                Command::Stop { .. } | Command::Delete | Command::Pause | Command::Archive => false,
            },
            Self::Session | Self::Resize(_) | Self::Snapshot { .. } | Self::Fork { .. } => true,
        }
    }
}

/// What is written with the wish: another row, or more of the sandbox's own.
#[derive(Debug)]
pub(super) enum Beside {
    Nothing,
    /// A run that has no end yet.
    Run,
    /// A run that is a session, which ends by the clock whatever becomes of this process.
    Session(Box<SessionRecord>),
    Snapshot(Box<Snapshot>),
    Fork(Box<Sandbox>),
    /// The snapshot that it waited for: nothing is inserted, but it must be there still.
    Image(Box<Snapshot>),
}

/// The command of a wish and the row that goes with it.
///
/// # Errors
/// What stands against the wish apart from the sandbox's state, which is looked at first.
pub(super) fn prepare(
    sandbox: &Sandbox,
    wish: Wish,
    now: Timestamp,
) -> Result<(Command, Beside), Error> {
    match wish {
        Wish::Plain(Command::Archive) if sandbox.is_ephemeral() => {
            let message = "An ephemeral sandbox goes when it stops, so it cannot be archived";
            Err(Error::refused(vec![Reason::invalid(message)]))
        }
        // One that is paused goes on with the run that it has.
        Wish::Plain(command @ (Command::Start | Command::Recover { skip_start: false }))
            if sandbox.lifecycle.phase != Phase::Paused =>
        {
            let record = SessionRecord::of_sessions(sandbox);
            let run = record.map(|record| next_session(sandbox, record, now));
            Ok((command, run.unwrap_or(Beside::Run)))
        }
        Wish::Plain(command) => Ok((command, Beside::Nothing)),
        Wish::Session => {
            let record = SessionRecord::of(sandbox);
            Ok((Command::Start, next_session(sandbox, record, now)))
        }
        Wish::Resize(request) => {
            let to = sandbox.resources;
            let life = sandbox.lifecycle.clone();
            life.command(Command::Resize { to }, now)?;
            let is_started = sandbox.lifecycle.phase == Phase::Started;
            let to = resize::plan_resize(sandbox.resources, request, is_started)
                .map_err(Error::refused)?;
            Ok((Command::Resize { to }, Beside::Nothing))
        }
        Wish::Snapshot { id, name, birth } => {
            let snapshot = Snapshot {
                id: id.clone(),
                organization_id: Some(sandbox.organization_id.clone()),
                is_shared: false,
                name,
                image_name: None,
                image: String::new(),
                state: SnapshotState::Snapshotting,
                size_bytes: None,
                entrypoint: sandbox.entrypoint.clone(),
                has_own_entrypoint: !sandbox.entrypoint.is_empty(),
                user: String::new(),
                resources: sandbox.resources,
                class: sandbox.class,
                error_reason: None,
                source_sandbox_id: Some(sandbox.id.clone()),
                created_at: now,
                updated_at: now,
                last_used_at: None,
                deactivated_at: None,
                build_key: None,
                expires_at: birth.expires_at,
                lineage: birth.lineage,
            };
            let command = Command::Snapshot { snapshot: id };
            Ok((command, Beside::Snapshot(Box::new(snapshot))))
        }
        Wish::Fork { id, name, terms } => {
            let mut child = sandbox.fork(id.clone(), name, now);
            child.is_unfinished = terms.is_unfinished;
            if let Some(labels) = terms.labels {
                child.labels = labels;
            }
            if let Some(env) = terms.env {
                child.env = env;
            }
            Ok((Command::Fork { child: id }, Beside::Fork(Box::new(child))))
        }
    }
}

fn next_session(sandbox: &Sandbox, mut record: SessionRecord, now: Timestamp) -> Beside {
    if sandbox.lifecycle.phase == Phase::Stopping {
        // It never gets to be stopped.
        record.end(now, None);
    }
    record.begin(now);
    Beside::Session(Box::new(record))
}

/// Notes in `next`, which is about to follow `old`, that a session is over and what it used. False if none ends here.
pub(super) fn end_session(
    old: &Sandbox,
    next: &mut Sandbox,
    used: Option<RunUsage>,
    now: Timestamp,
) -> bool {
    let was_over = matches!(session::status(old.state(), true), "stopped" | "failed");
    if was_over || !next.is_run_over() || next.state() == SandboxState::Destroyed {
        return false;
    }
    let record = SessionRecord::of_sessions(next);
    let Some(mut record) = record.filter(|record| record.stopped_at.is_none()) else {
        return false;
    };
    record.end(now, used);
    next.labels = record.labels();
    true
}

impl Beside {
    /// What the caller hears if the row's name belongs to another.
    pub fn name_taken(&self) -> Option<Error> {
        match self {
            Self::Nothing | Self::Run | Self::Session(_) | Self::Image(_) => None,
            Self::Snapshot(snapshot) => Some(wishes::name_taken(&snapshot.name)),
            Self::Fork(child) => Some(name_taken(&child.name)),
        }
    }

    pub fn event(&self, at: Timestamp) -> Option<NewOutboxEntry<'_>> {
        match self {
            Self::Nothing | Self::Run | Self::Session(_) | Self::Snapshot(_) | Self::Image(_) => {
                None
            }
            Self::Fork(child) => Some(NewOutboxEntry {
                change: OutboxChange::Created,
                sandbox: child,
                at,
            }),
        }
    }

    /// Gives the sandbox what it waited for, or what its run is to be.
    pub fn dress(&self, next: &mut Sandbox) {
        match self {
            Self::Image(snapshot) => snapshot.dress(next),
            Self::Run => next.stop_at = None,
            Self::Session(record) => {
                next.labels = record.labels();
                next.stop_at = Some(record.ends_at());
            }
            Self::Nothing | Self::Snapshot(_) | Self::Fork(_) => {}
        }
    }

    /// Writes what goes with the sandbox, which is `next`.
    pub async fn insert(&self, tx: &Tx, shared: &Shared, next: &Sandbox) -> Result<(), StoreError> {
        let settings = &shared.settings;
        match self {
            Self::Nothing | Self::Run => Ok(()),
            Self::Session(_) => tx.sandbox_labels_replace(next).await,
            Self::Image(snapshot) => tx.snapshot_hold(&snapshot.id, &snapshot.image).await,
            Self::Snapshot(snapshot) => {
                tx.snapshot_insert(snapshot).await?;
                match &snapshot.organization_id {
                    Some(org) => tx.snapshot_quota_hold(org, settings.snapshots.quota).await,
                    None => Ok(()),
                }
            }
            Self::Fork(child) => {
                tx.sandbox_insert(child).await?;
                sealing::settle_proxy(shared, tx, child).await?;
                quota::hold(tx, settings, None, child).await
            }
        }
    }

    pub fn publish(self, shared: &Shared) {
        if let Self::Fork(child) = self {
            let entry = Entry::new(*child);
            shared.directory.insert(&entry);
            shared.timers.schedule(&entry);
        }
    }
}

/// What the end of a piece of work brings with it.
#[derive(Debug, Default)]
pub(super) struct WorkEnd {
    /// Sizes that the sandbox has now.
    pub resources: Option<Resources>,
    snapshot: Option<(SnapshotId, SnapshotOutcome)>,
    /// The fork that need wait no longer.
    child: Option<SandboxId>,
    /// Why it was not done.
    undone: Option<Fault>,
}

impl WorkEnd {
    /// What ends on the way from `old` to `next`; nothing, if the sandbox does not leave its phase.
    pub fn between(old: &Sandbox, next: &Lifecycle, work: Option<Work>) -> Self {
        let phase = &old.lifecycle.phase;
        if phase.state() == next.phase.state() {
            return Self::default();
        }
        let cut_short = || Fault::new(FaultCode::Internal, "the work was cut short");
        let done = match work {
            Some(Work::Done { image }) => Ok(image),
            Some(Work::Undone { fault }) => Err(Some(read_fault(fault))),
            None => Err(None),
        };
        let undone = done.as_ref().err().cloned().flatten();
        match phase {
            Phase::Resizing { to } => Self {
                resources: done.is_ok().then_some(*to),
                undone: done.err().map(|fault| fault.unwrap_or_else(cut_short)),
                ..Self::default()
            },
            Phase::Snapshotting { snapshot } => {
                let fault = match done {
                    Ok(Some(image)) => {
                        let made = SnapshotOutcome::Made {
                            image: image.digest.0,
                            size_bytes: image.size_bytes,
                            entrypoint: image.entrypoint,
                            user: image.user,
                        };
                        return Self {
                            snapshot: Some((snapshot.clone(), made)),
                            ..Self::default()
                        };
                    }
                    Ok(None) | Err(None) => cut_short(),
                    Err(Some(fault)) => fault,
                };
                let reason = fault.message.clone();
                Self {
                    snapshot: Some((snapshot.clone(), SnapshotOutcome::Failed { reason })),
                    undone: Some(fault),
                    ..Self::default()
                }
            }
            Phase::Forking { child } => Self {
                child: Some(child.clone()),
                undone,
                ..Self::default()
            },
            _ => Self {
                undone,
                ..Self::default()
            },
        }
    }

    pub async fn write(&self, tx: &Tx, at: Timestamp) -> Result<(), StoreError> {
        match &self.snapshot {
            Some((snapshot, outcome)) => tx.snapshot_finish(snapshot, outcome, at).await,
            None => Ok(()),
        }
    }

    /// Leaves word for the caller who waits, before it sees that the wait is over.
    pub fn note(&self, shared: &Shared, entry: &Entry, generation: u64) {
        if self.snapshot.is_some() {
            shared.note_snapshot_written();
        }
        if let Some(fault) = &self.undone {
            tracing::warn!(
                sandbox.id = %entry.id,
                code = %fault.code,
                "what was asked of sandbox {} was not done: {}",
                entry.id,
                fault.message
            );
            *lock(&entry.undone) = Some((generation, fault.clone()));
        }
    }

    /// Wakes the fork.
    pub async fn tell(&self, shared: &Arc<Shared>) {
        if let Some(child) = &self.child
            && let Some(entry) = shared.directory.get(child)
        {
            let fault = self.undone.clone();
            super::ask(shared, &entry, Ask::Begin { fault }).await;
        }
    }
}

/// Whether a fork waits for a copy that nobody makes any more.
pub(crate) fn waits_in_vain(shared: &Shared, sandbox: &Sandbox) -> bool {
    if sandbox.lifecycle.phase != Phase::Unknown {
        return false;
    }
    let parent = sandbox
        .parent_id
        .as_ref()
        .and_then(|parent| shared.directory.get(parent));
    parent.is_none_or(|parent| {
        let parent = parent.sandbox();
        parent.lifecycle.open_goal() != Some(Goal::Copied)
            || parent.lifecycle.phase
                != Phase::Forking {
                    child: sandbox.id.clone(),
                }
    })
}
