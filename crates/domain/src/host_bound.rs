//! How much of the server's own host may be promised to those whose sandboxes and volumes are on it.
//!
//! Memory and disks are given out as they are used, so more can be promised than there is. Whoever then uses what was
//! promised takes it from the others: their programs are killed for want of memory, their writes fail. Quotas bound each
//! organization, this bounds all of them together. As with quotas only what grows is held against it.

use crate::Usage;

/// One unit of what sandboxes are sized in.
const GIB: u64 = 1 << 30;

/// The most that may be promised. None is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostBound {
    /// Of sandboxes that run.
    pub memory_bytes: Option<u64>,
    /// Of sandboxes that have a disk, and of volumes.
    pub disk_bytes: Option<u64>,
}

/// What is promised on a host, or by one thing that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promised {
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

/// More would be promised than the operator lets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("No available runners: {} of {what} would be promised, and the host promises {} at most",
    amount(*.promised), amount(*.bound))]
pub struct HostIsPromised {
    /// `memory`, or `disk`.
    pub what: &'static str,
    /// In bytes, with what was asked for.
    pub promised: u64,
    /// In bytes.
    pub bound: u64,
}

fn amount(bytes: u64) -> String {
    if bytes.is_multiple_of(GIB) {
        format!("{} GiB", bytes / GIB)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}

impl Promised {
    /// What sandboxes that count so much are promised.
    pub fn to_sandboxes(usage: &Usage) -> Self {
        Self {
            memory_bytes: usage.memory_gib.saturating_mul(GIB),
            disk_bytes: usage.disk_gib.saturating_mul(GIB),
        }
    }

    /// What volumes of so many bytes are promised.
    pub fn to_volumes(bytes: u64) -> Self {
        Self {
            memory_bytes: 0,
            disk_bytes: bytes,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(other.disk_bytes),
        }
    }
}

impl HostBound {
    /// So many hundredths of what a host has, in bytes each.
    pub fn percent_of(memory: (u64, Option<u32>), disk: (u64, Option<u32>)) -> Self {
        let part = |(has, percent): (u64, Option<u32>)| {
            percent.map(|percent| has / 100 * u64::from(percent))
        };
        Self {
            memory_bytes: part(memory),
            disk_bytes: part(disk),
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether so much may be promised after one thing went from `before` to `after`.
    ///
    /// # Errors
    /// The first bound that is passed.
    pub fn check(
        &self,
        promised: &Promised,
        before: &Promised,
        after: &Promised,
    ) -> Result<(), HostIsPromised> {
        let amounts = [
            (
                "memory",
                (before.memory_bytes, after.memory_bytes),
                promised.memory_bytes,
                self.memory_bytes,
            ),
            (
                "disk",
                (before.disk_bytes, after.disk_bytes),
                promised.disk_bytes,
                self.disk_bytes,
            ),
        ];
        for (what, (before, after), promised, bound) in amounts {
            if let Some(bound) = bound
                && after > before
                && promised > bound
            {
                return Err(HostIsPromised {
                    what,
                    promised,
                    bound,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const BOUND: HostBound = HostBound {
        memory_bytes: Some(4 * GIB),
        disk_bytes: Some(10 * GIB),
    };

    fn gib(memory: u64, disk: u64) -> Promised {
        Promised {
            memory_bytes: memory * GIB,
            disk_bytes: disk * GIB,
        }
    }

    #[test]
    fn all_of_the_bound_may_be_promised_and_no_more() {
        let nothing = Promised::default();
        assert_eq!(BOUND.check(&gib(4, 10), &nothing, &gib(1, 3)), Ok(()));
        let over = BOUND.check(&gib(5, 10), &nothing, &gib(1, 3)).unwrap_err();
        assert_eq!(
            over.to_string(),
            "No available runners: 5 GiB of memory would be promised, and the host promises 4 GiB at most"
        );
        let over = BOUND.check(&gib(4, 11), &nothing, &gib(1, 3)).unwrap_err();
        assert_eq!((over.what, over.promised), ("disk", 11 * GIB));
    }

    #[test]
    fn only_what_grows_is_held_against_it() {
        // A stop gives memory back, whatever the host has promised.
        assert_eq!(BOUND.check(&gib(9, 99), &gib(1, 3), &gib(0, 3)), Ok(()));
        // A start takes memory, and is not refused for the disk that the sandbox has already.
        assert_eq!(BOUND.check(&gib(4, 99), &gib(0, 3), &gib(1, 3)), Ok(()));
        assert!(BOUND.check(&gib(9, 9), &gib(0, 3), &gib(1, 3)).is_err());
    }

    #[test]
    fn without_a_bound_anything_may_be_promised() {
        let bound = HostBound::percent_of((8 * GIB, None), (100, None));
        assert!(bound.is_none());
        let all = gib(1 << 30, 1 << 30);
        assert_eq!(bound.check(&all, &Promised::default(), &all), Ok(()));
    }

    #[test]
    fn a_bound_is_a_part_of_what_the_host_has() {
        let bound = HostBound::percent_of((1000, Some(150)), (1000, Some(80)));
        assert_eq!(bound.memory_bytes, Some(1500));
        assert_eq!(bound.disk_bytes, Some(800));
        assert_eq!(amount(3 << 20), "3 MiB");
    }
}
