//! How many sandboxes are made ahead of need, and of which snapshots.
//!
//! Two things ask for them: rows that organizations make, each for a number of its own, and demand that is seen. Both
//! share what the operator lets them take of the host's memory; rows come first.

use jiff::{SignedDuration, Timestamp};

use crate::{OrganizationId, Reason, Resources, WarmPoolId};

/// What one member takes of the host's memory while it waits, with room to spare: kernel objects, pages of its first
/// process, the write-back of its new disk. SPECIFICATION.md has the measurement. What the sandbox may use once it has an
/// owner is the owner's, and counts from then on.
pub const MEMBER_BYTES: u64 = 4 << 20;

/// Warm pools of one organization.
pub const POOLS_MAX: u64 = 20;

/// Creates that come within this belong to one burst. Members are made again at the rate of some tens a second, so a
/// pool has to hold what comes in about this time.
const BURST: SignedDuration = SignedDuration::from_secs(1);

/// In this time the memory of the largest burst fades to half.
const HALF_LIFE: SignedDuration = SignedDuration::from_mins(2);

/// After the last create of a snapshot nothing is kept any more.
const IDLE: SignedDuration = SignedDuration::from_mins(15);

/// A warm pool that an organization has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmPool {
    pub id: WarmPoolId,
    pub organization_id: OrganizationId,
    /// Its name; the pool is of whatever snapshot has it.
    pub snapshot: String,
    pub region: String,
    /// Members that are to wait; 0 for a pool that is drained.
    pub size: u32,
    /// Of the snapshot when the pool was made.
    pub resources: Resources,
    /// The snapshot's user, likewise.
    pub user: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How many members a host may have that lets them take this much of its memory.
pub fn capacity(budget_bytes: u64) -> u32 {
    u32::try_from(budget_bytes / MEMBER_BYTES).unwrap_or(u32::MAX)
}

/// Checks the size of a pool: at least `least`, and no more than the host can hold.
///
/// # Errors
/// The reason why the number is refused. A host that holds none offers no pools.
pub fn check_size(asked: Option<i64>, least: u32, capacity: u32) -> Result<u32, Reason> {
    let size = asked.and_then(|asked| u32::try_from(asked).ok());
    let Some(size) = size.filter(|size| *size >= least) else {
        let word = format!("pool must be a whole number, {least} or more");
        return Err(Reason::invalid(word));
    };
    if size > 0 && capacity == 0 {
        let word = "Warm pools are turned off on this server";
        return Err(Reason::unsupported(word));
    }
    if size > capacity {
        let word =
            format!("pool must not be larger than {capacity}, which is what this host holds");
        return Err(Reason::invalid(word));
    }
    Ok(size)
}

/// What is known of the demand for one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The largest burst that is remembered, and when it was as large as that.
    peak: u32,
    peak_at: Timestamp,
    burst: u32,
    burst_since: Timestamp,
    last: Timestamp,
}

impl Demand {
    /// The first create.
    pub fn first(now: Timestamp) -> Self {
        Self {
            peak: 1,
            peak_at: now,
            burst: 1,
            burst_since: now,
            last: now,
        }
    }

    /// One more create. A clock that was set back only makes the burst longer.
    pub fn note(&mut self, now: Timestamp) {
        if now.duration_since(self.burst_since) < BURST {
            self.burst = self.burst.saturating_add(1);
        } else {
            self.burst = 1;
            self.burst_since = now;
        }
        self.last = self.last.max(now);
        if u64::from(self.burst) * FRACTION >= self.faded(now) {
            self.peak = self.burst;
            self.peak_at = now;
        }
    }

    /// How many members should wait.
    pub fn wished(&self, now: Timestamp) -> u32 {
        if self.is_over(now) {
            return 0;
        }
        let members = self.faded(now).div_ceil(FRACTION);
        u32::try_from(members).unwrap_or(u32::MAX).max(1)
    }

    /// Whether it may be forgotten.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.last) >= IDLE
    }

    /// The peak as it is remembered now, in parts of [`FRACTION`]: half after each half-life, along straight lines in
    /// between.
    fn faded(&self, now: Timestamp) -> u64 {
        let age = now.duration_since(self.peak_at).as_millis().max(0);
        let half = HALF_LIFE.as_millis();
        let halvings = u32::try_from(age / half).unwrap_or(u32::MAX);
        let whole = (u64::from(self.peak) * FRACTION)
            .checked_shr(halvings)
            .unwrap_or(0);
        // Below the half-life, which is 120,000: no product comes near to the bounds.
        let rest = u64::try_from(age % half).unwrap_or(0);
        let half = u64::try_from(half).unwrap_or(1);
        whole - whole * rest / (2 * half)
    }
}

/// Parts of one member that fading counts in.
const FRACTION: u64 = 1024;

/// Shares `capacity` among pools that were asked for and pools that demand suggests: the first come first, and within
/// each nobody gets a second member before everybody who wants one has a first.
pub fn share(asked: &[u32], suggested: &[u32], capacity: u32) -> (Vec<u32>, Vec<u32>) {
    let asked = level(asked, capacity);
    let left = capacity - asked.iter().sum::<u32>();
    (asked, level(suggested, left))
}

/// Hands out one by one, round by round. The sum is at most `capacity`.
fn level(wishes: &[u32], capacity: u32) -> Vec<u32> {
    let mut given = vec![0; wishes.len()];
    let mut left = capacity;
    loop {
        let before = left;
        for (given, wish) in given.iter_mut().zip(wishes) {
            if left > 0 && *given < *wish {
                *given += 1;
                left -= 1;
            }
        }
        if left == before || left == 0 {
            return given;
        }
    }
}

/// What one explicit pool shows of how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmPoolView {
    pub pool: WarmPool,
    /// Members that wait.
    pub ready: u32,
    /// Why there are not as many as there should be and will not be, in a sentence.
    pub error_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn demand(times: &[i64]) -> Demand {
        let mut demand = Demand::first(at(times[0]));
        times[1..].iter().for_each(|ms| demand.note(at(*ms)));
        demand
    }

    #[test]
    fn one_create_keeps_one_member_ready_until_nobody_comes_any_more() {
        let demand = demand(&[0]);
        let idle = i64::try_from(IDLE.as_millis()).unwrap_or(i64::MAX);
        assert_eq!(demand.wished(at(0)), 1);
        assert_eq!(demand.wished(at(idle - 1)), 1);
        assert_eq!(demand.wished(at(idle)), 0);
        assert!(demand.is_over(at(idle)));
    }

    #[test]
    fn a_burst_is_remembered_and_fades_to_half_in_the_half_life() {
        let demand = demand(&[0; 16]);
        let half = i64::try_from(HALF_LIFE.as_millis()).unwrap_or(i64::MAX);
        let wished: Vec<u32> = (0..6).map(|n| demand.wished(at(n * half))).collect();
        assert_eq!(wished, [16, 8, 4, 2, 1, 1]);
        assert_eq!(demand.wished(at(half / 2)), 12);
    }

    #[test]
    fn creates_far_apart_are_no_burst() {
        let demand = demand(&[0, 5_000, 10_000, 15_000]);
        assert_eq!(demand.wished(at(15_000)), 1);
    }

    #[test]
    fn a_size_is_a_number_that_the_host_can_hold() {
        assert_eq!(check_size(Some(3), 1, 3), Ok(3));
        assert_eq!(check_size(Some(0), 0, 0), Ok(0));
        for (asked, least, capacity) in [
            (None, 0, 5),
            (Some(0), 1, 5),
            (Some(-1), 0, 5),
            (Some(6), 1, 5),
            (Some(i64::MAX), 1, 5),
        ] {
            let refused = check_size(asked, least, capacity);
            assert!(
                refused.is_err_and(|reason| reason.kind == crate::reason::ReasonKind::Invalid),
                "{asked:?}"
            );
        }
        let off = check_size(Some(1), 1, 0);
        assert!(off.is_err_and(|reason| reason.kind == crate::reason::ReasonKind::Unsupported));
    }

    proptest! {
        #[test]
        fn the_sum_never_passes_the_capacity_and_nobody_gets_more_than_asked(
            asked in prop::collection::vec(0_u32..50, 0..8),
            suggested in prop::collection::vec(0_u32..50, 0..8),
            capacity in 0_u32..200,
        ) {
            let (of_rows, of_demand) = share(&asked, &suggested, capacity);
            let all = of_rows.iter().chain(&of_demand);
            let sum: u32 = all.clone().sum();
            prop_assert!(sum <= capacity);
            let wishes: Vec<u32> = asked.iter().chain(&suggested).copied().collect();
            prop_assert!(all.zip(&wishes).all(|(given, wish)| given <= wish));
            // Nothing is left over while somebody wants it, and demand gets nothing while a row does.
            prop_assert!(sum == capacity || sum == wishes.iter().sum::<u32>());
            let rows: u32 = of_rows.iter().sum();
            prop_assert!(rows == asked.iter().sum::<u32>() || of_demand.iter().all(|given| *given == 0));
            // Whoever has less than somebody else by more than one has all that was asked for.
            for (given, wish) in of_rows.iter().zip(&asked) {
                prop_assert!(given == wish || of_rows.iter().all(|other| *other <= given + 1));
            }
        }

        #[test]
        fn demand_asks_for_no_more_than_came_and_for_nothing_in_the_end(
            steps in prop::collection::vec(0_i64..100_000, 1..60),
            later in 0_i64..2_000_000,
        ) {
            let mut now = 0;
            let times: Vec<i64> = steps.iter().map(|step| { now += step; now }).collect();
            let demand = demand(&times);
            let wished = demand.wished(at(now + later));
            prop_assert!(wished as usize <= times.len());
            prop_assert!(demand.wished(at(now)) >= 1);
            // It only fades while nobody comes.
            prop_assert!(wished <= demand.wished(at(now)));
            prop_assert!(demand.wished(at(now + later + 1)) <= wished);
            prop_assert_eq!(demand.wished(at(now + 900_000)), 0);
            // One more create never asks for less.
            let mut more = demand;
            more.note(at(now + later));
            prop_assert!(more.wished(at(now + later)) >= wished);
        }
    }
}
