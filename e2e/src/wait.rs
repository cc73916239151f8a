//! Waiting for a condition with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// The time that something may take, multiplied by `ALCOVE_TEST_PATIENCE` where the machine is known to be slow
/// (an emulated one, `make guest`).
///
/// # Panics
/// When the variable is no whole number: a typing error would show as a test that fails now and then.
pub fn patience(usual: Duration) -> Duration {
    let factor = std::env::var("ALCOVE_TEST_PATIENCE").map_or(1, |text| {
        text.parse()
            .expect("ALCOVE_TEST_PATIENCE is a whole number")
    });
    usual * factor
}

/// Polls until the condition holds.
///
/// # Panics
/// With the last state seen, when it does not hold in time.
pub async fn until<T: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<(), T>) {
    let (start, deadline) = (Instant::now(), patience(DEADLINE));
    let mut pause = Duration::from_millis(2);
    loop {
        match look().await {
            Ok(()) => return,
            Err(state) if start.elapsed() > deadline => {
                panic!("{what} did not come true within {deadline:?}; last seen: {state:?}")
            }
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }
}
