//! Warm pools, with real sandboxes and a server that is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use alcove_client::ListFilter;
use alcove_e2e::server::{Port, Setup, TestServer};
use alcove_e2e::wait;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{counter_goes_on, execute, make, named, run, start_counter, within};

async fn warm_server() -> TestServer {
    TestServer::start_with(Setup {
        // Room for sixteen members.
        warm_pool_mib: 64,
        ..Setup::default()
    })
    .await
}

/// Asks for a pool and waits until its members are there.
async fn pool(server: &TestServer, size: u64) -> String {
    let body = json!({"snapshot": "default", "pool": size}).to_string();
    let made = server.raw().ask("POST", "/api/warm-pools", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    filled(server, size).await;
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn filled(server: &TestServer, size: u64) {
    wait::until("a pool with its members", async || {
        let pools = server.raw().ask("GET", "/api/warm-pools", "").await.json();
        if pools[0]["currentSize"] == size {
            Ok(())
        } else {
            Err(pools)
        }
    })
    .await;
}

async fn drain(server: &TestServer, pool: &str) {
    let path = format!("/api/warm-pools/{pool}");
    let drained = server.raw().ask("PATCH", &path, r#"{"pool": 0}"#).await;
    assert_eq!(drained.status, 200, "{drained:?}");
}

/// What tells of a sandbox, without what is different for every one.
fn plain(mut sandbox: Value) -> Value {
    let fields = sandbox.as_object_mut().unwrap();
    for own in [
        "id",
        "organizationId",
        "toolboxProxyUrl",
        "createdAt",
        "updatedAt",
        "lastActivityAt",
        "autoDestroyAt",
    ] {
        let value = fields.remove(own);
        assert!(value.is_some_and(|value| value.is_string()), "{own}");
    }
    sandbox
}

#[tokio::test]
async fn a_create_from_the_pool_is_a_create_in_all_that_can_be_seen() {
    let (warm, usual) = (warm_server().await, TestServer::start().await);
    let id = pool(&warm, 1).await;
    let members = warm.instance.sandboxes();
    assert_eq!(members.len(), 1);
    let request = json!({
        "name": "box", "user": "root", "env": {"A": "1", "B": "two words"}, "labels": {"k": "v"}, "public": true,
        "autoStopInterval": 7, "autoArchiveInterval": 60, "autoDeleteInterval": 90, "ttlMinutes": 600,
    });
    let mut seen = Vec::new();
    for server in [&warm, &usual] {
        let client = server.client();
        assert!(
            client
                .list(&ListFilter::default())
                .await
                .unwrap()
                .is_empty()
        );
        let created = server
            .raw()
            .ask("POST", "/api/sandbox", request.to_string())
            .await;
        assert_eq!(created.status, 200, "{created:?}");
        let created = created.json();
        let own = created["id"].as_str().unwrap().to_owned();
        let listed = server.raw().ask("GET", "/api/sandbox/box", "").await.json();
        let org = created["organizationId"].as_str().unwrap();
        let usage = format!("/api/organizations/{org}/usage");
        let usage = server.raw().ask("GET", &usage, "").await.json();
        let look = "env | sort; hostname; cat /etc/hostname /etc/hosts; id; pwd; cat /proc/1/comm; ls -a / ~; \
                    grep -v 'file locks' /proc/self/limits; grep -E '^(Cap|Sec|NoNew)' /proc/self/status; df -k / /dev/shm | awk '{print $2}'";
        let inside = run(&client, "box", look).await;
        let metrics = server
            .raw()
            .ask("GET", &format!("/toolbox/{own}/system/metrics"), "")
            .await
            .json();
        let inside = inside.replace(&own, "ID").replace(org, "ORG");
        let limits = (metrics["memTotal"].clone(), metrics["cpuCount"].clone());
        seen.push((own, plain(created), plain(listed), usage, inside, limits));
    }
    assert_eq!(
        BTreeSet::from([seen[0].0.clone()]),
        members,
        "it was the member"
    );
    assert_eq!(seen[0].1, seen[1].1);
    assert_eq!(seen[0].2, seen[1].2);
    assert_eq!(seen[0].3, seen[1].3);
    for (one, other) in seen[0].4.lines().zip(seen[1].4.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(seen[0].5, seen[1].5);
    drain(&warm, &id).await;
    for server in [warm, usual] {
        let client = server.client();
        client.stop("box", false).await.unwrap();
        client.start("box").await.unwrap();
        assert_eq!(run(&client, "box", "echo $A $B").await, "1 two words\n");
        client.delete("box").await.unwrap();
        wait::until("a host without sandboxes", async || {
            let left = server.instance.sandboxes();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        server.finish().await;
    }
}

#[tokio::test]
async fn demand_makes_members_and_a_burst_beyond_them_is_served_all_the_same() {
    let server = warm_server().await;
    let client = server.client();
    make(&client, "first").await;
    wait::until("a member", async || {
        let known = server.instance.sandboxes();
        if known.len() == 2 { Ok(()) } else { Err(known) }
    })
    .await;
    let mut creates = JoinSet::new();
    for number in 0..10 {
        let client = client.clone();
        creates.spawn(async move {
            let name = format!("box-{number}");
            let sandbox = make(&client, &name).await;
            assert_eq!(run(&client, &name, "hostname").await.trim(), sandbox.id);
            sandbox.id
        });
    }
    let ids: BTreeSet<String> = within("the creates", Duration::from_mins(1), creates.join_all())
        .await
        .into_iter()
        .collect();
    assert_eq!(ids.len(), 10);
    assert_eq!(client.list(&ListFilter::default()).await.unwrap().len(), 11);
    server.finish().await;
}

#[tokio::test]
async fn members_end_with_a_killed_server_and_what_was_acknowledged_stays() {
    let mut server = warm_server().await;
    pool(&server, 3).await;
    let kept = make(&server.client(), "kept").await;
    let counter = start_counter(&server.client(), "kept").await;
    filled(&server, 3).await;
    let mut members = server.instance.sandboxes();
    members.remove(&kept.id);
    let mut expected = vec!["kept".to_owned()];
    for round in 0..6 {
        // Creates are under way when the server is killed, at another moment each time.
        let client = server.client();
        let mut creates = JoinSet::new();
        for number in 0..4 {
            let (client, name) = (client.clone(), format!("box-{round}-{number}"));
            creates.spawn(async move { client.create(&named(&name)).await.map(|_| name) });
        }
        tokio::time::sleep(Duration::from_millis(3 + 9 * round)).await;
        server.kill();
        let answers = within("answers", Duration::from_mins(1), creates.join_all()).await;
        expected.extend(answers.into_iter().filter_map(Result::ok));
        server.restart(Port::Same).await;
        let client = server.client();
        for name in &expected {
            let answer = execute(&client, name, "echo there").await.unwrap();
            assert_eq!(answer.result, "there\n", "{name}");
        }
        let listed = client.list(&ListFilter::default()).await.unwrap();
        let ids: BTreeSet<String> = listed.iter().map(|item| item.id.clone()).collect();
        assert_eq!(ids.len(), listed.len());
        filled(&server, 3).await;
        wait::until("sandboxes and members, and nobody else", async || {
            let known = server.instance.sandboxes();
            let strangers: Vec<_> = known.difference(&ids).cloned().collect();
            let is_old = strangers.iter().any(|id| members.contains(id));
            if strangers.len() == 3 && !is_old && ids.is_subset(&known) {
                members = strangers.into_iter().collect();
                Ok(())
            } else {
                Err((strangers, listed.len()))
            }
        })
        .await;
    }
    counter_goes_on(&server.client(), "kept", &counter).await;
    assert!(
        !server.log().contains("was not what the ledger said"),
        "the ledger is what counting gives"
    );
    server.finish().await;
}

#[tokio::test]
async fn members_are_made_and_taken_when_the_spawner_was_killed() {
    let server = warm_server().await;
    pool(&server, 2).await;
    for spawner in server.instance.spawners() {
        kill_process(Pid::from_raw(spawner).unwrap(), Signal::KILL).unwrap();
    }
    let client = server.client();
    for number in 0..5 {
        let name = format!("box-{number}");
        let sandbox = make(&client, &name).await;
        assert_eq!(run(&client, &name, "hostname").await.trim(), sandbox.id);
    }
    filled(&server, 2).await;
    server.finish().await;
}
