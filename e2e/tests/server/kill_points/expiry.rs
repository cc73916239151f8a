//! Snapshots that go by themselves: when their time is over, and when newer ones take their place.

use std::collections::BTreeSet;

use alcove_e2e::server::TestServer;
use alcove_e2e::wait;
use alcove_store::Store;
use http::StatusCode;
use serde_json::{Value, json};

use super::images::REMOVING;
use super::{CONTROL, delete_and_wait, images_are_tidy, layers, snapshot, snapshot_goes};
use crate::support::run;

const DAY_MS: u64 = 86_400_000;

async fn ask(server: &TestServer, method: &str, path: &str, body: Value) -> Value {
    let answer = server.raw().ask(method, path, body.to_string()).await;
    assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    answer.json()
}

/// A sandbox as clients of Vercel Sandbox make it; its session.
async fn session(server: &TestServer, name: &str, more: Value) -> String {
    let mut body = json!({"projectId": "expiry", "name": name, "ports": []});
    let (Value::Object(all), Value::Object(more)) = (&mut body, more) else {
        panic!("no objects");
    };
    all.extend(more);
    let made = ask(server, "POST", "/api/v3/sandboxes", body).await;
    made["session"]["id"].as_str().unwrap().to_owned()
}

/// Makes a snapshot of a session, which ends with it.
async fn keep(server: &TestServer, session: &str, wanted: Value) -> String {
    let path = format!("/api/v2/sandboxes/sessions/{session}/snapshot");
    let made = ask(server, "POST", &path, wanted).await;
    made["snapshot"]["id"].as_str().unwrap().to_owned()
}

/// A snapshot with this note in it and a day to live, whose sandbox is gone.
async fn note(server: &TestServer, name: &str) -> String {
    let session = session(server, name, json!({})).await;
    run(&server.client(), name, &format!("echo {name} > ~/note")).await;
    let id = keep(server, &session, json!({"expiration": DAY_MS})).await;
    delete_and_wait(server, name).await;
    id
}

/// Lets the time of a snapshot be over, while no server runs.
async fn age(server: &TestServer, id: &str) {
    let path = server.instance.data_dir().join("alcove.db");
    let store = Store::open(&path).await.unwrap();
    let tx = store.begin().await.unwrap();
    let found = tx.snapshot_get(&id.parse().unwrap()).await.unwrap();
    let mut snapshot = found.unwrap();
    assert!(snapshot.expires_at.is_some());
    snapshot.expires_at = Some(snapshot.created_at);
    tx.snapshot_update(&snapshot).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
}

async fn layers_become(server: &TestServer, wanted: &BTreeSet<String>) {
    wait::until("the layers that are needed", async || {
        let found = layers(server);
        if found == *wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_whose_time_is_over_goes_also_if_a_kill_comes_anywhere_between() {
    let mut server = TestServer::start().await;
    let kept = note(&server, "kept").await;
    images_are_tidy(&server).await;
    let before = layers(&server);
    for (round, place) in REMOVING.iter().chain(&CONTROL).enumerate() {
        let id = note(&server, &format!("note-{round}")).await;
        server.kill();
        age(&server, &id).await;
        // It finds what is to go as soon as it starts, and so may die before it is ready.
        server.setup.kill_at = Some((*place).to_owned());
        server.launch();
        server.dies_and_restarts().await;
        snapshot_goes(&server, &id).await;
        layers_become(&server, &before).await;
        images_are_tidy(&server).await;
    }
    // The control: the one with time left is there, whole.
    assert_eq!(snapshot(&server, &kept).await.unwrap()["state"], "active");
    let source = json!({"source": {"type": "snapshot", "snapshotId": kept}});
    session(&server, "again", source).await;
    assert_eq!(run(&server.client(), "again", "cat ~/note").await, "kept\n");
    server.finish().await;
}

#[tokio::test]
async fn an_older_snapshot_goes_when_a_newer_one_takes_its_place() {
    let server = TestServer::start().await;
    let newest = json!({"keepLastSnapshots": {"count": 1}, "persistent": true});
    let first = session(&server, "box", newest).await;
    let older = keep(&server, &first, json!({})).await;
    assert!(snapshot(&server, &older).await.is_some(), "the control");
    let path = "/api/v2/sandboxes/box?projectId=expiry&resume=true";
    let resumed = server.raw().ask("GET", path, "").await;
    assert_eq!(resumed.status, StatusCode::OK, "{resumed:?}");
    let second = resumed.json()["session"]["id"].as_str().unwrap().to_owned();
    run(&server.client(), "box", "echo newer > ~/note").await;
    let newer = keep(&server, &second, json!({})).await;
    snapshot_goes(&server, &older).await;
    images_are_tidy(&server).await;
    assert_eq!(snapshot(&server, &newer).await.unwrap()["state"], "active");
    server.finish().await;
}
