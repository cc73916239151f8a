//! Waiting for a condition with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until the condition holds.
///
/// # Panics
/// With the last state seen, when it does not hold in time.
pub async fn until<T: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<(), T>) {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match look().await {
            Ok(()) => return,
            Err(state) if start.elapsed() > DEADLINE => {
                panic!("{what} did not come true within {DEADLINE:?}; last seen: {state:?}")
            }
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }
}
