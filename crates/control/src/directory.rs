//! Every live sandbox in memory.
//!
//! One process holds the store, so what it wrote last is the truth, and reads that need one sandbox
//! (every toolbox request among them) need no database. A sandbox's driver is the only one to put a
//! newer version here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use alcove_domain::{Fault, OrganizationId, RunnerId, Sandbox, SandboxId};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::driver::Letter;

#[derive(Default)]
pub(crate) struct Directory {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    by_id: HashMap<SandboxId, Arc<Entry>>,
    by_name: HashMap<OrganizationId, HashMap<String, Arc<Entry>>>,
    /// Those that are linked with one, by its id.
    followers: HashMap<SandboxId, Vec<Arc<Entry>>>,
    /// Those on runners outside of the server. Which one a sandbox is on never changes.
    on_runner: HashMap<RunnerId, HashMap<SandboxId, Arc<Entry>>>,
}

/// One live sandbox.
pub(crate) struct Entry {
    pub id: SandboxId,
    latest: watch::Sender<Arc<Sandbox>>,
    activity_ms: AtomicI64,
    written_activity_ms: AtomicI64,
    /// When the timer queue looks at the sandbox next.
    pub scheduled_ms: AtomicI64,
    /// Why the last piece of work was not done, with the generation under which it was ordered.
    pub undone: Mutex<Option<(u64, Fault)>>,
    /// The way to the driver, while there is one.
    pub mailbox: Mutex<Option<mpsc::Sender<Letter>>>,
}

impl Entry {
    pub fn new(sandbox: Sandbox) -> Arc<Self> {
        Arc::new(Self {
            id: sandbox.id.clone(),
            activity_ms: AtomicI64::new(sandbox.last_activity_at.as_millisecond()),
            written_activity_ms: AtomicI64::new(sandbox.last_activity_at.as_millisecond()),
            scheduled_ms: AtomicI64::new(i64::MAX),
            latest: watch::Sender::new(Arc::new(sandbox)),
            undone: Mutex::new(None),
            mailbox: Mutex::new(None),
        })
    }

    /// As last written.
    pub fn sandbox(&self) -> Arc<Sandbox> {
        self.latest.borrow().clone()
    }

    /// As last written, with activity that is not written down yet.
    pub fn current(&self) -> Arc<Sandbox> {
        let sandbox = self.sandbox();
        let activity = self.activity();
        if activity <= sandbox.last_activity_at {
            return sandbox;
        }
        let mut newer = Sandbox::clone(&sandbox);
        newer.last_activity_at = activity;
        Arc::new(newer)
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Sandbox>> {
        self.latest.subscribe()
    }

    pub fn publish(&self, sandbox: Arc<Sandbox>) {
        self.note_activity(sandbox.last_activity_at);
        self.note_written_activity(sandbox.last_activity_at);
        self.latest.send_replace(sandbox);
    }

    pub fn activity(&self) -> Timestamp {
        Timestamp::from_millisecond(self.activity_ms.load(Ordering::Relaxed))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub fn written_activity(&self) -> Timestamp {
        Timestamp::from_millisecond(self.written_activity_ms.load(Ordering::Relaxed))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub fn note_written_activity(&self, at: Timestamp) {
        self.written_activity_ms
            .fetch_max(at.as_millisecond(), Ordering::Relaxed);
    }

    pub fn note_activity(&self, at: Timestamp) {
        self.activity_ms
            .fetch_max(at.as_millisecond(), Ordering::Relaxed);
    }
}

impl Directory {
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn insert(&self, entry: &Arc<Entry>) {
        let sandbox = entry.sandbox();
        let mut maps = self.write();
        if sandbox.lifecycle.holds_name() {
            maps.by_name
                .entry(sandbox.organization_id.clone())
                .or_default()
                .insert(sandbox.name.clone(), Arc::clone(entry));
        }
        if let Some(owner) = &sandbox.linked_to {
            let followers = maps.followers.entry(owner.clone()).or_default();
            followers.push(Arc::clone(entry));
        }
        if let Some(runner) = &sandbox.runner {
            let on_it = maps.on_runner.entry(runner.clone()).or_default();
            on_it.insert(entry.id.clone(), Arc::clone(entry));
        }
        maps.by_id.insert(entry.id.clone(), Arc::clone(entry));
    }

    pub fn get(&self, id: &SandboxId) -> Option<Arc<Entry>> {
        self.read().by_id.get(id).cloned()
    }

    /// Finds what the organization may see, by id before name.
    pub fn find(&self, org: &OrganizationId, id_or_name: &str) -> Option<Arc<Entry>> {
        let maps = self.read();
        let by_id = id_or_name
            .parse::<SandboxId>()
            .ok()
            .and_then(|id| maps.by_id.get(&id))
            .filter(|entry| {
                let sandbox = entry.latest.borrow();
                sandbox.organization_id == *org && sandbox.is_visible()
            });
        by_id
            .or_else(|| maps.by_name.get(org)?.get(id_or_name))
            .cloned()
    }

    /// The sandbox of this name, if no other organization has one of the same.
    pub fn only_one_named(&self, name: &str) -> Option<Arc<Entry>> {
        let maps = self.read();
        let mut named = maps.by_name.values().filter_map(|names| names.get(name));
        named.next().filter(|_| named.next().is_none()).cloned()
    }

    pub fn holds_name(&self, org: &OrganizationId, name: &str) -> bool {
        self.read()
            .by_name
            .get(org)
            .is_some_and(|names| names.contains_key(name))
    }

    /// Frees the name, unless another sandbox has taken it since.
    pub fn release_name(&self, sandbox: &Sandbox) {
        let mut maps = self.write();
        if let Some(names) = maps.by_name.get_mut(&sandbox.organization_id)
            && names
                .get(&sandbox.name)
                .is_some_and(|entry| entry.id == sandbox.id)
        {
            names.remove(&sandbox.name);
            if names.is_empty() {
                maps.by_name.remove(&sandbox.organization_id);
            }
        }
    }

    pub fn remove(&self, sandbox: &Sandbox) {
        self.release_name(sandbox);
        let mut maps = self.write();
        maps.by_id.remove(&sandbox.id);
        if let Some(runner) = &sandbox.runner
            && let Some(on_it) = maps.on_runner.get_mut(runner)
        {
            on_it.remove(&sandbox.id);
            if on_it.is_empty() {
                maps.on_runner.remove(runner);
            }
        }
        if let Some(owner) = &sandbox.linked_to
            && let Some(followers) = maps.followers.get_mut(owner)
        {
            followers.retain(|follower| follower.id != sandbox.id);
            if followers.is_empty() {
                maps.followers.remove(owner);
            }
        }
    }

    /// Those that are linked with a sandbox, whether that is there or not.
    pub fn followers(&self, owner: &SandboxId) -> Vec<Arc<Entry>> {
        let maps = self.read();
        maps.followers.get(owner).cloned().unwrap_or_default()
    }

    /// Those on a runner outside of the server.
    pub fn on_runner(&self, runner: &RunnerId) -> Vec<Arc<Entry>> {
        let maps = self.read();
        let on_it = maps.on_runner.get(runner);
        on_it.map_or_else(Vec::new, |on_it| on_it.values().cloned().collect())
    }

    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.read().by_id.values().cloned().collect()
    }
}
