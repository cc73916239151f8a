//! What was done in a sandbox, over HTTP.

use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_testkit::{Sighting, TestStore, Wanted, eventually};
use http::StatusCode;
use serde_json::json;

use crate::audit::{ask, log, texts};
use crate::support::Server;
use crate::toolbox::play_agent;

#[tokio::test]
async fn what_was_done_in_a_sandbox_is_told_in_the_order_of_time() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    let made = server
        .create(json!({"name": "box", "env": {"TOKEN": "s3cret-of-env", "SHORT": "ls"}}))
        .await;
    let box_ = "/toolbox/box";
    for (method, path, body) in [
        (
            "POST",
            "/process/execute",
            json!({"command": "ls s3cret-of-env dtn_0123 'x'", "cwd": "/tmp", "envs": {"A": "s3cret-too"}}),
        ),
        ("POST", "/files/folder?path=%2Fa&mode=755", json!({})),
        (
            "POST",
            "/files/bulk-download",
            json!({"paths": ["/a", "/b"]}),
        ),
        ("GET", "/work-dir", json!({})),
        ("POST", "/process/session", json!({"sessionId": "s"})),
        ("POST", "/process/session/s/exec", json!({"command": "pwd"})),
        (
            "POST",
            "/git/clone",
            json!({"url": "https://me:s3cret-too@a.com/x", "path": "/r", "password": "s3cret-too"}),
        ),
    ] {
        server.kit.clock.advance_minutes(1);
        let answer = server.put(method, &format!("{box_}{path}"), body).await;
        assert!(answer.status.is_success(), "{path} {}", answer.text);
    }
    server.kit.clock.advance_minutes(1);
    let sandbox: SandboxId = made["id"].as_str().unwrap().parse().unwrap();
    for (seconds, wanted) in [
        (
            // Before the last request.
            90,
            Wanted::Name {
                name: "a.com".to_owned(),
                is_allowed: false,
            },
        ),
        (
            30,
            Wanted::Address {
                protocol: 6,
                address: [203, 0, 113, 7].into(),
                port: 22,
            },
        ),
    ] {
        server.kit.runner.see(Sighting {
            sandbox: sandbox.clone(),
            age: Duration::from_secs(seconds),
            count: 3,
            wanted,
        });
    }
    server.ask("DELETE", "/api/sandbox/box").await.ok();
    eventually("the sandbox is gone", async || {
        server.ask("GET", "/api/sandbox/box").await.status == StatusCode::NOT_FOUND
    })
    .await;

    let path = format!("/api/sandbox/{}/activity", made["id"].as_str().unwrap());
    let all = server.ask("GET", &path).await;
    assert!(!all.text.contains("s3cret"), "{}", all.text);
    let all = all.ok();
    let items = all["items"].as_array().unwrap();
    assert_eq!(
        texts(items, "kind"),
        [
            "change",
            "command",
            "file",
            "file",
            "request",
            "request",
            "command",
            "connection",
            "file",
            "connection",
            "change"
        ]
    );
    assert_eq!(
        items[7]["details"],
        json!({"name": "a.com", "allowed": "false", "count": "3"})
    );
    assert_eq!(
        items[9]["details"],
        json!({"protocol": "tcp", "address": "203.0.113.7", "port": "22", "count": "3"})
    );
    assert_eq!(items[1]["command"], "ls *** *** 'x'");
    assert_eq!(items[1]["cwd"], "/tmp");
    assert_eq!(items[1]["actorEmail"], "admin@localhost");
    assert_eq!(items[1]["statusCode"], 200);
    assert_eq!(
        items[1]["details"],
        json!({"method": "POST", "path": "/process/execute"})
    );
    assert_eq!(items[2]["files"], json!(["/a"]));
    assert_eq!(items[3]["files"], json!(["/a", "/b"]));
    assert_eq!(items[6]["command"], "pwd");
    assert_eq!(items[8]["details"]["url"], "https://a.com/x");
    let commands = server
        .ask("GET", &format!("{path}?kind=command"))
        .await
        .ok();
    assert_eq!(commands["items"], json!([items[1], items[6]]));
    let changes = server.ask("GET", &format!("{path}?kind=change")).await.ok();
    assert_eq!(changes["items"], json!([items[0], items[10]]));
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = server.ask("GET", &format!("{path}{query}")).await.ok();
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(token) = page["nextToken"].as_str() else {
            break;
        };
        query = format!("?limit=2&nextToken={token}");
    }
    assert_eq!(&seen, items);

    // The same rows are in the log, and nobody else finds them.
    let rows = log(&server, "?action[eq]=toolbox_execute_command").await;
    assert_eq!(texts(&rows, "targetId"), [made["id"].as_str().unwrap()]);
    let (_, ann) = server.kit.add_stranger("ann").await;
    let answer = ask(&server, &ann, "GET", &path, json!({})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let developer = server.kit.add_member("dev", &[1]).await;
    let key = format!("dtn_{}_{}", developer.user, developer.organization);
    let answer = ask(&server, &key, "GET", &path, json!({})).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_operator_leaves_commands_or_all_traffic_out() {
    for (traffic, commands, rows) in [(true, false, 1), (false, true, 0)] {
        let mut store = TestStore::default();
        store.settings.audit.traffic = traffic;
        store.settings.audit.commands = commands;
        let server = Server::over(store.open().await);
        let folder = tempfile::tempdir().unwrap();
        play_agent(&server, &folder);
        server.create(json!({"name": "box"})).await;
        let body = json!({"command": "ls"});
        let answer = server
            .put("POST", "/toolbox/box/process/execute", body)
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        let found = server
            .ask("GET", "/api/sandbox/box/activity?kind=command")
            .await
            .ok();
        assert_eq!(found["items"].as_array().unwrap().len(), rows);
        assert!(found["items"][0].get("command").is_none());
    }
}
