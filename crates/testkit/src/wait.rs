//! Waiting on a condition with a deadline, in place of sleeping.

use std::time::Duration;

/// No test waits longer than this for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// Waits until the condition holds and panics with `what` if it does not in time.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !condition().await {
            tokio::time::sleep(POLL).await;
        }
    };
    within(what, waited).await;
}

/// The future's value, or a panic with `what` if it does not come in time.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(DEADLINE, future).await;
    in_time.unwrap_or_else(|_| panic!("not in time: {what}"))
}
