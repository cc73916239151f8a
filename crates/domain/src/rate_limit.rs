//! How many requests of whom are taken in a time.
//!
//! One counter for each limiter and each of those it is asked about: the first request opens a window, and as many are taken
//! until it closes as the limit says.

use std::time::Duration;

use jiff::Timestamp;

/// What is limited. Each has a counter of its own for all routes that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limiter {
    /// Requests to what everyone may ask, by address.
    Anonymous,
    /// Requests with credentials that are refused, by address. Whoever is over it is let in with none for a while.
    FailedAuth,
    /// Requests with credentials, by organization, but for those of the next two.
    Authenticated,
    /// Creates and forks of sandboxes.
    SandboxCreate,
    /// Changes of what a sandbox does.
    SandboxLifecycle,
}

impl Limiter {
    pub const ALL: [Self; 5] = [
        Self::Anonymous,
        Self::FailedAuth,
        Self::Authenticated,
        Self::SandboxCreate,
        Self::SandboxLifecycle,
    ];

    /// Those that an organization can have of its own.
    pub const OF_ORGANIZATIONS: [Self; 3] = [
        Self::Authenticated,
        Self::SandboxCreate,
        Self::SandboxLifecycle,
    ];

    /// As headers and options have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::FailedAuth => "failed-auth",
            Self::Authenticated => "authenticated",
            Self::SandboxCreate => "sandbox-create",
            Self::SandboxLifecycle => "sandbox-lifecycle",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|limiter| limiter.as_str() == text)
    }
}

/// So many in such a time. Neither is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    count: u32,
    seconds: u32,
}

impl RateLimit {
    /// None for a limit that lets nobody in, or never ends.
    pub fn new(count: u32, seconds: u32) -> Option<Self> {
        (count > 0 && seconds > 0).then_some(Self { count, seconds })
    }

    /// Reads `COUNT/SECONDS`.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, seconds) = text.split_once('/')?;
        Self::new(count.parse().ok()?, seconds.parse().ok()?)
    }

    pub fn count(self) -> u32 {
        self.count
    }

    pub fn seconds(self) -> u32 {
        self.seconds
    }
}

/// What an organization has of its own; what is None is the operator's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnRateLimit {
    pub count: Option<u32>,
    pub seconds: Option<u32>,
}

impl OwnRateLimit {
    /// What holds. None where that is not whole.
    pub fn over(self, server: Option<RateLimit>) -> Option<RateLimit> {
        let count = self.count.or(server.map(RateLimit::count))?;
        let seconds = self.seconds.or(server.map(RateLimit::seconds))?;
        RateLimit::new(count, seconds)
    }

    /// Whether it says something that cannot hold, beside what the operator says.
    pub fn is_useless(self, server: Option<RateLimit>) -> bool {
        self != Self::default() && self.over(server).is_none()
    }
}

/// An organization's own limits, in the order of [`Limiter::OF_ORGANIZATIONS`].
pub type OwnRateLimits = [OwnRateLimit; 3];

/// A window of one that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    ends: Timestamp,
    hits: u32,
}

/// How somebody stands with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u32,
    /// Requests that are taken until the window closes.
    pub remaining: u32,
    /// Until then, rounded up.
    pub reset: Duration,
    /// Whether this request is one too many.
    pub is_over: bool,
}

impl Window {
    pub fn open(limit: RateLimit, now: Timestamp) -> Self {
        Self {
            ends: now + Duration::from_secs(limit.seconds.into()),
            hits: 0,
        }
    }

    /// Whether it has closed, so that a new one begins with the next request.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends <= now
    }

    /// Counts a request. One that is too many is not counted: who keeps asking is let in again all the same.
    pub fn hit(&mut self, limit: RateLimit, now: Timestamp) -> Standing {
        let is_over = self.hits >= limit.count;
        if !is_over {
            self.hits += 1;
        }
        Standing {
            is_over,
            ..self.standing(limit, now)
        }
    }

    /// How it stands, without a request.
    pub fn standing(&self, limit: RateLimit, now: Timestamp) -> Standing {
        let left = self.ends.duration_since(now);
        let left = Duration::try_from(left).unwrap_or_default();
        let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Standing {
            limit: limit.count,
            remaining: limit.count.saturating_sub(self.hits),
            reset: Duration::from_secs(whole),
            is_over: self.hits >= limit.count,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    #[test]
    fn what_an_organization_does_not_say_is_the_operators() {
        let server = RateLimit::new(10, 60);
        let own = |count, seconds| OwnRateLimit { count, seconds };
        assert_eq!(own(None, None).over(server), server);
        assert_eq!(own(Some(5), None).over(server), RateLimit::new(5, 60));
        assert_eq!(own(None, Some(1)).over(server), RateLimit::new(10, 1));
        assert_eq!(own(Some(5), Some(1)).over(None), RateLimit::new(5, 1));
        assert_eq!(own(Some(5), None).over(None), None);
        assert!(own(Some(5), None).is_useless(None));
        assert!(own(Some(0), None).is_useless(server));
        assert!(!own(None, None).is_useless(None));
    }

    use proptest::prelude::*;

    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    #[test]
    fn as_many_are_taken_as_the_limit_says_and_then_none_until_the_window_closes() {
        let limit = RateLimit::parse("2/10").unwrap();
        let mut window = Window::open(limit, at(0));
        let stands: Vec<_> = (0..3).map(|n| window.hit(limit, at(n * 500))).collect();
        let told: Vec<_> = stands
            .iter()
            .map(|it| (it.remaining, it.reset.as_secs(), it.is_over))
            .collect();
        assert_eq!(told, [(1, 10, false), (0, 10, false), (0, 9, true)]);
        assert!(!window.is_over(at(9_999)));
        assert!(window.is_over(at(10_000)));
    }

    #[test]
    fn what_is_no_limit_is_not_read_as_one() {
        for text in [
            "",
            "1",
            "/",
            "0/1",
            "1/0",
            "-1/1",
            "1/1/1",
            "a/b",
            "4294967296/1",
        ] {
            assert_eq!(RateLimit::parse(text), None, "{text}");
        }
        for limiter in Limiter::ALL {
            assert_eq!(Limiter::parse(limiter.as_str()), Some(limiter));
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_is_taken_in_one_window(
            count in 1u32..50, steps in prop::collection::vec(0i64..400, 1..200)
        ) {
            let limit = RateLimit::new(count, 10).unwrap();
            let mut now = 0;
            let mut window = Window::open(limit, at(now));
            let mut taken = 0;
            for step in steps {
                now += step;
                if window.is_over(at(now)) {
                    window = Window::open(limit, at(now));
                    taken = 0;
                }
                let standing = window.hit(limit, at(now));
                taken += u32::from(!standing.is_over);
                prop_assert!(taken <= count);
                prop_assert_eq!(standing.remaining, count - taken);
                prop_assert!(standing.reset <= Duration::from_secs(10));
            }
        }
    }
}
