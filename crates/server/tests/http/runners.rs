//! Hosts that sandboxes run on.

use std::time::Duration;

use alcove_testkit::{TestControl, TestStore, eventually};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

/// The runner that is part of the server.
async fn built_in(server: &Server) -> Value {
    let all = server.ask("GET", "/api/runners").await.ok();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    all[0].clone()
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

async fn schedule(server: &Server, unschedulable: bool) -> Answer {
    let path = format!("/api/runners/{}/scheduling", id(&built_in(server).await));
    let body = json!({"unschedulable": unschedulable});
    server.put("PATCH", &path, body).await
}

async fn drain(server: &Server, draining: bool) -> Value {
    let path = format!("/api/runners/{}/draining", id(&built_in(server).await));
    let changed = server.put("PATCH", &path, json!({"draining": draining}));
    changed.await.ok()
}

/// A region of the caller's own, with a runner in it: the ids of both, and the runner's key.
async fn registered(server: &Server) -> (String, String, String) {
    let region = server.put("POST", "/api/regions", json!({"name": "lab"}));
    let region = id(&region.await.json()).to_owned();
    let body = json!({"regionId": region, "name": "rack-1", "tags": ["ssd"]});
    let made = server.put("POST", "/api/runners", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    let key = made["apiKey"].as_str().unwrap().to_owned();
    (region, id(&made).to_owned(), key)
}

fn assert_refused(answer: &Answer, code: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    assert_eq!(answer.json()["code"], code, "{}", answer.text);
}

#[tokio::test]
async fn the_servers_own_runner_tells_what_the_host_has_and_what_was_promised() {
    let server = Server::start().await;
    let before = built_in(&server).await;
    server.create(json!({"name": "box"})).await;
    let runner = built_in(&server).await;
    for (field, value) in [
        ("cpu", json!(8.0)),
        ("memory", json!(32.0)),
        ("disk", json!(500.0)),
        ("currentCpuUsagePercentage", json!(50.0)),
        ("currentAllocatedCpu", json!(1.0)),
        ("currentAllocatedMemoryGiB", json!(1.0)),
        ("currentAllocatedDiskGiB", json!(3.0)),
        ("currentSnapshotCount", json!(1)),
        ("currentStartedSandboxes", json!(1)),
        ("region", json!("us")),
        ("state", json!("ready")),
        ("unschedulable", json!(false)),
        ("draining", json!(false)),
        ("tags", json!([])),
        ("apiVersion", json!("2")),
        ("appVersion", json!("fake-1")),
        (
            "capabilities",
            json!({
                "architecture": "x86_64",
                "can": ["pause", "reflink", "networkPolicies", "volumes", "snapshots", "builds"],
            }),
        ),
    ] {
        assert_eq!(runner.get(field), Some(&value), "{field} of {runner}");
    }
    let score = runner["availabilityScore"].as_u64().unwrap();
    assert!((1..100).contains(&score), "{score}");
    assert_eq!(id(&runner), id(&before));

    let path = format!("/api/runners/{}", id(&runner));
    assert_eq!(id(&server.ask("GET", &path).await.ok()), id(&runner));
    let full = server.ask("GET", &format!("{path}/full")).await.ok();
    assert_eq!(full["regionType"], "shared");
    assert_eq!(full["apiKey"], "");
    let by_sandbox = server.ask("GET", "/api/runners/by-sandbox/box").await.ok();
    assert_eq!(id(&by_sandbox), id(&runner));
    let by_image = "/api/runners/by-snapshot-ref?ref=sha256:default";
    let by_image = server.ask("GET", by_image).await.ok();
    assert_eq!(by_image[0]["runnerId"], runner["id"]);
    let none = server.ask("GET", "/api/runners/by-snapshot-ref?ref=none");
    assert_eq!(none.await.ok(), json!([]));
}

#[tokio::test]
async fn a_runner_that_does_not_answer_is_unresponsive_after_a_minute() {
    let server = Server::start().await;
    assert_eq!(built_in(&server).await["state"], "ready");
    server.kit.runner.kill();
    server.kit.clock.advance(Duration::from_secs(61));
    assert_eq!(built_in(&server).await["state"], "unresponsive");
    server.kit.runner.revive();
    assert_eq!(built_in(&server).await["state"], "ready");
}

#[tokio::test]
async fn how_the_servers_hosts_are_is_nothing_for_its_users() {
    let server = Server::start().await;
    let path = format!("/api/runners/{}", id(&built_in(&server).await));
    let (_, stranger) = server.kit.add_stranger("sven").await;
    let all = server.ask_as(&stranger, "GET", "/api/runners").await;
    assert_eq!(all.ok(), json!([]));
    for (method, tail, status) in [
        ("GET", "", StatusCode::NOT_FOUND),
        ("DELETE", "", StatusCode::NOT_FOUND),
        ("GET", "/full", StatusCode::FORBIDDEN),
    ] {
        let path = format!("{path}{tail}");
        let asked = server.ask_as(&stranger, method, &path).await;
        assert_eq!(asked.status, status, "{method} {tail}");
    }
    let body = json!({"unschedulable": true, "draining": true});
    for tail in ["/scheduling", "/draining"] {
        let path = format!("{path}{tail}");
        let asked = server.put_as(&stranger, "PATCH", &path, body.clone()).await;
        assert_eq!(asked.status, StatusCode::NOT_FOUND, "{tail}");
    }
}

#[tokio::test]
async fn the_servers_own_runner_cannot_be_deleted() {
    let server = Server::start().await;
    schedule(&server, true).await.ok();
    let path = format!("/api/runners/{}", id(&built_in(&server).await));
    for path in [path.clone(), format!("{path}?force=true")] {
        let refused = server.ask("DELETE", &path).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
        assert!(refused.text.contains("part of the server"));
    }
}

#[tokio::test]
async fn a_closed_runner_takes_no_new_sandboxes_and_starts_what_it_has() {
    let server = Server::start().await;
    server.create(json!({"name": "kept"})).await;
    server.create(json!({"name": "parent"})).await;
    let stop = async |name: &str| {
        let path = format!("/api/sandbox/{name}/stop");
        server.ask("POST", &path).await.ok()
    };
    stop("kept").await;
    let closed = schedule(&server, true).await.ok();
    assert_eq!(closed["unschedulable"], true);
    let no_runners = "NO_AVAILABLE_RUNNERS";
    for (path, body) in [
        ("/api/sandbox", json!({})),
        (
            "/api/sandbox",
            json!({"buildInfo": {"dockerfileContent": "FROM busybox\n"}}),
        ),
        ("/api/workspace", json!({})),
        ("/api/sandbox/parent/fork", json!({"name": "child"})),
    ] {
        assert_refused(&server.put("POST", path, body).await, no_runners);
    }
    server.ask("POST", "/api/sandbox/kept/start").await.ok();
    stop("kept").await;
    server.ask("POST", "/api/sandbox/kept/archive").await.ok();
    eventually("it is archived", async || {
        let kept = server.ask("GET", "/api/sandbox/kept").await.ok();
        kept["state"] == "archived"
    })
    .await;
    let start = "/api/sandbox/kept/start";
    assert_refused(&server.ask("POST", start).await, no_runners);

    schedule(&server, false).await.ok();
    server.ask("POST", start).await.ok();
    server.create(json!({})).await;
}

#[tokio::test]
async fn a_closed_runner_is_the_same_one_and_closed_after_a_restart() {
    let kit = TestControl::open().await;
    let all = kit.control.list_runners(&kit.caller, None).await.unwrap();
    let runner = all[0].runner.id.to_string();
    let closed = kit.control.set_unschedulable(&kit.caller, &runner, true);
    closed.await.unwrap();
    let server = Server::over(kit.kill().await.open().await);
    let shown = built_in(&server).await;
    assert_eq!(
        (&shown["id"], &shown["unschedulable"]),
        (&json!(runner), &json!(true))
    );
    let refused = server.put("POST", "/api/sandbox", json!({})).await;
    assert_refused(&refused, "NO_AVAILABLE_RUNNERS");
}

#[tokio::test]
async fn a_drained_runner_archives_what_is_stopped_and_is_decommissioned_once_it_is_empty() {
    let mut store = TestStore::default();
    store.settings.draining.stops = true;
    let server = Server::over(store.open().await);
    for name in ["stopped", "running"] {
        server.create(json!({"name": name})).await;
    }
    server.ask("POST", "/api/sandbox/stopped/stop").await.ok();
    let drained = drain(&server, true).await;
    assert_eq!(
        (&drained["draining"], &drained["state"]),
        (&json!(true), &json!("ready"))
    );
    let start = "/api/sandbox/stopped/start";
    assert_refused(&server.ask("POST", start).await, "NO_AVAILABLE_RUNNERS");
    eventually("it is empty", async || {
        server.kit.clock.advance(Duration::from_secs(10));
        built_in(&server).await["state"] == "decommissioned"
    })
    .await;
    for name in ["stopped", "running"] {
        let path = format!("/api/sandbox/{name}");
        assert_eq!(server.ask("GET", &path).await.ok()["state"], "archived");
    }
    let refused = server.put("POST", "/api/sandbox", json!({})).await;
    assert_refused(&refused, "NO_AVAILABLE_RUNNERS");

    let back = drain(&server, false).await;
    assert_eq!(
        (&back["draining"], &back["state"]),
        (&json!(false), &json!("ready"))
    );
    server.ask("POST", start).await.ok();
    server.create(json!({})).await;
}

#[tokio::test]
async fn a_drained_runner_leaves_alone_what_the_operator_wants_kept() {
    let mut store = TestStore::default();
    store.settings.draining.archives = false;
    let server = Server::over(store.open().await);
    for name in ["stopped", "running"] {
        server.create(json!({"name": name})).await;
    }
    server.ask("POST", "/api/sandbox/stopped/stop").await.ok();
    drain(&server, true).await;
    // Both would have gone by now.
    for _ in 0..10 {
        server.kit.clock.advance(Duration::from_secs(10));
        built_in(&server).await;
    }
    assert_eq!(built_in(&server).await["state"], "ready");
    for (name, state) in [("stopped", "stopped"), ("running", "started")] {
        let path = format!("/api/sandbox/{name}");
        assert_eq!(server.ask("GET", &path).await.ok()["state"], state);
    }
}

#[tokio::test]
async fn a_registered_runner_says_how_it_is_and_is_never_placed_on() {
    let server = Server::start().await;
    let (region, runner, key) = registered(&server).await;
    let path = format!("/api/runners/{runner}");
    let shown = server.ask("GET", &path).await.ok();
    assert_eq!(
        (&shown["state"], &shown["tags"], &shown["region"]),
        (&json!("initializing"), &json!(["ssd"]), &json!(region))
    );
    assert_eq!(shown.get("availabilityScore"), None);
    let beat = json!({
        "appVersion": "0.9", "domain": "rack-1.lab", "apiUrl": "http://rack-1.lab:3003",
        "metrics": {
            "currentCpuLoadAverage": 0.1, "currentCpuUsagePercentage": 5, "currentMemoryUsagePercentage": 10,
            "currentDiskUsagePercentage": 20.5, "currentAllocatedCpu": 0, "currentAllocatedMemoryGiB": 0,
            "currentAllocatedDiskGiB": 0, "currentSnapshotCount": 0, "currentStartedSandboxes": 0,
            "cpu": 16, "memoryGiB": 64, "diskGiB": 1000, "gpu": 1, "gpuType": "H100"
        }
    });
    let heartbeat = "/api/runners/healthcheck";
    let heard = server.put_as(&key, "POST", heartbeat, beat.clone()).await;
    assert_eq!(heard.status, StatusCode::OK, "{}", heard.text);
    let me = server.ask_as(&key, "GET", "/api/runners/me").await.ok();
    for (field, value) in [
        ("id", json!(runner)),
        ("state", json!("ready")),
        ("regionType", json!("custom")),
        ("apiKey", json!("")),
        ("cpu", json!(16.0)),
        ("memory", json!(64.0)),
        ("disk", json!(1000.0)),
        ("gpu", json!(1)),
        ("gpuType", json!("H100")),
        ("currentDiskUsagePercentage", json!(20.5)),
        ("domain", json!("rack-1.lab")),
        ("appVersion", json!("0.9")),
    ] {
        assert_eq!(me.get(field), Some(&value), "{field} of {me}");
    }
    let refused = server
        .put("POST", "/api/sandbox", json!({"target": "lab"}))
        .await;
    assert_refused(&refused, "NO_AVAILABLE_RUNNERS");

    let state = async || server.ask("GET", &path).await.ok()["state"].clone();
    server.kit.clock.advance(Duration::from_secs(61));
    assert_eq!(state().await, "unresponsive");
    let mut sick = beat;
    sick["serviceHealth"] = json!([
        {"serviceName": "engine", "healthy": false, "errorReason": "is gone"},
        {"serviceName": "disk", "healthy": true}
    ]);
    server.put_as(&key, "POST", heartbeat, sick).await;
    let shown = server.ask("GET", &path).await.ok();
    assert_eq!(
        (&shown["state"], &shown["errorReason"]),
        (&json!("unresponsive"), &json!("engine: is gone"))
    );
    let wrong = server.put_as(&key, "POST", heartbeat, json!({"metrics": {"cpu": 1}}));
    assert_eq!(wrong.await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_runner_has_a_name_of_its_own_in_a_region_of_its_own_organization() {
    let server = Server::start().await;
    let (region, ..) = registered(&server).await;
    let (_, stranger) = server.kit.add_stranger("sven").await;
    for (key, body, status) in [
        (
            &server.kit.key,
            json!({"regionId": region, "name": "rack-1"}),
            StatusCode::CONFLICT,
        ),
        (
            &server.kit.key,
            json!({"regionId": "us", "name": "rack-2"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            &server.kit.key,
            json!({"regionId": "none", "name": "rack-2"}),
            StatusCode::NOT_FOUND,
        ),
        (
            &server.kit.key,
            json!({"regionId": region, "name": "a b"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            &server.kit.key,
            json!({"regionId": region, "name": "rack-2", "sandboxClass": "windows"}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            &stranger,
            json!({"regionId": region, "name": "rack-2"}),
            StatusCode::NOT_FOUND,
        ),
    ] {
        let case = body.to_string();
        let asked = server.put_as(key, "POST", "/api/runners", body).await;
        assert_eq!(asked.status, status, "{case}: {}", asked.text);
    }
}

#[tokio::test]
async fn the_administrator_registers_a_runner_with_a_key_that_no_other_has() {
    let server = Server::start().await;
    let key = "0123456789abcdef0123456789abcdef";
    let body = |name: &str, version: &str| json!({"regionId": "us", "name": name, "apiKey": key, "apiVersion": version, "cpu": 4, "memoryGiB": 8.5, "diskGiB": 100, "domain": "rack.lab"});
    let path = "/api/admin/runners";
    let make =
        async |name: &str, version: &str| server.put("POST", path, body(name, version)).await;
    assert_eq!(
        make("rack-0", "0").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let first = make("rack-1", "2").await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert_eq!(first.json()["apiKey"], key);
    assert_eq!(make("rack-2", "2").await.status, StatusCode::CONFLICT);
    let me = server.ask_as(key, "GET", "/api/runners/me").await.ok();
    assert_eq!(
        (&me["memory"], &me["domain"], &me["regionType"]),
        (&json!(8.5), &json!("rack.lab"), &json!("shared"))
    );
    let all = server.ask("GET", path).await.ok();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let elsewhere = server.ask("GET", &format!("{path}?regionId=lab")).await;
    assert_eq!(elsewhere.ok(), json!([]));
}

#[tokio::test]
async fn a_deleted_runner_is_told_nothing_any_more() {
    let server = Server::start().await;
    let (region, runner, key) = registered(&server).await;
    let path = format!("/api/runners/{runner}");
    let beat = json!({"appVersion": "1"});
    server
        .put_as(&key, "POST", "/api/runners/healthcheck", beat)
        .await;
    for path in [path.clone(), format!("{path}?force=true")] {
        let refused = server.ask("DELETE", &path).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    }
    let region = format!("/api/regions/{region}");
    let refused = server.ask("DELETE", &region).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let closed = json!({"unschedulable": true});
    server
        .put("PATCH", &format!("{path}/scheduling"), closed)
        .await
        .ok();
    let deleted = server.ask("DELETE", &path).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
    for path in ["/api/runners/me", "/api/jobs/poll"] {
        let asked = server.ask_as(&key, "GET", path).await;
        assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let deleted = server.ask("DELETE", &region).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
}

#[tokio::test]
async fn a_runner_without_work_is_held_until_its_time_is_up() {
    let server = Server::start().await;
    let (_, _, key) = registered(&server).await;
    let poll = server.ask_as(&key, "GET", "/api/jobs/poll?timeout=20");
    tokio::pin!(poll);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut poll);
    assert!(early.await.is_err(), "it was not held");
    server.kit.clock.advance(Duration::from_secs(20));
    assert_eq!(poll.await.ok(), json!({"jobs": []}));

    for (path, status) in [
        ("/api/jobs/poll?timeout=61", StatusCode::BAD_REQUEST),
        (
            "/api/jobs/poll?timeout=0&limit=101",
            StatusCode::BAD_REQUEST,
        ),
        ("/api/jobs?status=LATE", StatusCode::BAD_REQUEST),
        ("/api/jobs/none", StatusCode::NOT_FOUND),
        (
            "/api/sandbox/for-runner?states=odd",
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let asked = server.ask_as(&key, "GET", path).await;
        assert_eq!(asked.status, status, "{path}: {}", asked.text);
    }
    let jobs = server.ask_as(&key, "GET", "/api/jobs?status=PENDING").await;
    assert_eq!(
        jobs.ok(),
        json!({"items": [], "total": 0, "page": 1, "totalPages": 0})
    );
    let path = "/api/sandbox/for-runner?states=started,stopped";
    assert_eq!(server.ask_as(&key, "GET", path).await.ok(), json!([]));
}

#[tokio::test]
async fn the_report_of_a_runner_that_has_no_sandboxes_changes_none() {
    let server = Server::start().await;
    let (_, _, key) = registered(&server).await;
    let made = server.create(json!({})).await;
    let path = format!("/api/sandbox/{}", id(&made));
    let report = json!({"state": "error", "errorReason": "gone"});
    let told = server
        .put_as(&key, "PUT", &format!("{path}/state"), report)
        .await;
    assert_eq!(told.status, StatusCode::NOT_FOUND, "{}", told.text);
    assert_eq!(server.ask("GET", &path).await.ok()["state"], "started");
}

#[tokio::test]
async fn an_image_can_be_cleaned_up_when_no_snapshot_and_no_sandbox_is_of_it() {
    let server = Server::start().await;
    for path in ["/api/admin/snapshots", "/api/snapshots"] {
        for (image, can) in [("sha256:default", false), ("sha256:none", true)] {
            let path = format!("{path}/can-cleanup-image?imageName={image}");
            assert_eq!(server.ask("GET", &path).await.ok(), json!(can), "{path}");
        }
        let path = format!("{path}/can-cleanup-image");
        let asked = server.ask("GET", &path).await;
        assert_eq!(asked.status, StatusCode::BAD_REQUEST);
    }
}
