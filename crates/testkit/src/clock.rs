//! Time that moves only when a test moves it.

use std::time::Duration;

use alcove_control::Clock;
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

/// Starts at a fixed time. Sleepers wake when the clock is moved past their time.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
}

impl Default for ManualClock {
    fn default() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a valid time");
        Self {
            now: watch::Sender::new(start),
        }
    }
}

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }

    pub fn advance_minutes(&self, minutes: u64) {
        self.advance(Duration::from_secs(minutes * 60));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut now = self.now.subscribe();
        let until = *now.borrow() + duration;
        // The sender lives as long as the clock that is borrowed here.
        let _ = now.wait_for(|now| *now >= until).await;
    }
}
