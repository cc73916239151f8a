//! Places that sandboxes share: no more than so many at once, and of one sandbox no more than its part.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub total: usize,
    pub per_sandbox: usize,
}

#[derive(Debug)]
pub(super) struct Shares {
    limit: Limit,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_sandbox: HashMap<Ipv4Addr, usize>,
}

impl Shares {
    pub fn new(limit: Limit) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: Mutex::default(),
        })
    }

    /// A place for the sandbox with this address; `None` if it has its share, or all are taken.
    pub fn enter(self: &Arc<Self>, sandbox: Ipv4Addr) -> Option<Share> {
        let mut taken = self.lock();
        let count = taken.by_sandbox.get(&sandbox).copied().unwrap_or(0);
        if taken.total >= self.limit.total || count >= self.limit.per_sandbox {
            return None;
        }
        taken.total += 1;
        taken.by_sandbox.insert(sandbox, count + 1);
        Some(Share {
            shares: Arc::clone(self),
            sandbox,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    sandbox: Ipv4Addr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.total = taken.total.saturating_sub(1);
        if let Some(count) = taken.by_sandbox.get_mut(&self.sandbox) {
            *count -= 1;
            if *count == 0 {
                taken.by_sandbox.remove(&self.sandbox);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        total: 512,
        per_sandbox: 8,
    };

    #[test]
    fn one_sandbox_cannot_take_the_share_of_others() {
        let shares = Shares::new(LIMIT);
        let greedy = Ipv4Addr::new(10, 200, 0, 2);
        let mut held: Vec<_> = (0..LIMIT.total)
            .filter_map(|_| shares.enter(greedy))
            .collect();
        assert_eq!(held.len(), LIMIT.per_sandbox);
        assert!(shares.enter(Ipv4Addr::new(10, 200, 0, 3)).is_some());
        held.pop();
        assert!(shares.enter(greedy).is_some());
    }

    #[test]
    fn all_sandboxes_together_have_a_limit_and_nothing_is_left_when_they_are_done() {
        let shares = Shares::new(LIMIT);
        let sandboxes = (0..200).map(|last| Ipv4Addr::new(10, 200, 1, last));
        let held: Vec<_> = sandboxes
            .flat_map(|sandbox| (0..LIMIT.per_sandbox).map(move |_| sandbox))
            .filter_map(|sandbox| shares.enter(sandbox))
            .collect();
        assert_eq!(held.len(), LIMIT.total);
        drop(held);
        let taken = shares.lock();
        assert!(taken.total == 0 && taken.by_sandbox.is_empty());
    }
}
