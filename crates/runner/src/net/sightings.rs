//! What sandboxes wanted of the network, as far as the resolver, the gate and the kernel's table of connections tell.
//!
//! Kept until it is taken, in little room: what a sandbox does again is counted, and a sandbox that does more different
//! things than are kept has the rest counted as one. A connection is seen if it stands in the kernel's table when that is
//! looked at; there, one of TCP stays for two minutes after its end, unless it was cut off.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use alcove_domain::SandboxId;
use alcove_runner_api::{Sighting, Wanted};

use super::config::Ipv4Pool;
use super::conntrack::Begun;

/// Different things of one sandbox that are kept until they are taken.
const KEPT_MAX: usize = 32;
/// Sandboxes of which things are kept.
const SANDBOXES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Sightings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sandboxes: HashMap<Ipv4Addr, SandboxId>,
    seen: HashMap<SandboxId, BTreeMap<Wanted, (Instant, u32)>>,
    /// Connections that stood in the kernel's table when it was looked at last.
    standing: HashSet<Begun>,
}

impl Sightings {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose an address is from now on.
    pub fn name(&self, address: Ipv4Addr, sandbox: SandboxId) {
        self.lock().sandboxes.insert(address, sandbox);
    }

    /// The address is nobody's.
    pub fn forget(&self, address: Ipv4Addr) {
        self.lock().sandboxes.remove(&address);
    }

    /// What whoever has this address wanted just now.
    pub fn note(&self, address: Ipv4Addr, wanted: Wanted) {
        self.lock().note(address, wanted);
    }

    /// Compares with the kernel's table, as it is now: what was not there before is new.
    pub fn compare(&self, pool: Ipv4Pool, begun: Vec<Begun>) {
        let mut state = self.lock();
        let mut standing = HashSet::with_capacity(begun.len());
        for connection in begun {
            if !pool.contains(connection.from) {
                continue;
            }
            let is_new = !state.standing.contains(&connection);
            // The resolver and the gate tell better what is wanted of them.
            if is_new && connection.to != pool.gateway() {
                let wanted = Wanted::Address {
                    protocol: connection.protocol,
                    address: connection.to,
                    port: connection.to_port,
                };
                state.note(connection.from, wanted);
            }
            standing.insert(connection);
        }
        state.standing = standing;
    }

    /// What was seen since the last time.
    pub fn take(&self) -> Vec<Sighting> {
        let seen = std::mem::take(&mut self.lock().seen);
        let sightings = seen.into_iter().flat_map(|(sandbox, all)| {
            all.into_iter()
                .map(move |(wanted, (first, count))| Sighting {
                    sandbox: sandbox.clone(),
                    age: first.elapsed(),
                    count,
                    wanted,
                })
        });
        sightings.collect()
    }
}

impl State {
    fn note(&mut self, address: Ipv4Addr, wanted: Wanted) {
        let Some(sandbox) = self.sandboxes.get(&address) else {
            return;
        };
        if self.seen.len() >= SANDBOXES_MAX && !self.seen.contains_key(sandbox) {
            return;
        }
        let seen = self.seen.entry(sandbox.clone()).or_default();
        let wanted = if seen.len() >= KEPT_MAX && !seen.contains_key(&wanted) {
            Wanted::More
        } else {
            wanted
        };
        let (_, count) = seen.entry(wanted).or_insert_with(|| (Instant::now(), 0));
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 2);
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

    fn sandbox() -> SandboxId {
        "box".parse().expect("an id")
    }

    fn named(name: usize) -> Wanted {
        Wanted::Name {
            name: name.to_string(),
            is_allowed: true,
        }
    }

    fn begun(from: Ipv4Addr, from_port: u16, to: Ipv4Addr) -> Begun {
        Begun {
            protocol: 6,
            from,
            from_port,
            to,
            to_port: 443,
        }
    }

    #[test]
    fn what_is_done_again_is_counted_and_too_much_of_it_is_one() {
        let sightings = Sightings::default();
        sightings.note(BOX, named(0));
        assert_eq!(sightings.take(), [], "it was nobody's");
        sightings.name(BOX, sandbox());
        for number in 0..KEPT_MAX + 5 {
            sightings.note(BOX, named(number));
            sightings.note(BOX, named(0));
        }
        let seen = sightings.take();
        assert_eq!(seen.len(), KEPT_MAX + 1);
        let count = |wanted: &Wanted| {
            let found = seen.iter().find(|seen| seen.wanted == *wanted);
            found.map(|found| found.count)
        };
        let all = u32::try_from(KEPT_MAX).unwrap_or_default();
        assert_eq!(count(&named(0)), Some(all + 6));
        assert_eq!(count(&Wanted::More), Some(5));
        assert_eq!(sightings.take(), []);
        sightings.forget(BOX);
        sightings.note(BOX, named(0));
        assert_eq!(sightings.take(), []);
    }

    #[test]
    fn connections_are_told_once_and_what_others_tell_better_not_at_all() {
        let pool = Ipv4Pool::default();
        let sightings = Sightings::default();
        sightings.name(BOX, sandbox());
        let first = begun(BOX, 1, OUTSIDE);
        let table = vec![first, begun(BOX, 2, pool.gateway()), begun(OUTSIDE, 3, BOX)];
        sightings.compare(pool, table.clone());
        sightings.compare(pool, table);
        let seen = sightings.take();
        let wanted = Wanted::Address {
            protocol: 6,
            address: OUTSIDE,
            port: 443,
        };
        assert_eq!(seen.len(), 1);
        assert_eq!((&seen[0].wanted, seen[0].count), (&wanted, 1));
        sightings.compare(pool, vec![first, begun(BOX, 4, OUTSIDE)]);
        assert_eq!(sightings.take().len(), 1);
        // Gone and there again: another one.
        sightings.compare(pool, Vec::new());
        sightings.compare(pool, vec![first]);
        assert_eq!(sightings.take().len(), 1);
    }
}
