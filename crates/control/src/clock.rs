//! Time as a parameter.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use alcove_domain::SteadyTime;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::shared::lock;

/// The host's clock is that far from what is told: somebody should know.
const WARN_OFF: SignedDuration = SignedDuration::from_mins(1);

/// What time it is, and waiting for it to pass.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now, in whole milliseconds: that is what the store keeps. Never earlier than before, and never much later.
    fn now(&self) -> Timestamp;

    /// What was written down by an earlier process is not later than now.
    fn not_before(&self, written: Timestamp);

    async fn sleep(&self, duration: Duration);
}

/// The host's own clock, without the jumps that it makes when somebody sets it.
#[derive(Debug)]
pub struct SystemClock {
    began: Instant,
    time: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    time: SteadyTime,
    is_off: bool,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            time: Mutex::new(Told {
                time: SteadyTime::new(host_now(), Duration::ZERO),
                is_off: false,
            }),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the host is asked for the time"
)]
fn host_now() -> Timestamp {
    Timestamp::now()
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut told = lock(&self.time);
        let host = host_now();
        let now = told.time.now(host, self.began.elapsed());
        let lag = told.time.lag(host);
        let is_off = lag.abs() > WARN_OFF;
        if is_off != told.is_off {
            told.is_off = is_off;
            if is_off {
                tracing::warn!(
                    lag_seconds = lag.as_secs(),
                    "the host's clock was set; it is followed slowly, so that nothing is due all at once"
                );
            } else {
                tracing::info!("the time is the host's again");
            }
        }
        drop(told);
        whole_milliseconds(now)
    }

    fn not_before(&self, written: Timestamp) {
        if !lock(&self.time).time.not_before(written) {
            tracing::warn!(
                "the database was last written at {written}, long after what the host's clock says"
            );
        }
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// `at` without what is finer than a millisecond.
pub(crate) fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
