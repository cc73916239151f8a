//! Snapshots that are built, over HTTP.

use alcove_testkit::eventually;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

async fn create(server: &Server, body: Value) -> crate::support::Answer {
    server.put("POST", "/api/snapshots", body).await
}

#[tokio::test]
async fn a_snapshot_is_built_shown_and_its_log_read() {
    let server = Server::start().await;
    let body =
        json!({"name": "mine:1", "cpu": 2, "buildInfo": {"dockerfileContent": "FROM default\n"}});
    let made = create(&server, body).await.ok();
    assert_eq!(
        (&made["state"], &made["cpu"]),
        (&json!("building"), &json!(2))
    );
    let id = made["id"].as_str().unwrap().to_owned();
    let url = server
        .ask("GET", "/api/snapshots/mine%3A1/build-logs-url")
        .await
        .ok();
    let url = url["url"].as_str().unwrap();
    let tail = format!("/api/snapshots/{id}/build-logs");
    assert!(
        url.starts_with("http") && url.ends_with(&tail) && !url.contains('?'),
        "{url}"
    );
    // Who follows a build that is under way looks again after a time, and this clock stands still.
    eventually("the build is over", async || {
        let snapshot = server.ask("GET", "/api/snapshots/mine%3A1").await.ok();
        snapshot["state"] != "building"
    })
    .await;
    for path in [tail.clone(), format!("{tail}?follow=true")] {
        let log = server.ask("GET", &path).await;
        assert_eq!(log.status, StatusCode::OK);
        assert_eq!(log.headers["content-type"], "text/plain; charset=utf-8");
        assert!(log.text.starts_with("log of "), "{}", log.text);
    }
    let none = server
        .ask("GET", "/api/snapshots/default/build-logs-url")
        .await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_wrong_with_a_snapshot_is_named() {
    let server = Server::start().await;
    for (body, words) in [
        (json!({"name": "x"}), "Must specify"),
        (
            json!({"name": "x", "imageName": "a:1", "buildInfo": {"dockerfileContent": "FROM default\n"}}),
            "image name",
        ),
        (
            json!({"name": "x", "buildInfo": {"dockerfileContent": "FROM default\nCOPY http://x /y\n"}}),
            "line 2",
        ),
        (json!({"name": "x", "buildInfo": {}}), "dockerfileContent"),
        (
            json!({"name": "x", "entrypoint": [""], "buildInfo": {"dockerfileContent": "FROM default\n"}}),
            "entrypoint",
        ),
        (
            json!({"buildInfo": {"dockerfileContent": "FROM default\n"}}),
            "name",
        ),
    ] {
        let answer = create(&server, body.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{body}: {}",
            answer.text
        );
        assert!(answer.text.contains(words), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_sandbox_is_made_of_what_is_built_for_it() {
    let server = Server::start().await;
    let body = json!({"name": "box", "cpu": 2, "buildInfo": {"dockerfileContent": "FROM default\n", "contextHashes": ["0a"]}});
    let made = server.put("POST", "/api/sandbox", body).await.ok();
    assert_eq!(made["state"], "pending_build");
    assert_eq!((&made["cpu"], &made["snapshot"]), (&json!(2), &Value::Null));
    let reference = made["buildInfo"]["snapshotRef"].as_str().unwrap();
    assert!(reference.starts_with("daytona-") && reference.ends_with(":daytona"));
    alcove_testkit::eventually("it runs", async || {
        server.ask("GET", "/api/sandbox/box").await.ok()["state"] == "started"
    })
    .await;
    let shown = server.ask("GET", "/api/sandbox/box").await.ok();
    assert_eq!(shown["buildInfo"]["dockerfileContent"], "FROM default\n");
    assert_eq!(shown["buildInfo"]["contextHashes"], json!(["0a"]));
    let url = server
        .ask("GET", "/api/sandbox/box/build-logs-url")
        .await
        .ok();
    let url = url["url"].as_str().unwrap().to_owned();
    let tail = format!("/api/sandbox/{}/build-logs", made["id"].as_str().unwrap());
    assert!(
        url.starts_with("http") && url.ends_with(&tail) && !url.contains('?'),
        "{url}"
    );
    for path in [
        tail.clone(),
        format!("{tail}?follow=true"),
        "/api/workspace/box/build-logs".to_owned(),
    ] {
        let log = server.ask("GET", &path).await;
        assert_eq!(log.status, StatusCode::OK);
        assert_eq!(log.headers["content-type"], "text/plain; charset=utf-8");
        assert!(log.text.starts_with("log of "), "{}", log.text);
    }
    let other = server.create(json!({})).await;
    for tail in ["build-logs", "build-logs-url"] {
        let path = format!("/api/sandbox/{}/{tail}", other["id"].as_str().unwrap());
        assert_eq!(server.ask("GET", &path).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_sandbox_to_be_built_is_named() {
    let server = Server::start().await;
    let build = json!({"dockerfileContent": "FROM default\n"});
    for (body, words) in [
        (
            json!({"buildInfo": build, "snapshot": "default"}),
            "Cannot specify a snapshot",
        ),
        (
            json!({"buildInfo": build, "image": "default"}),
            "Cannot specify an image",
        ),
        (json!({"buildInfo": build, "disk": 0}), "disk"),
        (json!({"buildInfo": {}}), "dockerfileContent"),
        (
            json!({"buildInfo": {"dockerfileContent": "FROM default\nNO x\n"}}),
            "line 2",
        ),
    ] {
        let answer = server.put("POST", "/api/sandbox", body.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{body}: {}",
            answer.text
        );
        assert!(answer.text.contains(words), "{body}: {}", answer.text);
    }
}
