//! Time as a parameter.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// What time it is, and waiting for it to pass.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now, in whole milliseconds: that is what the store keeps.
    fn now(&self) -> Timestamp;

    async fn sleep(&self, duration: Duration);
}

/// The host's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the host is asked for the time"
    )]
    fn now(&self) -> Timestamp {
        whole_milliseconds(Timestamp::now())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// `at` without what is finer than a millisecond.
pub(crate) fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
