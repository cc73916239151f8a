//! Limits of an organization, with real sandboxes and a server that is killed.

use std::time::Duration;

use alcove_client::ListFilter;
use alcove_e2e::server::{Port, TestServer};
use alcove_e2e::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{make, named, refusal, within};

const LIMIT: usize = 3;
const ASKED: usize = 20;

#[tokio::test]
async fn creates_at_once_stop_at_the_limit_and_the_ledger_outlives_a_kill() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let first = make(&client, "box-0").await;
    let org = &first.organization_id;
    let quota = format!("/api/admin/organizations/{org}/quota/us");
    let limits = json!({"totalCpuQuota": LIMIT}).to_string();
    let set = server.raw().ask("PATCH", &quota, limits).await;
    assert_eq!(set.status, 204, "{set:?}");

    let mut creates = JoinSet::new();
    for number in 1..ASKED {
        let client = client.clone();
        creates.spawn(async move { client.create(&named(&format!("box-{number}"))).await });
    }
    let results = within("the creates", Duration::from_mins(1), creates.join_all()).await;
    let refused = results.iter().filter_map(|one| one.as_ref().err());
    assert_eq!(refused.clone().count(), ASKED - LIMIT);
    for error in refused {
        assert_eq!(refusal(error), (400, "QUOTA_EXCEEDED"));
    }
    assert_eq!(used(&server, org).await, LIMIT);

    server.kill();
    server.restart(Port::Same).await;
    let client = server.client();
    assert_eq!(used(&server, org).await, LIMIT);
    let over = client.create(&named("one-more")).await.unwrap_err();
    assert_eq!(refusal(&over), (400, "QUOTA_EXCEEDED"));
    client.delete(&first.id).await.unwrap();
    make(&client, "one-more").await;
    // The deleted one is shown for as long as the host has something of it.
    wait::until("as many as there may be", async || {
        let listed = client.list(&ListFilter::default()).await.unwrap();
        if listed.len() == LIMIT {
            Ok(())
        } else {
            Err(listed.len())
        }
    })
    .await;
    server.finish().await;
}

/// Processors that count against the limit.
async fn used(server: &TestServer, org: &str) -> usize {
    let path = format!("/api/organizations/{org}/usage");
    let usage: Value = server.raw().ask("GET", &path, "").await.json();
    let used = &usage["regionUsage"][0]["currentCpuUsage"];
    usize::try_from(used.as_u64().unwrap()).unwrap()
}
