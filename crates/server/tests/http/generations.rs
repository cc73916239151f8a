//! One server, clients of many ages.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn the_list_has_the_shape_that_the_client_reads() {
    let server = Server::start().await;
    server.create(json!({"name": "a"})).await;
    for version in ["0.25.6", "0.107.0", "0.179.0"] {
        let list = server
            .ask_with(
                "GET",
                "/api/sandbox?labels=null",
                &[("x-daytona-sdk-version", version)],
                "",
            )
            .await
            .ok();
        assert_eq!(list[0]["name"], "a", "{version}");
        assert!(list[0]["env"].is_object(), "full objects for {version}");
    }
    for version in ["0.180.0", "0.226.1", "unknown", "0.0.0-dev"] {
        let list = server
            .ask_with(
                "GET",
                "/api/sandbox",
                &[("x-daytona-sdk-version", version)],
                "",
            )
            .await
            .ok();
        assert_eq!(list["items"][0]["name"], "a", "{version}");
    }
    let list = server.ask("GET", "/api/sandbox").await.ok();
    assert_eq!(list["items"][0]["name"], "a");
}

/// Those clients ask once more when a delete was accepted, and tell their caller of an error if the host was faster.
#[tokio::test]
async fn an_older_sdk_finds_a_sandbox_right_after_its_delete_for_a_while() {
    let server = Server::start().await;
    let made = server.create(json!({"name": "a"})).await;
    let path = format!("/api/sandbox/{}", made["id"].as_str().unwrap());
    let older = [
        ("x-daytona-sdk-version", "0.110.2"),
        ("x-daytona-source", "python-sdk"),
    ];
    server.ask_with("DELETE", &path, &older, "").await.ok();
    alcove_testkit::eventually("it is gone", async || {
        server.ask("GET", &path).await.status == 404
    })
    .await;
    let shown = server.ask_with("GET", &path, &older, "").await.ok();
    assert_eq!(shown["id"], made["id"]);
    assert_eq!(shown["state"], "destroyed");
    // By its id alone: the name is another's now.
    let by_name = server.ask_with("GET", "/api/sandbox/a", &older, "").await;
    assert_eq!(by_name.status, 404);
    // For its organization alone.
    let (_, key) = server.kit.add_stranger("ann").await;
    let foreign = older
        .iter()
        .fold(Request::get(&path), |request, (name, value)| {
            request.header(*name, *value)
        });
    let foreign = foreign.header("authorization", format!("Bearer {key}"));
    let foreign = server.send(foreign.body(Body::empty()).unwrap()).await;
    assert_eq!(foreign.status, 404);
    server.kit.clock.advance(std::time::Duration::from_secs(11));
    let later = server.ask_with("GET", &path, &older, "").await;
    assert_eq!(later.status, 404);
}

#[tokio::test]
async fn a_generated_client_without_an_sdk_is_known_by_its_user_agent() {
    let server = Server::start().await;
    server.create(json!({"name": "a"})).await;
    let ask = async |agent: &str| {
        server
            .ask_with("GET", "/api/sandbox", &[("user-agent", agent)], "")
            .await
            .ok()
    };
    let list = ask("OpenAPI-Generator/0.0.0-dev/python").await;
    assert_eq!(list[0]["name"], "a");
    let list = ask("api-client-python/0.190.0").await;
    assert_eq!(list["items"][0]["name"], "a");
}

#[tokio::test]
async fn strict_go_clients_see_no_field_that_they_do_not_know() {
    let server = Server::start().await;
    server.create(json!({"name": "a"})).await;
    let ask = async |source: &str, version: &str| {
        server
            .ask_with(
                "GET",
                "/api/sandbox/a",
                &[
                    ("x-daytona-source", source),
                    ("x-daytona-sdk-version", version),
                ],
                "",
            )
            .await
            .ok()
    };
    assert!(ask("sdk-go", "0.187.0").await.get("kvm").is_none());
    assert!(ask("go-sdk", "0.145.0").await.get("kvm").is_none());
    assert_eq!(ask("sdk-go", "0.205.1").await["kvm"], false);
}

#[tokio::test]
async fn a_signing_key_is_a_text_without_quotes() {
    let server = Server::start().await;
    server.create(json!({"name": "a"})).await;
    let mut keys = Vec::new();
    for (method, path) in [
        ("GET", "/api/sandbox/a/signing-key"),
        ("POST", "/api/sandbox/a/signing-key/rotate"),
        ("GET", "/api/sandbox/a/signing-key"),
    ] {
        let answer = server.ask(method, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text.len() > 20, "{}", answer.text);
        assert!(!answer.text.contains('"'), "{}", answer.text);
        keys.push(answer.text);
    }
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[1], keys[2]);
}

#[tokio::test]
async fn snapshots_are_enabled_for_clients_that_ask() {
    let server = Server::start().await;
    let ask = async |version: &str| {
        server
            .ask_with(
                "GET",
                "/api/snapshots",
                &[("x-daytona-sdk-version", version)],
                "",
            )
            .await
            .ok()
    };
    assert_eq!(ask("0.24.0").await["items"][0]["enabled"], true);
    assert!(ask("0.226.1").await["items"][0].get("enabled").is_none());
}

#[tokio::test]
async fn the_preview_of_the_toolboxs_port_is_the_toolbox() {
    let server = Server::start().await;
    let sandbox = server.create(json!({"name": "a"})).await;
    let id = sandbox["id"].as_str().unwrap();
    let preview = server
        .ask("GET", "/api/sandbox/a/ports/2280/preview-url")
        .await
        .ok();
    let base = sandbox["toolboxProxyUrl"].as_str().unwrap();
    assert_eq!(preview["url"], format!("{base}/{id}"));
    let token = preview["token"].as_str().unwrap();
    assert!(!token.is_empty());
    let other = server
        .ask("GET", "/api/sandbox/a/ports/3000/preview-url")
        .await
        .ok();
    assert_eq!(
        other,
        json!({"sandboxId": id, "url": format!("http://3000-{id}.localhost:3000"), "token": token})
    );
    for port in ["0", "03000", "65536", "-1", "x"] {
        let path = format!("/api/sandbox/a/ports/{port}/preview-url");
        let refused = server.ask("GET", &path).await;
        assert_eq!(refused.status, 400, "{port}");
    }
    let missing = server
        .ask("GET", "/api/sandbox/b/ports/2280/preview-url")
        .await;
    assert_eq!(missing.status, 404);
}
