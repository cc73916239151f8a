//! Warm pools over HTTP.

use alcove_testkit::TestStore;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

async fn start() -> Server {
    let mut store = TestStore::default();
    // Room for eight members.
    store.settings.warm_pool_bytes = 32 << 20;
    Server::over(store.open().await)
}

async fn make(server: &Server, body: Value) -> Value {
    let made = server.put("POST", "/api/warm-pools", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()
}

#[tokio::test]
async fn a_warm_pool_has_the_shape_that_clients_read() {
    let server = start().await;
    let made = make(&server, json!({"snapshot": "default", "pool": 2})).await;
    let org = server.kit.caller.organization.as_str();
    for (field, value) in [
        ("organizationId", json!(org)),
        ("snapshot", json!("default")),
        ("target", json!("us")),
        ("pool", json!(2)),
        ("currentSize", json!(2)),
        ("cpu", json!(1)),
        ("mem", json!(1)),
        ("disk", json!(3)),
        ("osUser", json!("daytona")),
        ("env", json!({})),
        ("errorReason", Value::Null),
    ] {
        assert_eq!(made.get(field), Some(&value), "{field} of {made}");
    }
    for field in ["createdAt", "updatedAt"] {
        assert!(made[field].as_str().unwrap().ends_with('Z'), "{field}");
    }
    assert_eq!(
        server.ask("GET", "/api/warm-pools").await.ok(),
        json!([made])
    );

    let path = format!("/api/warm-pools/{}", made["id"].as_str().unwrap());
    let changed = server.put("PATCH", &path, json!({"pool": 5})).await.ok();
    assert_eq!(
        (&changed["pool"], &changed["currentSize"]),
        (&json!(5), &json!(5))
    );
    let drained = server.put("PATCH", &path, json!({"pool": 0})).await.ok();
    assert_eq!(
        (&drained["pool"], &drained["currentSize"]),
        (&json!(0), &json!(0))
    );

    let deleted = server.ask("DELETE", &path).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(server.ask("GET", "/api/warm-pools").await.ok(), json!([]));
    let again = server.ask("DELETE", &path).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert!(server.kit.runner.members().is_empty());
}

#[tokio::test]
async fn a_pool_that_cannot_be_is_refused_with_the_reason() {
    let server = start().await;
    for (body, status, words) in [
        (json!({"pool": 1}), 400, "snapshot must be a string"),
        (
            json!({"snapshot": "default"}),
            400,
            "pool must be a whole number, 1 or more",
        ),
        (json!({"snapshot": "default", "pool": 0}), 400, "1 or more"),
        (json!({"snapshot": "default", "pool": -3}), 400, "1 or more"),
        (
            json!({"snapshot": "default", "pool": 1.5}),
            400,
            "pool must be an integer number",
        ),
        (
            json!({"snapshot": "default", "pool": 9}),
            400,
            "larger than 8",
        ),
        (
            json!({"snapshot": "nothing", "pool": 1}),
            400,
            "Snapshot nothing not found",
        ),
        (
            json!({"snapshot": "default", "pool": 1, "target": "mars"}),
            404,
            "mars",
        ),
    ] {
        let refused = server.put("POST", "/api/warm-pools", body.clone()).await;
        assert_eq!(refused.status.as_u16(), status, "{body}: {}", refused.text);
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{body}: {message}");
    }
    let made = make(&server, json!({"snapshot": "default", "pool": 1})).await;
    let twice = json!({"snapshot": "default", "pool": 1});
    let twice = server.put("POST", "/api/warm-pools", twice).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    assert_eq!(twice.json()["code"], "WARM_POOL_EXISTS");
    let path = format!("/api/warm-pools/{}", made["id"].as_str().unwrap());
    for body in [json!({}), json!({"pool": -1}), json!({"pool": 9})] {
        let refused = server.put("PATCH", &path, body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn a_server_without_memory_for_pools_says_so() {
    let server = Server::start().await;
    let body = json!({"snapshot": "default", "pool": 1});
    let refused = server.put("POST", "/api/warm-pools", body).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "Warm pools are turned off on this server");
    assert_eq!(server.ask("GET", "/api/warm-pools").await.ok(), json!([]));
}

#[tokio::test]
async fn members_are_in_no_list_and_no_figure() {
    let server = start().await;
    make(&server, json!({"snapshot": "default", "pool": 3})).await;
    assert_eq!(server.kit.runner.members().len(), 3);
    let org = server.kit.caller.organization.to_string();
    for path in [
        "/api/sandbox",
        "/api/sandbox?includeWarm=true",
        "/api/sandbox/paginated",
    ] {
        let list = server.ask("GET", path).await.ok();
        assert_eq!(list["items"], json!([]), "{path}");
    }
    let odd = server.ask("GET", "/api/sandbox?includeWarm=perhaps").await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
    let usage = format!("/api/organizations/{org}/usage");
    let none = server.ask("GET", &usage).await.ok();
    for member in server.kit.runner.members() {
        let path = format!("/api/sandbox/{member}");
        let found = server.ask("GET", &path).await;
        assert_eq!(found.status, StatusCode::NOT_FOUND, "{member}");
    }
    // The positive control: one that is taken is in all of them.
    let sandbox = server.create(json!({})).await;
    let handed_over = server.kit.runner.handed_over();
    assert_eq!(sandbox["id"], handed_over[0].as_str());
    assert_eq!(
        sandbox["name"], sandbox["id"],
        "the name is the id by default"
    );
    let list = server.ask("GET", "/api/sandbox").await.ok();
    assert_eq!(list["items"][0]["id"], sandbox["id"]);
    assert_ne!(server.ask("GET", &usage).await.ok(), none);
}
