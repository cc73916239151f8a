//! What proxies ask that are no part of the server.

use alcove_control::service_key_hash;
use alcove_testkit::TestStore;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

const PROXY: &str = "the-key-of-a-proxy-before-all-of-it";

/// A server with a sandbox, and the key of the proxy of a region where there is none.
async fn start() -> (Server, Value, String) {
    let mut store = TestStore::default();
    store.settings.proxy_key = Some(service_key_hash(PROXY));
    let server = Server::over(store.open().await);
    let sandbox = server.create(json!({"name": "box"})).await;
    let body = json!({"name": "lab", "proxyUrl": "https://proxy.lab"});
    let region = server.put("POST", "/api/regions", body).await.json();
    let key = region["proxyApiKey"].as_str().unwrap().to_owned();
    (server, sandbox, key)
}

async fn ask(server: &Server, key: &str, path: &str) -> Answer {
    server
        .ask_as(key, "GET", &format!("/api/preview/{path}"))
        .await
}

#[tokio::test]
async fn a_sandbox_that_is_not_public_is_not_there() {
    let (server, sandbox, _) = start().await;
    let path = format!("{}/public", sandbox["id"].as_str().unwrap());
    let closed = ask(&server, PROXY, &path).await;
    let none = ask(&server, PROXY, "none/public").await;
    assert_eq!(
        (closed.status, none.status),
        (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND)
    );
    server
        .ask("POST", "/api/sandbox/box/public/true")
        .await
        .ok();
    assert_eq!(ask(&server, PROXY, &path).await.ok(), json!(true));
}

#[tokio::test]
async fn a_proxy_of_the_operators_may_come_with_the_credential_of_its_role() {
    let (server, ..) = start().await;
    server
        .ask("POST", "/api/sandbox/box/public/true")
        .await
        .ok();
    let statuses = async |role: &str| {
        let text = crate::services::credential(&server, role).await;
        ask(&server, &text, "box/public").await.status
    };
    assert_eq!(statuses("proxy").await, StatusCode::OK);
    for other in ["ssh-gateway", "otel-collector", "health-check"] {
        assert!(statuses(other).await.is_client_error(), "{other}");
    }
}

#[tokio::test]
async fn a_token_is_good_for_what_whoever_got_it_may_reach() {
    let (server, ..) = start().await;
    let url = "/api/sandbox/box/ports/3000/preview-url";
    let whole = server.ask("GET", url).await.ok()["token"].clone();
    // Somebody who may look at sandboxes and not write them.
    let body = json!({"name": "reader", "permissions": []});
    let reader = server.put("POST", "/api/api-keys", body).await.json();
    let reader = reader["value"].as_str().unwrap();
    let ports = server.ask_as(reader, "GET", url).await.ok()["token"].clone();
    let good = async |token: &Value, tail: &str| {
        let path = format!("box/validate/{}{tail}", token.as_str().unwrap());
        ask(&server, PROXY, &path).await.status == StatusCode::OK
    };
    for (token, all, port, reserved) in [(&whole, true, true, true), (&ports, false, true, false)] {
        assert_eq!(good(token, "").await, all);
        assert_eq!(good(token, "?port=3000").await, port);
        assert_eq!(good(token, "?port=2280").await, reserved);
    }
    assert!(!good(&json!("wrong"), "").await);
    let odd = format!("box/validate/{}?port=none", whole.as_str().unwrap());
    assert_eq!(
        ask(&server, PROXY, &odd).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_signed_address_leads_to_its_sandbox_until_it_ends() {
    let (server, sandbox, _) = start().await;
    let url = "/api/sandbox/box/ports/3000/signed-preview-url?expiresInSeconds=60";
    let token = server.ask("GET", url).await.ok()["token"].clone();
    let token = token.as_str().unwrap();
    let path = format!("{token}/3000/sandbox-id");
    let found = ask(&server, PROXY, &path).await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.text);
    assert_eq!(found.text, sandbox["id"].as_str().unwrap());
    let warning = format!("{token}/preview-warning?port=3000");
    let warning = ask(&server, PROXY, &warning).await.ok();
    assert_eq!(warning, json!({"enabled": false}));
    for wrong in [
        format!("{token}/3001/sandbox-id"),
        "none/3000/sandbox-id".to_owned(),
    ] {
        let asked = ask(&server, PROXY, &wrong).await;
        assert_eq!(asked.status, StatusCode::FORBIDDEN, "{wrong}");
    }
    let expire = format!("/api/sandbox/box/ports/3000/signed-preview-url/{token}/expire");
    assert_eq!(server.ask("POST", &expire).await.status, StatusCode::OK);
    let ended = ask(&server, PROXY, &path).await;
    assert_eq!(ended.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_key_for_files_is_the_one_that_their_owner_signs_with() {
    let (server, ..) = start().await;
    let own = server.ask("GET", "/api/sandbox/box/signing-key").await.text;
    assert_eq!(ask(&server, PROXY, "box/signing-key").await.text, own);
}

#[tokio::test]
async fn the_proxy_of_a_region_is_told_of_no_sandbox_elsewhere() {
    let (server, sandbox, region) = start().await;
    server
        .ask("POST", "/api/sandbox/box/public/true")
        .await
        .ok();
    let url = "/api/sandbox/box/ports/3000/preview-url";
    let token = server.ask("GET", url).await.ok()["token"].clone();
    let id = sandbox["id"].as_str().unwrap();
    for tail in [
        "public".to_owned(),
        format!("validate/{}", token.as_str().unwrap()),
        "signing-key".to_owned(),
        "preview-warning".to_owned(),
    ] {
        let asked = ask(&server, &region, &format!("{id}/{tail}")).await;
        assert_eq!(
            asked.status,
            StatusCode::NOT_FOUND,
            "{tail}: {}",
            asked.text
        );
    }
    let by_sandbox = format!("/api/runners/by-sandbox/{id}");
    let asked = server.ask_as(&region, "GET", &by_sandbox).await;
    assert_eq!(asked.status, StatusCode::NOT_FOUND);
    let by_image = "/api/runners/by-snapshot-ref?ref=sha256:default";
    let asked = server.ask_as(&region, "GET", by_image).await;
    assert_eq!(asked.ok(), json!([]));
}

#[tokio::test]
async fn people_are_told_nothing_that_is_for_proxies_and_proxies_nothing_else() {
    let (server, sandbox, region) = start().await;
    let id = sandbox["id"].as_str().unwrap();
    let (_, stranger) = server.kit.add_stranger("sven").await;
    for key in [&server.kit.key, &stranger] {
        for tail in ["public", "signing-key", "preview-warning", "validate/x"] {
            let asked = ask(&server, key, &format!("{id}/{tail}")).await;
            assert_eq!(asked.status, StatusCode::FORBIDDEN, "{tail}");
        }
    }
    for key in [PROXY, region.as_str()] {
        for path in ["/api/sandbox", "/api/runners", "/api/preview/box/access"] {
            let asked = server.ask_as(key, "GET", path).await;
            assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    let own = ask(&server, &server.kit.key, "box/access").await;
    assert_eq!(own.ok(), json!(true));
    let foreign = ask(&server, &stranger, &format!("{id}/access")).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn that_a_proxy_read_a_key_is_written_down() {
    let (server, ..) = start().await;
    ask(&server, PROXY, "box/signing-key").await;
    let rows = server.ask("GET", "/api/admin/audit").await.ok();
    let rows = rows["items"].as_array().unwrap();
    let row = rows.iter().find(|row| row["action"] == "read_signing_key");
    assert_eq!(row.expect("a row")["actorId"], "proxy");
}
