//! How many connections there may be: in all, not logged in yet, from one address, into one sandbox.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_domain::SandboxId;

use crate::gateway::Limits;

/// Counts connections.
#[derive(Debug)]
pub struct Counts {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: usize,
    strangers: usize,
    strangers_by_address: HashMap<IpAddr, usize>,
    by_sandbox: HashMap<SandboxId, usize>,
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("this server has too many SSH connections; try again later")]
    All,
    #[error("this server has too many SSH connections that have not logged in; try again later")]
    Strangers,
    #[error("too many SSH connections from your address have not logged in; try again later")]
    Address,
}

/// One connection. Dropping it ends the count.
#[derive(Debug)]
pub struct Counted(Arc<Counts>);

/// One connection that has not logged in. Dropping it ends the count.
#[derive(Debug)]
pub struct Stranger {
    counts: Arc<Counts>,
    address: IpAddr,
}

/// One session in a sandbox. Dropping it ends the count.
#[derive(Debug)]
pub struct InSandbox {
    counts: Arc<Counts>,
    sandbox: SandboxId,
}

impl Counts {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so a panic leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new connection, which is a stranger's.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<(Counted, Stranger), Full> {
        let address = canonical(address);
        let mut state = self.lock();
        if state.all >= self.limits.connections {
            return Err(Full::All);
        }
        if state.strangers >= self.limits.strangers {
            return Err(Full::Strangers);
        }
        let of_address = state.strangers_by_address.entry(address).or_default();
        if *of_address >= self.limits.strangers_per_address {
            return Err(Full::Address);
        }
        *of_address += 1;
        state.all += 1;
        state.strangers += 1;
        let stranger = Stranger {
            counts: Arc::clone(self),
            address,
        };
        Ok((Counted(Arc::clone(self)), stranger))
    }

    /// Counts a session in a sandbox. None where it has too many.
    pub fn settle(self: &Arc<Self>, sandbox: &SandboxId) -> Option<InSandbox> {
        let mut state = self.lock();
        let count = state.by_sandbox.entry(sandbox.clone()).or_default();
        if *count >= self.limits.connections_per_sandbox {
            return None;
        }
        *count += 1;
        Some(InSandbox {
            counts: Arc::clone(self),
            sandbox: sandbox.clone(),
        })
    }
}

fn leave<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// One host has a whole network of IPv6 addresses to itself.
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() >> 64 << 64;
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lock().all -= 1;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut state = self.counts.lock();
        state.strangers -= 1;
        leave(&mut state.strangers_by_address, &self.address);
    }
}

impl Drop for InSandbox {
    fn drop(&mut self) {
        leave(&mut self.counts.lock().by_sandbox, &self.sandbox);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn counts() -> Arc<Counts> {
        Counts::new(Limits {
            connections: 4,
            strangers: 3,
            strangers_per_address: 2,
            connections_per_sandbox: 1,
            ..Limits::default()
        })
    }

    #[test]
    fn each_limit_turns_the_next_one_away_and_room_comes_back() {
        let counts = counts();
        let (one, two) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = counts.enter(one).unwrap();
        let (_second, second) = counts.enter(one).unwrap();
        assert_eq!(counts.enter(one).unwrap_err(), Full::Address);
        assert_eq!(
            counts.enter(address("::ffff:10.0.0.1")).unwrap_err(),
            Full::Address
        );
        let _third = counts.enter(two).unwrap();
        assert_eq!(counts.enter(two).unwrap_err(), Full::Strangers);
        // It logs in, and is no stranger any more.
        drop(second);
        let _fourth = counts.enter(two).unwrap();
        assert_eq!(counts.enter(two).unwrap_err(), Full::All);
        drop(first);
        counts.enter(one).unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let counts = counts();
        let _one = counts.enter(address("2001:db8::1")).unwrap();
        let _two = counts.enter(address("2001:db8::2")).unwrap();
        assert_eq!(
            counts.enter(address("2001:db8::3")).unwrap_err(),
            Full::Address
        );
        counts.enter(address("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn sessions_of_a_sandbox_are_bounded() {
        let counts = counts();
        let (one, other) = ("one".parse().unwrap(), "other".parse().unwrap());
        let first = counts.settle(&one).unwrap();
        assert!(counts.settle(&one).is_none());
        let _other = counts.settle(&other).unwrap();
        drop(first);
        assert!(counts.settle(&one).is_some());
        assert_eq!(counts.lock().by_sandbox.len(), 1);
    }
}
