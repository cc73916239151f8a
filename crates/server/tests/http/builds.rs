//! Snapshots that are built, over HTTP.

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
            json!({"name": "x", "buildInfo": {"dockerfileContent": "FROM default\nADD http://x /y\n"}}),
            "line 2",
        ),
        (json!({"name": "x", "buildInfo": {}}), "dockerfileContent"),
        (
            json!({"name": "x", "entrypoint": ["a"], "buildInfo": {"dockerfileContent": "FROM default\n"}}),
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
