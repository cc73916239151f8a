//! Many sandboxes at once, on a server of one's own.

use alcove_api_types::daytona::{CreateSandbox, Sandbox};
use alcove_client::Client;
use anyhow::Context;
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

/// Creates beside each other: enough to keep the host busy, not so many that they wait for each other.
const CREATES: usize = 4;

/// Makes `count` sandboxes that never stop by themselves; fewer, where it is stopped meanwhile.
pub async fn make(
    client: &Client,
    count: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Sandbox>> {
    let create = CreateSandbox {
        auto_stop_interval: Some(0),
        ..CreateSandbox::default()
    };
    let made = stream::iter(0..count)
        .map(async |_| {
            if stop.is_cancelled() {
                return None;
            }
            Some(client.create(&create).await.context("a create failed"))
        })
        .buffer_unordered(CREATES)
        .collect::<Vec<_>>()
        .await;
    // Collected first: nothing is broken off half-way when one has failed.
    made.into_iter().flatten().collect()
}
