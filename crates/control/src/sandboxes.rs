//! What callers do with sandboxes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{
    Command, DesiredState, NewSandbox, Permission, Phase, Reason, Sandbox, SandboxId,
    SandboxNetwork, SandboxState, SnapshotState, bounds, create, interval,
};
use alcove_store::{Deed, NewOutboxEntry, OutboxChange, SNAPSHOT, StoreError, Tx};

use crate::builds;
use crate::control::ToolboxTarget;
use crate::directory::Entry;
use crate::driver::{self, Ask, Change, IntervalChange, Wish};
use crate::links;
use crate::probe::Step;
use crate::quota;
use crate::rng::uuid_v4;
use crate::sealing;
use crate::shared::Shared;
use crate::snapshots::wishes;
use crate::volumes;
use crate::warm;
use crate::{Caller, Error, TrafficVisitor};

/// How long a sandbox that is gone is still shown to clients that ask for it right after its delete.
pub(crate) const KNOWN_AFTER_DELETE: Duration = Duration::from_secs(10);

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Started,
    Stopped,
    /// Done with what this state is, or given up.
    Leaves(SandboxState),
}

pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: NewSandbox,
) -> Result<Arc<Sandbox>, Error> {
    let id = SandboxId::from_uuid(uuid_v4(&*shared.rng));
    create_as(shared, caller, request, id).await
}

/// Makes the sandbox of this id.
pub(crate) async fn create_as(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: NewSandbox,
    id: SandboxId,
) -> Result<Arc<Sandbox>, Error> {
    caller.require(Permission::WriteSandboxes)?;
    shared.check_not_suspended(&caller.organization)?;
    if request.build_info.is_some() {
        return builds::sandboxes::create(shared, caller, request, id).await;
    }
    let region = shared.region_of(&caller.organization, request.target.as_deref())?;
    let owner = links::Owner::find(shared, caller, request.linked_sandbox.as_deref())?;
    let link = owner.as_ref().map(|owner| owner.facts(region.id()));
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let asked = given(&request.snapshot);
    let asked = match (&asked, given(&request.image)) {
        // A request that is wrong in other ways must not begin to pull.
        (None, Some(image)) => match shared.find_snapshot(&caller.organization, &image).await? {
            Some(found) if found.state == SnapshotState::Active => Some(image),
            _ => {
                create::check_alone(&request, id.as_str(), link).map_err(Error::refused)?;
                Some(wishes::for_image(shared, caller, &image).await?)
            }
        },
        _ => asked,
    };
    let asked = asked.unwrap_or_else(|| shared.settings.default_snapshot.clone());
    let snapshot = shared.find_snapshot(&caller.organization, &asked).await?;
    let facts = create::CreateFacts {
        id: id.as_str(),
        snapshot: snapshot.as_deref(),
        snapshot_asked: &asked,
        link,
    };
    let (stop_at, is_unfinished) = (request.stop_at, request.is_unfinished);
    let plan = create::plan_create(request, facts).map_err(Error::refused)?;
    let snapshot = snapshot.ok_or(Error::Internal {
        doing: "planning a sandbox without a snapshot",
        cause: None,
    })?;
    // The index decides; this spares the writer most of the losers.
    if shared
        .directory
        .holds_name(&caller.organization, &plan.name)
    {
        return Err(name_taken(&plan.name));
    }
    let needs = shared.needs_of(&plan.network, &plan.intervals, !plan.volumes.is_empty());
    shared.check_needs(&region, &needs)?;
    let volumes = volumes::resolve(shared, &caller.organization, &plan.volumes).await?;
    let outbound_proxy = shared.seal_proxy(&caller.organization, plan.outbound_proxy.as_ref())?;
    let now = shared.clock.now();
    let sandbox = Sandbox {
        id,
        organization_id: caller.organization.clone(),
        name: plan.name,
        snapshot_id: snapshot.id.clone(),
        snapshot: snapshot.name.clone(),
        is_built: false,
        image: snapshot.image.clone(),
        entrypoint: snapshot.own_entrypoint(),
        class: snapshot.class,
        user: plan.user,
        env: plan.env,
        labels: plan.labels,
        is_public: plan.is_public,
        region: region.id().to_owned(),
        runner: None,
        resources: snapshot.resources,
        auto_destroy_at: plan.intervals.auto_destroy_at(now),
        stop_at,
        is_unfinished,
        intervals: plan.intervals,
        network: SandboxNetwork::new(plan.network),
        outbound_proxy,
        volumes,
        parent_id: None,
        linked_to: owner.as_ref().map(|owner| owner.id().clone()),
        lifecycle: alcove_domain::Lifecycle::created(now),
        agent_version: None,
        created_at: now,
        updated_at: now,
        last_activity_at: now,
        version: 1,
    };
    shared.snapshots.note_use(&snapshot.id, now);
    let task = {
        let shared = Arc::clone(shared);
        let linked = owner.map(links::Owner::sandbox);
        async move {
            let mut sandbox = sandbox;
            let place = shared
                .place(&region, &sandbox, &snapshot, linked.as_deref())
                .await?;
            sandbox.runner.clone_from(&place.runner);
            warm::create(&shared, sandbox, &snapshot).await
        }
    };
    // A caller that goes away must not leave a row that nobody drives.
    let entry = shared.finish("creating a sandbox", task).await?;
    started(shared, &entry).await
}

/// Waits for a new sandbox to run, and says in the log how long it took.
pub(crate) async fn started(shared: &Shared, entry: &Entry) -> Result<Arc<Sandbox>, Error> {
    let now = entry.sandbox().created_at;
    let written = shared.clock.now().duration_since(now);
    let sandbox = wait(shared, entry, Until::Started).await?;
    let settled = shared.clock.now().duration_since(now);
    tracing::debug!(
        sandbox.id = %sandbox.id,
        written_ms = written.as_millis(),
        settled_ms = settled.as_millis(),
        "sandbox {} is {}: written after {} ms, settled after {} ms",
        sandbox.id,
        sandbox.state(),
        written.as_millis(),
        settled.as_millis()
    );
    Ok(sandbox)
}

/// Begins the transaction that makes a sandbox, and writes it with all that it holds.
pub(crate) async fn write_new(shared: &Shared, sandbox: &Sandbox) -> Result<Tx, Error> {
    let tx = shared.store.begin().await;
    let tx = tx.map_err(|error| not_created(shared, sandbox, error))?;
    write_new_in_tx(shared, &tx, sandbox).await?;
    Ok(tx)
}

/// Writes a sandbox that is to be made, and has it made.
pub(crate) async fn insert(shared: &Arc<Shared>, sandbox: Sandbox) -> Result<Arc<Entry>, Error> {
    let tx = shared.store.begin().await;
    let tx = tx.map_err(|error| not_created(shared, &sandbox, error))?;
    insert_in_tx(shared, tx, sandbox).await
}

fn not_created(shared: &Shared, sandbox: &Sandbox, error: StoreError) -> Error {
    match error {
        StoreError::NameTaken => name_taken(&sandbox.name),
        StoreError::Changed { what: SNAPSHOT } => {
            shared.note_snapshot_written();
            Error::refused(vec![Reason::invalid(format!(
                "Snapshot {} is not active any more",
                sandbox.snapshot
            ))])
        }
        other => Error::store("creating a sandbox", other),
    }
}

/// Writes a new sandbox with all that it holds. One that waits for its image holds none yet.
async fn write_new_in_tx(shared: &Shared, tx: &Tx, sandbox: &Sandbox) -> Result<(), Error> {
    let failed = |error| not_created(shared, sandbox, error);
    links::hold(tx, sandbox).await?;
    tx.organization_hold(&sandbox.organization_id)
        .await
        .map_err(failed)?;
    if !sandbox.lifecycle.awaits_image() {
        tx.snapshot_hold(&sandbox.snapshot_id, &sandbox.image)
            .await
            .map_err(failed)?;
    }
    tx.sandbox_insert(sandbox).await.map_err(failed)?;
    sealing::settle_proxy(shared, tx, sandbox)
        .await
        .map_err(failed)?;
    quota::hold(tx, &shared.settings, None, sandbox)
        .await
        .map_err(failed)?;
    volumes::hold(tx, sandbox).await
}

/// Writes a new sandbox with its order, its event and what else the transaction holds, and wakes its driver. One that
/// waits for its image has no order yet.
pub(crate) async fn insert_in_tx(
    shared: &Arc<Shared>,
    tx: Tx,
    sandbox: Sandbox,
) -> Result<Arc<Entry>, Error> {
    let failed = |error| not_created(shared, &sandbox, error);
    let goal = sandbox.lifecycle.open_goal();
    write_new_in_tx(shared, &tx, &sandbox).await?;
    if let Some(goal) = goal {
        tx.command_open(&shared.new_order(&sandbox, goal))
            .await
            .map_err(failed)?;
    }
    let created = NewOutboxEntry {
        change: OutboxChange::Created,
        sandbox: &sandbox,
        at: sandbox.created_at,
    };
    let sequence = tx.outbox_append(&[created]).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    shared.reached(Step::WishWritten).await;
    let entry = Entry::new(sandbox);
    shared.directory.insert(&entry);
    shared.timers.schedule(&entry);
    shared.events.wake(sequence);
    if let Some(goal) = goal {
        let take_over = false;
        driver::ask(shared, &entry, Ask::Drive { goal, take_over }).await;
    }
    // Whoever deleted its owner after it was written may have looked for followers before it was in the directory.
    links::follow(shared, &entry).await;
    Ok(entry)
}

pub(crate) fn name_taken(name: &str) -> Error {
    Error::Conflict {
        message: format!("Sandbox with name {name} already exists"),
        code: "SANDBOX_NAME_TAKEN",
        state: None,
    }
}

pub(crate) fn resolve_region(shared: &Shared, target: Option<&str>) -> Result<String, Error> {
    let region = &shared.settings.region;
    match target {
        None | Some("") => Ok(region.id.clone()),
        Some(target)
            if target.eq_ignore_ascii_case(&region.id)
                || target.eq_ignore_ascii_case(&region.name) =>
        {
            Ok(region.id.clone())
        }
        Some(target) => Err(Error::NotFound {
            message: format!("Region {target} not found"),
        }),
    }
}

/// Holds the call until the sandbox is what was asked for, at most the settled time. Running out of it is
/// no error: the caller gets the sandbox as it is then, and polls.
pub(crate) async fn wait(
    shared: &Shared,
    entry: &Entry,
    until: Until,
) -> Result<Arc<Sandbox>, Error> {
    let mut watch = entry.watch();
    let time_up = shared.clock.sleep(shared.settings.settle_wait);
    tokio::pin!(time_up);
    loop {
        // Subscribed before the first read: what comes later wakes us.
        let sandbox = Arc::clone(&watch.borrow_and_update());
        let is_settled = match until {
            Until::Started => !matches!(
                sandbox.lifecycle.phase,
                Phase::Unknown
                    | Phase::Creating
                    | Phase::Starting
                    | Phase::Restoring
                    | Phase::Resuming
            ),
            Until::Stopped => sandbox.lifecycle.phase != Phase::Stopping,
            Until::Leaves(state) => sandbox.lifecycle.phase.state() != state,
        };
        if is_settled {
            return match (&sandbox.lifecycle.phase, until) {
                (Phase::Error { fault, .. } | Phase::BuildFailed { fault }, Until::Started) => {
                    Err(Error::Invalid {
                        reasons: vec![Reason::invalid(format!(
                            "Sandbox failed to start: {}",
                            fault.message
                        ))],
                        code: "SANDBOX_START_FAILED",
                        sandbox: Some(sandbox.id.clone()),
                        state: Some(sandbox.state()),
                        fault: Some(fault.code),
                    })
                }
                _ => Ok(entry.current()),
            };
        }
        tokio::select! {
            changed = watch.changed() => {
                if changed.is_err() {
                    return Ok(entry.current());
                }
            }
            () = &mut time_up => return Ok(entry.current()),
        }
    }
}

pub(crate) fn find(
    shared: &Shared,
    caller: &Caller,
    id_or_name: &str,
) -> Result<Arc<Entry>, Error> {
    let found = shared
        .directory
        .find(&caller.organization, id_or_name)
        .ok_or_else(|| Error::NotFound {
            message: format!("Sandbox with ID or name {id_or_name} not found"),
        })?;
    if let Some(deed) = Deed::current() {
        deed.note_target("sandbox", found.id.as_str());
    }
    Ok(found)
}

/// A sandbox that is gone since a short while, by its id.
pub(crate) async fn find_deleted(
    shared: &Shared,
    caller: &Caller,
    id: &str,
) -> Result<Option<Arc<Sandbox>>, Error> {
    let Ok(id) = id.parse::<SandboxId>() else {
        return Ok(None);
    };
    let found = shared.store.reader().sandbox_find(&id).await;
    let found = found.map_err(|error| Error::store("reading a sandbox", error))?;
    let now = shared.clock.now();
    let since = now.saturating_sub(KNOWN_AFTER_DELETE).unwrap_or(now);
    let deleted = found.filter(|sandbox| {
        sandbox.organization_id == caller.organization
            && sandbox.desired_state() == DesiredState::Destroyed
            && sandbox.lifecycle.state_changed_at >= since
    });
    Ok(deleted.map(Arc::new))
}

pub(crate) async fn wish(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    wish: Wish,
) -> Result<Arc<Sandbox>, Error> {
    let sandbox = entry.sandbox();
    if let Some(needed) = wish.needs() {
        shared.check_can(&sandbox, needed)?;
    }
    if wish.makes_work() {
        shared.check_not_suspended(&sandbox.organization_id)?;
        if let Some(placing) = wish.placing(&sandbox.lifecycle.phase) {
            shared.check_placing_of(&sandbox, placing)?;
        }
    }
    driver::ask_for(shared, entry, |reply| Ask::Wish { wish, reply }).await
}

pub(crate) async fn start(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
) -> Result<Arc<Sandbox>, Error> {
    caller.require(Permission::WriteSandboxes)?;
    let entry = find(shared, caller, id_or_name)?;
    wish(shared, &entry, Wish::Plain(Command::Start)).await?;
    wait(shared, &entry, Until::Started).await
}

/// Starts a stopped sandbox because somebody wants to reach what runs in it, and waits for it.
pub(crate) async fn wake(shared: &Arc<Shared>, entry: &Arc<Entry>) -> Result<(), Error> {
    if entry.sandbox().state() == SandboxState::Stopped {
        match wish(shared, entry, Wish::Plain(Command::Start)).await {
            // Another visitor was first.
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    wait(shared, entry, Until::Started).await.map(drop)
}

pub(crate) async fn stop(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    force: bool,
) -> Result<Arc<Sandbox>, Error> {
    caller.require(Permission::WriteSandboxes)?;
    let entry = find(shared, caller, id_or_name)?;
    wish(shared, &entry, Wish::Plain(Command::Stop { force })).await?;
    wait(shared, &entry, Until::Stopped).await
}

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
) -> Result<Arc<Sandbox>, Error> {
    caller.require(Permission::DeleteSandboxes)?;
    let entry = find(shared, caller, id_or_name)?;
    wish(shared, &entry, Wish::Plain(Command::Delete)).await
}

/// Changes a setting, if the host can do what it takes.
pub(crate) async fn change(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    change: Change,
) -> Result<Arc<Sandbox>, Error> {
    caller.require(Permission::WriteSandboxes)?;
    let entry = find(shared, caller, id_or_name)?;
    if let Some(needed) = change.needs() {
        shared.check_can(&entry.sandbox(), needed)?;
    }
    driver::ask_for(shared, &entry, |reply| Ask::Change { change, reply }).await
}

pub(crate) async fn replace_labels(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    labels: BTreeMap<String, String>,
) -> Result<Arc<Sandbox>, Error> {
    let mut reasons = Vec::new();
    bounds::check_labels(&labels, &mut reasons);
    Error::check(reasons)?;
    change(shared, caller, id_or_name, Change::Labels(labels)).await
}

/// Which interval is set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interval {
    AutoStop,
    AutoPause,
    AutoArchive,
    AutoDelete,
    Ttl,
}

pub(crate) async fn set_interval(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    which: Interval,
    minutes: i64,
) -> Result<Arc<Sandbox>, Error> {
    let parsed = match which {
        Interval::AutoStop => interval::parse_auto_stop(minutes).map(IntervalChange::AutoStop),
        Interval::AutoArchive => {
            interval::parse_auto_archive(minutes).map(IntervalChange::AutoArchive)
        }
        Interval::AutoDelete => {
            interval::parse_auto_delete(minutes).map(IntervalChange::AutoDelete)
        }
        Interval::Ttl => interval::parse_ttl(minutes).map(IntervalChange::Ttl),
        Interval::AutoPause => interval::parse_auto_pause(minutes).map(IntervalChange::AutoPause),
    };
    let parsed = parsed.map_err(|reason| Error::refused(vec![reason]))?;
    change(shared, caller, id_or_name, Change::Intervals(parsed)).await
}

pub(crate) async fn set_public(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    is_public: bool,
) -> Result<Arc<Sandbox>, Error> {
    change(shared, caller, id_or_name, Change::Public(is_public)).await
}

/// Whoever reaches the toolbox runs programs in the sandbox, so it takes the right to write.
pub(crate) fn resolve_toolbox(
    shared: &Shared,
    caller: &Caller,
    id_or_name: &str,
) -> Result<ToolboxTarget, Error> {
    caller.require(Permission::WriteSandboxes)?;
    let entry = find(shared, caller, id_or_name)?;
    Ok(running(&entry.sandbox())?.of(caller))
}

impl ToolboxTarget {
    /// The same for a caller who is known.
    pub(crate) fn of(mut self, caller: &Caller) -> Self {
        self.visitor.user = Some(caller.user.clone());
        self.visitor.actor = Arc::clone(&caller.actor);
        self
    }
}

/// Where requests into the sandbox go, if it runs.
pub(crate) fn running(sandbox: &Sandbox) -> Result<ToolboxTarget, Error> {
    let state = sandbox.state();
    if state != SandboxState::Started {
        return Err(Error::Invalid {
            reasons: vec![Reason::invalid(format!(
                "Sandbox is not started: its state is {state}"
            ))],
            code: "SANDBOX_NOT_STARTED",
            sandbox: Some(sandbox.id.clone()),
            state: Some(state),
            fault: None,
        });
    }
    Ok(ToolboxTarget {
        sandbox: sandbox.id.clone(),
        generation: sandbox.lifecycle.generation,
        state,
        visitor: TrafficVisitor {
            organization: sandbox.organization_id.clone(),
            user: None,
            actor: Arc::default(),
        },
    })
}
