//! Ranges of user and group ids: 65,536 for each sandbox, used by nobody else on the host.
//!
//! A range belongs to a sandbox as long as its disk exists, since the files on it carry its numbers.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::journal::RangeIndex;
use crate::spawner_client::{SpawnError, SpawnerClient};

/// Ids of one range.
pub const RANGE_SIZE: u32 = 65_536;

/// First id of the first range. Everything below is taken by somebody's convention: systemd's containers end
/// right here (0x6FFFFFFF), and `/etc/subuid` starts far lower.
const FIRST_ID: u32 = 0x7000_0000;

/// Ranges between [`FIRST_ID`] and the last id before the kernel's own special values.
pub const RANGES_MAX: u32 = 0x8FFE;

#[derive(Debug, thiserror::Error)]
#[error("all {RANGES_MAX} id ranges are in use")]
pub struct RangesFull;

impl RangeIndex {
    /// The host's id of root inside.
    pub fn id_base(self) -> u32 {
        FIRST_ID + self.0 * RANGE_SIZE
    }
}

#[derive(Debug, Default)]
struct Inner {
    used: BTreeSet<RangeIndex>,
    /// Where the search for a free one starts: a range that has just been given back rests longest.
    next: u32,
    /// Claimed ahead, for the next sandboxes.
    ready: Vec<RangeIndex>,
    /// Made ahead, for ranges of [`Inner::ready`] and those that have just left it.
    namespaces: HashMap<RangeIndex, OwnedFd>,
}

/// Which ranges are in use.
#[derive(Debug, Default)]
pub struct Ranges {
    inner: Mutex<Inner>,
}

impl Ranges {
    pub fn new(used: impl IntoIterator<Item = RangeIndex>) -> Self {
        let used: BTreeSet<RangeIndex> = used.into_iter().collect();
        let next = used.last().map_or(0, |last| last.0 + 1);
        Self {
            inner: Mutex::new(Inner {
                used,
                next,
                ..Inner::default()
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a range, one that was made ahead if there is one.
    pub fn claim(&self) -> Result<RangeIndex, RangesFull> {
        let mut inner = self.inner();
        if let Some(ready) = inner.ready.pop() {
            return Ok(ready);
        }
        inner.claim_free()
    }

    /// Gives a range back. Nothing on the host may carry its ids any more.
    pub fn release(&self, index: RangeIndex) {
        let mut inner = self.inner();
        inner.used.remove(&index);
        inner.namespaces.remove(&index);
    }

    /// The namespace that was made ahead for this range, if there is one.
    pub fn take_namespace(&self, index: RangeIndex) -> Option<OwnedFd> {
        self.inner().namespaces.remove(&index)
    }

    /// Makes one more range ahead, if fewer than `target` wait. `false` when there is nothing to do.
    pub async fn refill(
        &self,
        spawner: &SpawnerClient,
        target: usize,
    ) -> Result<bool, MakeRangeError> {
        let index = {
            let mut inner = self.inner();
            if inner.ready.len() >= target {
                return Ok(false);
            }
            inner.claim_free().map_err(MakeRangeError::Full)?
        };
        match spawner.user_namespace(index.id_base()).await {
            Ok(namespace) => {
                let mut inner = self.inner();
                inner.namespaces.insert(index, namespace);
                inner.ready.push(index);
                Ok(true)
            }
            Err(error) => {
                self.release(index);
                Err(MakeRangeError::Namespace(error))
            }
        }
    }
}

impl Inner {
    fn claim_free(&mut self) -> Result<RangeIndex, RangesFull> {
        let start = self.next;
        let free = (0..RANGES_MAX)
            .map(|step| RangeIndex((start + step) % RANGES_MAX))
            .find(|index| !self.used.contains(index))
            .ok_or(RangesFull)?;
        self.used.insert(free);
        self.next = (free.0 + 1) % RANGES_MAX;
        Ok(free)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MakeRangeError {
    #[error("no id range is free")]
    Full(#[source] RangesFull),
    #[error("cannot make a user namespace")]
    Namespace(#[source] SpawnError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_range_reaches_a_user_of_the_host_or_the_kernels_special_ids() {
        assert!(RangeIndex(0).id_base() > 0x6FFF_FFFF);
        let last = u64::from(RangeIndex(RANGES_MAX - 1).id_base()) + u64::from(RANGE_SIZE) - 1;
        assert!(last < u64::from(u32::MAX) - 1);
    }

    #[test]
    fn a_range_in_use_is_not_given_out_again() {
        let ranges = Ranges::new([RangeIndex(0), RangeIndex(2)]);
        let claimed: Vec<u32> = std::iter::from_fn(|| ranges.claim().ok())
            .take(3)
            .map(|index| index.0)
            .collect();
        assert_eq!(claimed, [3, 4, 5]);
        ranges.release(RangeIndex(4));
        assert_eq!(ranges.claim().ok(), Some(RangeIndex(6)));
    }
}
