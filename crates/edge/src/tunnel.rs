//! A WebSocket between client and agent: two byte streams once both sides have agreed.
//!
//! Frames are not looked at. When one side has finished sending, the other is told so and may go on
//! sending; the tunnel ends when both have finished, one breaks, or the server shuts down.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::sync::CancellationToken;

use crate::pool::Lease;

/// Runs the tunnel to its end. The lease keeps the sandbox counted as in use.
pub(crate) async fn run(
    client: OnUpgrade,
    agent: OnUpgrade,
    lease: Lease,
    shutdown: CancellationToken,
) {
    let both = async {
        // The agent's side is ready first: its answer made ours.
        let agent = agent.await?;
        let client = client.await?;
        let ended = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(agent)).await;
        Ok::<_, hyper::Error>(ended)
    };
    let ended = tokio::select! {
        ended = both => ended,
        () = shutdown.cancelled() => return,
    };
    match ended {
        Ok(Ok(_)) => {}
        // A client that goes away without a word is the usual end of a terminal.
        Ok(Err(error)) => tracing::debug!(
            sandbox.id = %lease.target().sandbox,
            error = &error as &dyn std::error::Error,
            "WebSocket broke"
        ),
        Err(error) => tracing::debug!(
            sandbox.id = %lease.target().sandbox,
            error = &error as &dyn std::error::Error,
            "WebSocket did not come about"
        ),
    }
}
