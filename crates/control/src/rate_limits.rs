//! Who may ask how often.
//!
//! Counters are in memory: a restart begins anew. A limiter that the operator has not set lets everybody through, and so does one
//! that cannot remember more of those it counts; only refused credentials are held then too, since what they guard is guessing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock};

use alcove_domain::rate_limit::{Limiter, OwnRateLimits, RateLimit, Standing, Window};
use alcove_domain::{OrganizationId, ServiceRole};
use jiff::Timestamp;

use crate::shared::lock;

/// Counters of one limiter. Each is some hundred bytes.
const COUNTED_MAX: usize = 100_000;

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Counted {
    Organization(OrganizationId),
    Service(ServiceRole),
    /// An address of version 4, or the network of one of version 6, which one host has for itself.
    Address(IpAddr),
    /// Somebody of whom no address is known.
    Unknown,
}

impl From<Option<IpAddr>> for Counted {
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(address)) => Self::Address(address.into()),
            Some(IpAddr::V6(address)) => {
                let network = u128::from(address) >> 64 << 64;
                Self::Address(IpAddr::V6(network.into()))
            }
        }
    }
}

/// The operator's limits.
pub type RateLimits = BTreeMap<Limiter, RateLimit>;

/// Limits that organizations have of their own, in memory: every request asks.
#[derive(Debug, Default)]
pub(crate) struct OwnLimits {
    by_organization: RwLock<HashMap<OrganizationId, OwnRateLimits>>,
    /// Held from the write to the note, so that both come in one order.
    pub writing: tokio::sync::Mutex<()>,
}

impl OwnLimits {
    pub fn note(&self, organization: OrganizationId, limits: OwnRateLimits) {
        let own = self.by_organization.write();
        let mut own = own.unwrap_or_else(PoisonError::into_inner);
        if limits == OwnRateLimits::default() {
            own.remove(&organization);
        } else {
            own.insert(organization, limits);
        }
    }

    pub fn of(&self, organization: &OrganizationId) -> OwnRateLimits {
        let own = self.by_organization.read();
        let own = own.unwrap_or_else(PoisonError::into_inner);
        own.get(organization).copied().unwrap_or_default()
    }

    pub fn has_any(&self) -> bool {
        let own = self.by_organization.read();
        let own = own.unwrap_or_else(PoisonError::into_inner);
        !own.is_empty()
    }

    /// What holds for one who is counted, beside what the operator says.
    pub fn over(
        &self,
        limiter: Limiter,
        who: &Counted,
        server: Option<RateLimit>,
    ) -> Option<RateLimit> {
        let place = Limiter::OF_ORGANIZATIONS
            .iter()
            .position(|own| *own == limiter);
        match (who, place) {
            (Counted::Organization(organization), Some(place)) => {
                self.of(organization)[place].over(server)
            }
            _ => server,
        }
    }
}

#[derive(Default)]
pub(crate) struct Counters(Mutex<HashMap<Limiter, Counts>>);

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Counts {
    windows: HashMap<Counted, Window>,
}

impl Counts {
    /// The open window of one. None where nobody more can be counted.
    fn window(&mut self, who: &Counted, limit: RateLimit, now: Timestamp) -> Option<&mut Window> {
        if !self.windows.contains_key(who) {
            if self.windows.len() >= COUNTED_MAX {
                self.windows.retain(|_, window| !window.is_over(now));
            }
            if self.windows.len() >= COUNTED_MAX {
                return None;
            }
            self.windows.insert(who.clone(), Window::open(limit, now));
        }
        let window = self.windows.get_mut(who)?;
        if window.is_over(now) {
            *window = Window::open(limit, now);
        }
        Some(window)
    }
}

impl Counters {
    /// Looks at the open window of one. None where nobody more can be counted and that does no harm.
    pub fn look(
        &self,
        limiter: Limiter,
        limit: RateLimit,
        who: &Counted,
        now: Timestamp,
        look: impl FnOnce(&mut Window, RateLimit, Timestamp) -> Standing,
    ) -> Option<Standing> {
        let mut counters = lock(&self.0);
        let counts = counters.entry(limiter).or_default();
        match counts.window(who, limit, now) {
            Some(window) => Some(look(window, limit, now)),
            None if limiter == Limiter::FailedAuth => Some(Standing {
                remaining: 0,
                is_over: true,
                ..Window::open(limit, now).standing(limit, now)
            }),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn address(number: u32) -> Counted {
        Some(IpAddr::V4(number.into())).into()
    }

    #[test]
    fn a_full_table_lets_everybody_through_but_whoever_guesses() {
        let counters = Counters::default();
        let limit = RateLimit::new(1, 60).unwrap();
        let now = Timestamp::from_second(0).unwrap();
        let many = u32::try_from(COUNTED_MAX).unwrap();
        let hit =
            |limiter, who, now| counters.look(limiter, limit, &address(who), now, Window::hit);
        for limiter in [Limiter::Anonymous, Limiter::FailedAuth] {
            for who in 0..many {
                assert!(!hit(limiter, who, now).unwrap().is_over);
            }
            assert!(hit(limiter, 0, now).unwrap().is_over);
        }
        assert_eq!(hit(Limiter::Anonymous, many, now), None);
        assert!(hit(Limiter::FailedAuth, many, now).unwrap().is_over);
        // Windows that have closed make room.
        let later = Timestamp::from_second(60).unwrap();
        assert!(!hit(Limiter::FailedAuth, many, later).unwrap().is_over);
    }

    #[test]
    fn one_host_has_many_addresses_of_version_6_and_counts_once() {
        let of = |text: &str| Counted::from(Some(text.parse::<IpAddr>().unwrap()));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
    }
}
