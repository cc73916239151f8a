//! What clients up to 0.20 ask, as they ask it.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

/// The newest of them tell no version either.
async fn make(server: &Server, body: Value) -> Value {
    server.put("POST", "/api/workspace", body).await.ok()
}

#[tokio::test]
async fn the_id_that_the_client_chose_is_the_one_it_reads_and_goes_on_with() {
    let server = Server::start().await;
    let made = make(
        &server,
        json!({"id": "sandbox-0123abcd", "name": "sandbox-0123abcd", "target": "local"}),
    )
    .await;
    assert_eq!(made["id"], "sandbox-0123abcd");
    assert_eq!(made["state"], "started");
    assert_eq!(made["image"], "default");
    assert_eq!(made["autoArchiveInterval"], 10_080);
    // Axios joins a base that ends in a slash.
    let read = server.ask("GET", "/api//workspace/sandbox-0123abcd").await;
    assert_eq!(read.ok()["id"], "sandbox-0123abcd");
    let again = json!({"id": "sandbox-0123abcd", "name": "sandbox-0123abcd"});
    let taken = server.put("POST", "/api/workspace", again).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{taken:?}");
    // The same sandbox under its newer name, and the other way round.
    let sandbox = server
        .ask("GET", "/api/sandbox/sandbox-0123abcd")
        .await
        .ok();
    assert_ne!(sandbox["id"], "sandbox-0123abcd");
    let by_id = format!("/api/workspace/{}", sandbox["id"].as_str().unwrap());
    assert_eq!(
        server.ask("GET", &by_id).await.ok()["id"],
        "sandbox-0123abcd"
    );
}

#[tokio::test]
async fn the_state_stands_also_in_the_text_that_the_oldest_parse() {
    let server = Server::start().await;
    let made = make(&server, json!({"id": "a"})).await;
    let text = made["info"]["providerMetadata"].as_str().unwrap();
    let metadata: Value = serde_json::from_str(text).unwrap();
    assert_eq!(metadata["state"], "started");
    assert_eq!(metadata["resources"]["cpu"], 1);
    let domain = metadata["nodeDomain"].as_str().unwrap();
    assert!(domain.starts_with("localhost"), "{domain}");
    assert_eq!(made["info"]["name"], "a");
}

#[tokio::test]
async fn posts_without_a_body_are_taken_as_forms_and_every_step_works() {
    let server = Server::start().await;
    make(&server, json!({"name": "a", "labels": {"k": "v"}})).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let post = async |path: &str| {
        let path = format!("/api/workspace/a/{path}");
        server.ask_with("POST", &path, &form, "").await.status
    };
    let state = async || server.ask("GET", "/api/workspace/a").await.ok()["state"].clone();
    assert_eq!(post("stop").await, StatusCode::OK);
    assert_eq!(state().await, "stopped");
    assert_eq!(post("start").await, StatusCode::OK);
    assert_eq!(state().await, "started");
    assert_eq!(post("autostop/7").await, StatusCode::OK);
    assert_eq!(post("autoarchive/8").await, StatusCode::OK);
    assert_eq!(post("public/true").await, StatusCode::CREATED);
    let labels = server
        .put(
            "PUT",
            "/api/workspace/a/labels",
            json!({"labels": {"x": "y"}}),
        )
        .await;
    assert_eq!(labels.ok(), json!({"labels": {"x": "y"}}));
    let list = server
        .ask("GET", "/api/workspace?labels=null&verbose=true")
        .await
        .ok();
    assert_eq!(list[0]["id"], "a");
    assert_eq!(list[0]["autoStopInterval"], 7);
    assert_eq!(list[0]["autoArchiveInterval"], 8);
    assert_eq!(list[0]["public"], true);
    let none = server
        .ask("GET", "/api/workspace?labels=%7B%22k%22%3A%22v%22%7D")
        .await;
    assert_eq!(none.ok(), json!([]));
    let gone = server.ask("DELETE", "/api/workspace/a?force=true").await;
    assert_eq!(gone.status, StatusCode::OK);
    let read = server.ask("GET", "/api/workspace/a").await;
    assert_eq!(read.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_at_the_create() {
    let server = Server::start().await;
    for (body, status) in [
        (json!({"id": "a", "name": "b"}), StatusCode::BAD_REQUEST),
        (json!({"image": "nope"}), StatusCode::BAD_REQUEST),
        (json!({"memory": 2048}), StatusCode::BAD_REQUEST),
        (json!({"class": "large"}), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let refused = server.put("POST", "/api/workspace", body.clone()).await;
        assert_eq!(refused.status, status, "{body}");
        assert!(refused.json()["message"].is_string());
    }
}

#[tokio::test]
async fn a_workspace_is_archived_and_that_is_its_backup() {
    let server = Server::start().await;
    make(&server, json!({"id": "a"})).await;
    let post = async |path: &str| server.ask("POST", &format!("/api/{path}")).await;
    for path in ["workspace/a/backup", "sandbox/a/backup"] {
        let refused = post(path).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("archive it"), "{message}");
    }
    assert_eq!(
        post("workspace/a/archive").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(post("workspace/a/stop").await.status, StatusCode::OK);
    assert_eq!(post("workspace/a/archive").await.status, StatusCode::OK);
    let backup = post("workspace/a/backup").await.ok();
    assert_eq!(
        (&backup["id"], &backup["state"]),
        (&json!("a"), &json!("archived"))
    );
    assert_eq!(
        post("sandbox/a/backup").await.ok()["backupState"],
        "Completed"
    );
}

#[tokio::test]
async fn a_workspace_has_the_preview_of_its_toolbox_and_no_build_logs() {
    let server = Server::start().await;
    make(&server, json!({"id": "a"})).await;
    let preview = async |route: &str, port: &str| {
        let path = format!("/api/{route}/a/ports/{port}/preview-url");
        server.ask("GET", &path).await
    };
    let found = preview("workspace", "2280").await.ok();
    assert_eq!(found, preview("sandbox", "2280").await.ok());
    assert!(found["url"].as_str().unwrap().starts_with("http"));
    for port in ["0", "65536", "x"] {
        let refused = preview("workspace", port).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{port}");
    }
    let logs = server
        .ask("GET", "/api/workspace/a/build-logs?follow=true")
        .await;
    assert_eq!(logs.status, StatusCode::NOT_FOUND);
    let message = logs.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("was not built"), "{message}");
}
