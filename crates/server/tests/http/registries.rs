//! Registries over HTTP.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

const PATH: &str = "/api/docker-registry";

fn body() -> Value {
    json!({"name": "mine", "url": "https://Registry.example.com/v2/", "username": "me", "password": "hush hush"})
}

async fn create(server: &Server, body: Value) -> Value {
    let answer = server.put("POST", PATH, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert!(!answer.text.contains("hush"), "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_registry_is_added_found_changed_and_removed() {
    let server = Server::start().await;
    let made = create(&server, body()).await;
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        made,
        json!({
            "id": id, "name": "mine", "url": "registry.example.com", "username": "me", "project": "",
            "registryType": "organization", "createdAt": made["createdAt"], "updatedAt": made["updatedAt"],
        })
    );
    let one = format!("{PATH}/{id}");
    assert_eq!(server.ask("GET", &one).await.ok(), made);
    assert_eq!(server.ask("GET", PATH).await.ok(), json!([made]));

    server.kit.clock.advance_minutes(1);
    let change = json!({"name": "ours", "url": "a.com", "username": "you", "project": "team"});
    let changed = server.put("PATCH", &one, change).await.ok();
    assert_eq!(changed["name"], "ours");
    assert_eq!(changed["project"], "team");
    assert_eq!(changed["createdAt"], made["createdAt"]);
    assert_ne!(changed["updatedAt"], made["updatedAt"]);
    // What is not named stays.
    let change = json!({"name": "ours", "url": "a.com", "username": "you"});
    let changed = server.put("PATCH", &one, change).await.ok();
    assert_eq!(changed["project"], "team");

    let gone = server.ask("DELETE", &one).await;
    assert_eq!(
        (gone.status, gone.text.as_str()),
        (StatusCode::NO_CONTENT, "")
    );
    let again = server.ask("DELETE", &one).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let message = &again.json()["message"];
    assert_eq!(*message, format!("Docker registry with ID {id} not found"));
    assert_eq!(server.ask("GET", PATH).await.ok(), json!([]));
}

#[tokio::test]
async fn registries_of_the_servers_own_types_are_not_for_people() {
    let server = Server::start().await;
    for kind in ["internal", "transient", "backup"] {
        let mut own = body();
        own["registryType"] = json!(kind);
        let refused = server.put("POST", PATH, own).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{kind}");
    }
    let mut odd = body();
    odd["registryType"] = json!("odd");
    let refused = server.put("POST", PATH, odd).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let mut allowed = body();
    allowed["registryType"] = json!("organization");
    create(&server, allowed).await;
}

#[tokio::test]
async fn the_administrator_sets_the_default_on_both_paths() {
    let server = Server::start().await;
    let made = create(&server, body()).await;
    let id = made["id"].as_str().unwrap();
    for path in [
        format!("/api/admin/docker-registry/{id}/set-default"),
        format!("/api/docker-registry/{id}/set-default"),
    ] {
        assert_eq!(server.ask("POST", &path).await.ok()["id"], id);
    }
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let server = Server::start().await;
    let refused = server
        .put(
            "POST",
            PATH,
            json!({"name": "", "url": "ftp://a", "username": "a:b", "password": ""}),
        )
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let message = refused.json()["message"].clone();
    for word in ["name", "url", "username"] {
        assert!(message.as_str().unwrap().contains(word), "{message}");
    }
    let role =
        json!({"name": "a", "url": "a.com", "username": "arn:aws:iam::1:role/x", "password": ""});
    let refused = server.put("POST", PATH, role).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}
