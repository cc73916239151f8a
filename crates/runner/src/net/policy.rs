//! Who may reach what: the policy of each slot, in memory and as entries of the table's sets.
//!
//! A slot without a policy reaches nothing, so what is forgotten here is closed. The kernel and the memory are changed
//! under one lock, and a table that is put back gets the entries of all slots in the same transaction.
//!
//! Policies narrow what a link opens: two linked sandboxes talk while both policies allow the other's address, and
//! neither begins anything otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use alcove_runner_api::NetworkSpec;
use tokio::sync::{Mutex, MutexGuard};

use super::config::{NetworkConfig, SlotIndex};
use super::conntrack;
use super::elements::{Batch, ElementSocket, Entry};
use super::links::Links;
use super::names::{NameRules, Openings};
use super::sightings::Sightings;

/// Why a policy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the pool has no address for slot {slot}")]
    NoSuchSlot { slot: SlotIndex },
    #[error("the kernel does not take the policy")]
    Kernel(#[source] io::Error),
    #[error("cannot cut the connections that are not allowed any more")]
    Cut(#[source] io::Error),
    #[error("the change of a policy was cut off")]
    Interrupted,
}

impl PolicyError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel(source) | Self::Cut(source) => source.raw_os_error(),
            _ => None,
        }
    }
}

/// The policies of all slots.
#[derive(Debug)]
pub(super) struct Policies {
    config: NetworkConfig,
    state: Mutex<State>,
    names: Arc<NameRules>,
    sightings: Arc<Sightings>,
    /// Of the socket that entries are changed by; 0 before there is one.
    port: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct State {
    slots: BTreeMap<SlotIndex, Slot>,
    links: Links,
    /// Linked slots that reach each other, each pair in both orders: what the kernel has.
    talking: BTreeSet<(SlotIndex, SlotIndex)>,
    socket: Option<ElementSocket>,
}

#[derive(Debug, Default, Clone)]
struct Slot {
    entries: BTreeSet<Entry>,
    /// Addresses of names that are turned over to the gate, and until when.
    addresses: BTreeMap<Ipv4Addr, Instant>,
}

impl Slot {
    fn new(spec: &NetworkSpec) -> Self {
        let policy = &spec.policy;
        let mut slot = Self::default();
        if policy.is_open() {
            slot.entries.insert(Entry::Open);
        } else if !policy.block_all {
            let networks = policy.allow_networks.iter();
            slot.entries
                .extend(networks.map(|network| Entry::Network(*network)));
            if !policy.allow_domains.is_empty() {
                slot.entries.insert(Entry::Resolving);
            }
        }
        if spec.is_limited {
            slot.entries.insert(Entry::Limited);
        }
        slot
    }

    /// Whether a new conversation with this address may begin. What the gate passes on is one with the gateway.
    fn allows(&self, peer: Ipv4Addr, gateway: Ipv4Addr) -> bool {
        if self.entries.contains(&Entry::Open) {
            return true;
        }
        if peer == gateway {
            return self.entries.contains(&Entry::Resolving);
        }
        let is_in_network = |entry: &Entry| match entry {
            Entry::Network(network) => network.contains(peer),
            _ => false,
        };
        self.entries.iter().any(is_in_network)
    }

    fn forget_expired(&mut self, now: Instant) {
        self.addresses.retain(|_, until| *until > now);
    }
}

impl Policies {
    pub fn new(config: NetworkConfig, running: &[(SlotIndex, NetworkSpec)]) -> Self {
        let mut state = State::default();
        for (index, spec) in running {
            state.slots.insert(*index, Slot::new(spec));
            state.links.set(*index, spec);
        }
        for (index, _) in running {
            let slot = state.slots.get(index);
            let peers = slot.map(|slot| state.peers_of(&config, *index, slot));
            for other in peers.unwrap_or_default() {
                state.talking.insert((*index, other));
            }
        }
        let policies = Self {
            config,
            state: Mutex::new(state),
            names: Arc::default(),
            sightings: Arc::default(),
            port: AtomicU32::new(0),
        };
        for (index, spec) in running {
            // Nothing stands open yet that would have to be closed; a slot without an address has no packets.
            let _ = policies.apply_names(*index, spec);
        }
        policies
    }

    /// What sandboxes wanted of the network.
    pub fn sightings(&self) -> &Arc<Sightings> {
        &self.sightings
    }

    /// What sandboxes may reach by name.
    pub fn names(&self) -> &Arc<NameRules> {
        &self.names
    }

    /// Whether the kernel's word on a change is about one of ours.
    pub fn is_own(&self, port: u32) -> bool {
        port != 0 && port == self.port.load(Ordering::Relaxed)
    }

    /// While this is held, nobody changes an entry.
    pub async fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().await
    }

    /// Puts a policy in the place of the one before. Blocks.
    pub fn set(&self, index: SlotIndex, spec: &NetworkSpec) -> Result<(), PolicyError> {
        let mut state = self.state.blocking_lock();
        let old = state.slots.get(&index).cloned().unwrap_or_default();
        let mut new = Slot::new(spec);
        if new.entries.contains(&Entry::Resolving) {
            // Those of names that are no longer listed are closed below.
            new.addresses.clone_from(&old.addresses);
            new.forget_expired(Instant::now());
        }
        state.links.set(index, spec);
        self.change(&mut state, index, &old, new)?;
        drop(state);
        self.apply_names(index, spec)
    }

    fn apply_names(&self, index: SlotIndex, spec: &NetworkSpec) -> Result<(), PolicyError> {
        let Some(address) = self.config.pool.address(index) else {
            return Err(PolicyError::NoSuchSlot { slot: index });
        };
        if let Some(peer) = &spec.peer {
            self.sightings.name(address, peer.sandbox.clone());
        }
        let applied = self.names.apply(self, address, index, &spec.policy);
        applied.map_err(PolicyError::Kernel)
    }

    /// Takes a slot's policy away: it reaches nothing. Blocks.
    pub fn clear(&self, index: SlotIndex) -> Result<(), PolicyError> {
        if let Some(address) = self.config.pool.address(index) {
            self.sightings.forget(address);
            let released = self.names.release(self, address);
            released.map_err(PolicyError::Kernel)?;
        }
        let mut state = self.state.blocking_lock();
        state.links.remove(index);
        let Some(old) = state.slots.get(&index).cloned() else {
            return Ok(());
        };
        self.change(&mut state, index, &old, Slot::default())?;
        state.slots.remove(&index);
        Ok(())
    }

    /// Cuts the connections of a slot that its policy does not allow. Blocks.
    pub fn cut(&self, index: SlotIndex) -> Result<(), PolicyError> {
        let pool = self.config.pool;
        let Some(address) = pool.address(index) else {
            return Err(PolicyError::NoSuchSlot { slot: index });
        };
        let (slot, linked) = {
            let state = self.state.blocking_lock();
            let slot = state.slots.get(&index).cloned().unwrap_or_default();
            let linked = state.talking_to(index);
            let addresses = linked.iter().filter_map(|other| pool.address(*other));
            (slot, addresses.collect::<BTreeSet<Ipv4Addr>>())
        };
        let gateway = pool.gateway();
        let reaches = |peer| {
            if pool.contains(peer) && peer != gateway {
                linked.contains(&peer)
            } else {
                slot.allows(peer, gateway)
            }
        };
        // Nobody but a linked sandbox begins a connection to one.
        conntrack::cut(address, reaches, |peer| linked.contains(&peer)).map_err(PolicyError::Cut)
    }

    /// The address of a sandbox that this one is linked with and may reach, by the name that it goes by.
    pub async fn peer_address(&self, sandbox: Ipv4Addr, label: &str) -> Option<Ipv4Addr> {
        let pool = self.config.pool;
        let slot = pool.index_of(sandbox)?;
        let state = self.state.lock().await;
        let peer = state.links.find(&state.talking_to(slot), label)?;
        pool.address(peer)
    }

    fn change(
        &self,
        state: &mut State,
        index: SlotIndex,
        old: &Slot,
        new: Slot,
    ) -> Result<(), PolicyError> {
        let (table, interface) = (&self.config.table, self.config.interface(index));
        let mut batch = Batch::default();
        for entry in old.entries.difference(&new.entries) {
            batch.remove(table, &interface, *entry);
        }
        for address in old.addresses.keys() {
            if !new.addresses.contains_key(address) {
                batch.remove(table, &interface, Entry::Address(*address));
            }
        }
        // Also what should be there: somebody else may have taken it out.
        for entry in &new.entries {
            batch.add(table, &interface, *entry, None);
        }
        let talked = state.talking_to(index);
        let talks = state.peers_of(&self.config, index, &new);
        for other in talked.difference(&talks) {
            for (interface, entry) in self.ends(index, *other) {
                batch.remove(table, &interface, entry);
            }
        }
        for other in &talks {
            for (interface, entry) in self.ends(index, *other) {
                batch.add(table, &interface, entry, None);
            }
        }
        self.commit(state, &batch)?;
        state.slots.insert(index, new);
        for other in talked {
            state.talking.remove(&(index, other));
            state.talking.remove(&(other, index));
        }
        for other in talks {
            state.talking.insert((index, other));
            state.talking.insert((other, index));
        }
        Ok(())
    }

    /// The two entries by which linked slots reach each other.
    fn ends(&self, one: SlotIndex, other: SlotIndex) -> impl Iterator<Item = (String, Entry)> {
        let config = &self.config;
        [(one, other), (other, one)]
            .into_iter()
            .filter_map(move |(from, to)| {
                let entry = Entry::Peer(config.pool.address(to)?);
                Some((config.interface(from), entry))
            })
    }

    fn commit(&self, state: &mut State, batch: &Batch) -> Result<(), PolicyError> {
        self.send(state, batch).map_err(PolicyError::Kernel)
    }

    fn send(&self, state: &mut State, batch: &Batch) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut socket = match state.socket.take() {
            Some(socket) => socket,
            None => ElementSocket::open()?,
        };
        self.port.store(socket.port(), Ordering::Relaxed);
        socket.commit(batch)?;
        state.socket = Some(socket);
        Ok(())
    }
}

impl Openings for Policies {
    fn open(&self, slot: SlotIndex, addresses: &[Ipv4Addr], lifetime: Duration) -> io::Result<()> {
        let mut state = self.state.blocking_lock();
        let (table, interface) = (&self.config.table, self.config.interface(slot));
        let mut batch = Batch::default();
        for address in addresses {
            let entry = Entry::Address(*address);
            // An entry that is there would keep its time.
            batch.remove(table, &interface, entry);
            batch.add(table, &interface, entry, Some(lifetime));
        }
        self.send(&mut state, &batch)?;
        let now = Instant::now();
        if let Some(slot) = state.slots.get_mut(&slot) {
            slot.forget_expired(now);
            let until = addresses.iter().map(|address| (*address, now + lifetime));
            slot.addresses.extend(until);
        }
        Ok(())
    }

    fn close(&self, slot: SlotIndex, addresses: &[Ipv4Addr]) -> io::Result<()> {
        let mut state = self.state.blocking_lock();
        let (table, interface) = (&self.config.table, self.config.interface(slot));
        let mut batch = Batch::default();
        for address in addresses {
            batch.remove(table, &interface, Entry::Address(*address));
        }
        self.send(&mut state, &batch)?;
        if let Some(slot) = state.slots.get_mut(&slot) {
            slot.addresses
                .retain(|address, _| !addresses.contains(address));
        }
        Ok(())
    }
}

impl State {
    fn talking_to(&self, slot: SlotIndex) -> BTreeSet<SlotIndex> {
        let all = (slot, SlotIndex(0))..=(slot, SlotIndex(u16::MAX));
        self.talking.range(all).map(|(_, other)| *other).collect()
    }

    /// The slots that one with this policy may talk with: it is linked with them, and the policies of both allow the
    /// other's address.
    fn peers_of(
        &self,
        config: &NetworkConfig,
        index: SlotIndex,
        policy: &Slot,
    ) -> BTreeSet<SlotIndex> {
        let (pool, gateway) = (config.pool, config.pool.gateway());
        let allows = |policy: &Slot, peer| {
            let address = pool.address(peer);
            address.is_some_and(|address| policy.allows(address, gateway))
        };
        let mut peers = self.links.neighbours(index);
        peers.retain(|other| {
            let others = self.slots.get(other);
            allows(policy, *other) && others.is_some_and(|others| allows(others, index))
        });
        peers
    }

    /// Commands for nft that put all entries into empty sets.
    pub fn script(&self, config: &NetworkConfig) -> String {
        use std::fmt::Write as _;
        let now = Instant::now();
        let table = &config.table;
        let mut script = String::new();
        for (set, elements) in self.elements(config) {
            let elements: Vec<String> = elements.into_iter().collect();
            let _ = writeln!(
                script,
                "add element inet {table} {set} {{ {} }}",
                elements.join(", ")
            );
        }
        for (index, slot) in &self.slots {
            let interface = config.interface(*index);
            for (address, until) in &slot.addresses {
                let left = until.saturating_duration_since(now).as_secs();
                if left > 0 {
                    let entry = Entry::Address(*address);
                    let _ = writeln!(
                        script,
                        "add element inet {table} {} {{ {} timeout {left}s }}",
                        entry.set(),
                        entry.text(&interface)
                    );
                }
            }
        }
        script
    }

    /// The entries that should be in each set, as nft writes them, but for single addresses: these go by themselves.
    pub fn elements(&self, config: &NetworkConfig) -> BTreeMap<String, BTreeSet<String>> {
        let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (index, slot) in &self.slots {
            let interface = config.interface(*index);
            for entry in &slot.entries {
                let elements = sets.entry(entry.set()).or_default();
                elements.insert(entry.text(&interface));
            }
        }
        for (from, to) in &self.talking {
            if let Some(address) = config.pool.address(*to) {
                let entry = Entry::Peer(address);
                let elements = sets.entry(entry.set()).or_default();
                elements.insert(entry.text(&config.interface(*from)));
            }
        }
        sets
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_domain::NetworkPolicy;

    use super::super::config::Ipv4Pool;
    use super::*;

    fn spec(block_all: bool, networks: &[&str], domains: &[&str]) -> NetworkSpec {
        NetworkSpec {
            version: 1,
            policy: NetworkPolicy {
                block_all,
                allow_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
                allow_domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
            },
            ..NetworkSpec::default()
        }
    }

    fn allows(spec: &NetworkSpec, peer: [u8; 4]) -> bool {
        let gateway = Ipv4Addr::new(10, 200, 0, 1);
        Slot::new(spec).allows(peer.into(), gateway)
    }

    #[test]
    fn what_is_cut_is_what_the_kernel_would_not_let_begin() {
        let (inside, outside, gateway) = ([1, 2, 3, 4], [9, 9, 9, 9], [10, 200, 0, 1]);
        let open = spec(false, &[], &[]);
        assert!([inside, outside, gateway].map(|peer| allows(&open, peer)) == [true; 3]);
        let blocked = spec(true, &["1.0.0.0/8"], &["example.com"]);
        assert!([inside, outside, gateway].map(|peer| allows(&blocked, peer)) == [false; 3]);
        let listed = spec(false, &["1.0.0.0/8"], &[]);
        assert_eq!(
            [inside, outside, gateway].map(|peer| allows(&listed, peer)),
            [true, false, false],
            "without names nobody need be asked for any"
        );
        let named = spec(false, &[], &["example.com"]);
        assert_eq!(
            [inside, outside, gateway].map(|peer| allows(&named, peer)),
            [false, false, true]
        );
    }

    #[test]
    fn a_slot_without_a_policy_has_no_entry_and_a_blocked_one_neither() {
        let config = NetworkConfig::for_instance(b"x", Ipv4Pool::default());
        let running = [
            (SlotIndex(1), spec(false, &[], &[])),
            (SlotIndex(2), spec(true, &[], &[])),
            (SlotIndex(3), spec(false, &["1.0.0.0/8"], &["example.com"])),
        ];
        let policies = Policies::new(config.clone(), &running);
        let state = policies.state.try_lock().unwrap();
        let elements = state.elements(&config);
        let of = |set: &str| Vec::from_iter(elements.get(set).cloned().unwrap_or_default());
        assert_eq!(of("open"), [format!("\"{}1\"", config.prefix)]);
        assert_eq!(of("resolving"), [format!("\"{}3\"", config.prefix)]);
        assert_eq!(
            of("networks_8"),
            [format!("\"{}3\" . 1.0.0.0", config.prefix)]
        );
        assert_eq!(elements.len(), 3);
        let script = state.script(&config);
        assert_eq!(script.lines().count(), 3, "{script}");
    }
}
