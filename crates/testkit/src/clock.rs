//! Time that moves only when a test moves it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alcove_control::Clock;
use alcove_domain::SteadyTime;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// Starts at a fixed time. Sleepers wake when the clock is moved past their time. It may be set, as a host's clock may:
/// the time that passes is not changed by that, and what is told follows slowly.
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    passed: watch::Sender<Duration>,
    host: Mutex<Host>,
}

#[derive(Debug)]
struct Host {
    /// What the host's clock was set by.
    offset: SignedDuration,
    told: SteadyTime,
}

impl Default for ManualClock {
    fn default() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a valid time");
        Self {
            start,
            passed: watch::Sender::new(Duration::ZERO),
            host: Mutex::new(Host {
                offset: SignedDuration::ZERO,
                told: SteadyTime::new(start, Duration::ZERO),
            }),
        }
    }
}

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        self.passed.send_modify(|passed| *passed += by);
    }

    pub fn advance_minutes(&self, minutes: u64) {
        self.advance(Duration::from_secs(minutes * 60));
    }

    /// Sets the host's clock forward, or back. No time passes.
    pub fn set(&self, by: SignedDuration) {
        self.host().offset += by;
    }

    /// What the host's clock says.
    pub fn host_time(&self) -> Timestamp {
        self.start + *self.passed.borrow() + self.host().offset
    }

    /// As after a start of the process: what the host's clock says counts from the beginning.
    pub fn start_anew(&self) {
        let (now, passed) = (self.host_time(), *self.passed.borrow());
        self.host().told = SteadyTime::new(now, passed);
    }

    fn host(&self) -> std::sync::MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let (host_time, passed) = (self.host_time(), *self.passed.borrow());
        self.host().told.now(host_time, passed)
    }

    fn not_before(&self, written: Timestamp) {
        self.host().told.not_before(written);
    }

    async fn sleep(&self, duration: Duration) {
        let mut passed = self.passed.subscribe();
        let until = *passed.borrow() + duration;
        // The sender lives as long as the clock that is borrowed here.
        let _ = passed.wait_for(|passed| *passed >= until).await;
    }
}
