//! What sandboxes may reach by name, and which addresses stand open to them because of it.
//!
//! ```text
//!   sandbox ── a.example? ──> resolver ── listed? ──> server outside
//!                                │ 192.0.2.7
//!                                ├── opens 192.0.2.7 for a.example: here and in the kernel
//!                                └── answers
//!   sandbox ── 192.0.2.7:443 ──> kernel: open? ──> gate: is it for a.example? ──> 192.0.2.7:443
//! ```
//!
//! An address is opened for a name, for as long as the answer is valid and a while longer. The kernel turns connections
//! to open addresses over to the gate and drops all others; the gate asks here again, because an address that one name
//! opened is no way to another name on it. What stands in the kernel ends by itself, also while no server runs.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use alcove_domain::{DomainList, HostName, NetworkPolicy};
use tokio::sync::watch;

use super::config::SlotIndex;

/// The longest that an answer is valid, whatever it says.
pub(super) const LIFETIME_MAX: Duration = Duration::from_hours(1);
/// The shortest that an address stands open. Programs hold on to addresses for longer than the seconds that large
/// services give them, and connect again; each connection still has to say its name.
pub(super) const LIFETIME_MIN: Duration = Duration::from_mins(5);
/// Between the time an answer is given and the time it is used for the last time.
const LIFETIME_SLACK: Duration = Duration::from_secs(10);

/// Pairs of a name and an address that stand open to one sandbox at once.
const OPENINGS_MAX: usize = 512;

/// Where the kernel is told which addresses are open to whom.
pub(super) trait Openings: fmt::Debug + Send + Sync {
    /// Opens addresses, each for this long from now, whether they stood open before or not. All or none. Blocks.
    fn open(&self, slot: SlotIndex, addresses: &[Ipv4Addr], lifetime: Duration) -> io::Result<()>;

    /// Closes addresses, whether they stand open or not. Blocks.
    fn close(&self, slot: SlotIndex, addresses: &[Ipv4Addr]) -> io::Result<()>;
}

/// What the resolver does for a sandbox.
#[derive(Debug, Clone)]
pub(super) enum NameRule {
    /// Passes its queries on.
    Any,
    /// Answers that there is no such name, and asks nobody.
    None,
    Listed(Arc<ListedNames>),
}

/// The rules of all sandboxes that have one.
#[derive(Debug, Default)]
pub(super) struct NameRules {
    rules: RwLock<HashMap<Ipv4Addr, NameRule>>,
}

/// Why an address is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("the name is no longer on the list")]
    NotListed,
    #[error("{OPENINGS_MAX} addresses stand open to the sandbox already")]
    Full,
    #[error("the kernel did not open the address")]
    Kernel(#[source] io::Error),
    #[error("the server is ending")]
    Interrupted,
}

impl NameRules {
    /// Of a sandbox that nothing was said about, nothing is answered.
    pub fn rule(&self, sandbox: Ipv4Addr) -> NameRule {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.get(&sandbox).cloned().unwrap_or(NameRule::None)
    }

    /// The list that a sandbox is held to; `None` where it is held to none.
    pub fn listed(&self, sandbox: Ipv4Addr) -> Option<Arc<ListedNames>> {
        match self.rule(sandbox) {
            NameRule::Listed(names) => Some(names),
            NameRule::Any | NameRule::None => None,
        }
    }

    /// Holds a sandbox to what its policy says of names from now on. What an earlier one opened, and this one does not
    /// name, is closed, and connections to it are cut.
    ///
    /// # Errors
    /// From the kernel. The policy is in force all the same, by the gate.
    pub fn apply(
        &self,
        openings: &dyn Openings,
        sandbox: Ipv4Addr,
        slot: SlotIndex,
        policy: &NetworkPolicy,
    ) -> io::Result<()> {
        let rule = if policy.is_open() {
            NameRule::Any
        } else if policy.block_all || policy.allow_domains.is_empty() {
            NameRule::None
        } else {
            let list = policy.allow_domains.iter().cloned().collect();
            if let Some(names) = self.listed(sandbox) {
                return names.replace(openings, list);
            }
            NameRule::Listed(Arc::new(ListedNames::new(slot, list)))
        };
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let before = rules.insert(sandbox, rule);
        drop(rules);
        end(openings, before)
    }

    /// Forgets a sandbox that has gone.
    pub fn release(&self, openings: &dyn Openings, sandbox: Ipv4Addr) -> io::Result<()> {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let before = rules.remove(&sandbox);
        drop(rules);
        end(openings, before)
    }
}

fn end(openings: &dyn Openings, rule: Option<NameRule>) -> io::Result<()> {
    match rule {
        Some(NameRule::Listed(names)) => names.end(openings),
        Some(NameRule::Any | NameRule::None) | None => Ok(()),
    }
}

/// The names that one sandbox may reach, and what stands open to it.
#[derive(Debug)]
pub(super) struct ListedNames {
    slot: SlotIndex,
    list: watch::Sender<Arc<DomainList>>,
    opened: Mutex<Opened>,
}

#[derive(Debug, Default)]
struct Opened {
    /// The sandbox has gone. An answer that was on its way must open nothing to the next one in the slot.
    is_over: bool,
    addresses: HashMap<Ipv4Addr, OpenAddress>,
}

#[derive(Debug)]
struct OpenAddress {
    /// When the kernel closes it.
    until: Instant,
    names: HashMap<HostName, Instant>,
}

impl ListedNames {
    fn new(slot: SlotIndex, list: DomainList) -> Self {
        Self {
            slot,
            list: watch::Sender::new(Arc::new(list)),
            opened: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        // Changed by single steps that each leave less open than the kernel has: sound after a panic too.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn allows(&self, name: &HostName) -> bool {
        self.list.borrow().allows(name)
    }

    /// Opens addresses for a name for at least as long as an answer that is valid for `ttl` may be used. They stand open
    /// in the kernel when this returns. Blocks.
    pub fn open(
        &self,
        openings: &dyn Openings,
        name: &HostName,
        addresses: &[Ipv4Addr],
        ttl: Duration,
    ) -> Result<(), OpenError> {
        let mut opened = self.lock();
        if opened.is_over || !self.allows(name) {
            return Err(OpenError::NotListed);
        }
        let now = Instant::now();
        let needed = ttl.min(LIFETIME_MAX) + LIFETIME_SLACK;
        let lifetime = needed.max(LIFETIME_MIN);
        if !opened.has_room_for(name, addresses, now) {
            return Err(OpenError::Full);
        }
        let stands = |address: &Ipv4Addr| {
            let open = opened.addresses.get(address);
            open.is_some_and(|open| open.until >= now + needed)
        };
        // One that stands open for long enough is left alone: the same question is asked often.
        let missing: Vec<Ipv4Addr> = addresses
            .iter()
            .copied()
            .filter(|address| !stands(address))
            .collect();
        if !missing.is_empty() {
            let told = openings.open(self.slot, &missing, lifetime);
            told.map_err(OpenError::Kernel)?;
        }
        for address in addresses {
            let open = opened
                .addresses
                .entry(*address)
                .or_insert_with(|| OpenAddress {
                    until: now,
                    names: HashMap::new(),
                });
            if missing.contains(address) {
                open.until = now + lifetime;
            }
            open.names.insert(name.clone(), open.until);
        }
        Ok(())
    }

    /// Whether anything opened the address.
    pub fn is_open(&self, address: Ipv4Addr) -> bool {
        let opened = self.lock();
        let open = opened.addresses.get(&address);
        open.is_some_and(|open| open.until > Instant::now())
    }

    /// Whether the address was opened for this very name.
    pub fn is_open_for(&self, name: &HostName, address: Ipv4Addr) -> bool {
        let opened = self.lock();
        let until = opened
            .addresses
            .get(&address)
            .and_then(|open| open.names.get(name));
        until.is_some_and(|until| *until > Instant::now()) && self.allows(name)
    }

    /// Returns when the list no longer has the name, or the sandbox has gone.
    pub async fn closed_to(&self, is_needed: impl Fn(&DomainList) -> bool) {
        let mut list = self.list.subscribe();
        // The sender is ours, so that an error cannot be.
        let _ = list.wait_for(|list| !is_needed(list)).await;
    }

    fn replace(&self, openings: &dyn Openings, list: DomainList) -> io::Result<()> {
        let mut opened = self.lock();
        self.list.send_replace(Arc::new(list));
        let closed = opened.retain(|name, _| self.allows(name));
        self.close(openings, &closed)
    }

    fn end(&self, openings: &dyn Openings) -> io::Result<()> {
        let mut opened = self.lock();
        opened.is_over = true;
        self.list.send_replace(Arc::default());
        let closed = opened.retain(|_, _| false);
        self.close(openings, &closed)
    }

    fn close(&self, openings: &dyn Openings, addresses: &[Ipv4Addr]) -> io::Result<()> {
        if addresses.is_empty() {
            return Ok(());
        }
        openings.close(self.slot, addresses)
    }
}

impl Opened {
    /// Whether the pairs that are new fit in. Makes room first by forgetting what has ended.
    fn has_room_for(&mut self, name: &HostName, addresses: &[Ipv4Addr], now: Instant) -> bool {
        let is_new = |address: &&Ipv4Addr| {
            let open = self.addresses.get(address);
            !open.is_some_and(|open| open.names.contains_key(name))
        };
        let new = addresses.iter().filter(is_new).count();
        if self.pairs() + new <= OPENINGS_MAX {
            return true;
        }
        // The kernel has closed them by itself.
        self.addresses.retain(|_, open| {
            open.names.retain(|_, until| *until > now);
            open.until > now
        });
        self.pairs() + new <= OPENINGS_MAX
    }

    fn pairs(&self) -> usize {
        self.addresses.values().map(|open| open.names.len()).sum()
    }

    /// Keeps those pairs, and returns the addresses that nothing keeps open any more.
    fn retain(&mut self, mut is_kept: impl FnMut(&HostName, Ipv4Addr) -> bool) -> Vec<Ipv4Addr> {
        let mut closed = Vec::new();
        self.addresses.retain(|address, open| {
            open.names.retain(|name, _| is_kept(name, *address));
            if open.names.is_empty() {
                closed.push(*address);
            }
            !open.names.is_empty()
        });
        closed
    }
}

#[cfg(test)]
pub(super) mod tests;
