//! Tokens for SSH, by HTTP.

use alcove_server::Options;
use alcove_testkit::{TestControl, TestStore};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

async fn server() -> Server {
    let options = Options {
        ssh_command: "ssh -p 2222 {{TOKEN}}@box.example.com".to_owned(),
        ..Options::default()
    };
    Server::with_options(TestControl::open().await, options)
}

async fn validate(server: &Server, token: &str) -> Value {
    let path = format!("/api/sandbox/ssh-access/validate?token={token}");
    server.ask("GET", &path).await.ok()
}

#[tokio::test]
async fn a_token_is_given_found_valid_and_revoked() {
    let server = server().await;
    let id = server.create(json!({"name": "a"})).await["id"].clone();
    let path = "/api/sandbox/a/ssh-access";
    let access = server.ask("POST", path).await.ok();
    let token = access["token"].as_str().unwrap().to_owned();
    assert_eq!(token.len(), 32);
    let command = format!("ssh -p 2222 {token}@box.example.com");
    assert_eq!(
        access,
        json!({
            "id": access["id"], "sandboxId": id, "token": token, "sshCommand": command,
            "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
            "expiresAt": "2026-01-01T01:00:00.000Z",
        })
    );
    assert_eq!(
        validate(&server, &token).await,
        json!({"valid": true, "sandboxId": id})
    );
    let unknown = json!({"valid": false, "sandboxId": ""});
    assert_eq!(validate(&server, "guess").await, unknown);

    let wrong = server.ask("DELETE", &format!("{path}?token=guess")).await;
    assert_eq!(wrong.status, StatusCode::NOT_FOUND);
    for _ in 0..2 {
        let revoked = server.ask("DELETE", &format!("{path}?token={token}")).await;
        assert_eq!(revoked.ok()["id"], id);
    }
    assert_eq!(validate(&server, &token).await, unknown);
}

#[tokio::test]
async fn a_lifetime_is_taken_as_it_is_or_refused() {
    let server = server().await;
    server.create(json!({"name": "a"})).await;
    let create = async |minutes: &str| {
        let path = format!("/api/sandbox/a/ssh-access?expiresInMinutes={minutes}");
        server.ask("POST", &path).await
    };
    for bad in ["0", "-1", "43201", "x", "NaN"] {
        let refused = create(bad).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    for (minutes, expires_at) in [
        ("43200", "2026-01-31T00:00:00.000Z"),
        ("0.5", "2026-01-01T00:00:30.000Z"),
        ("5.0", "2026-01-01T00:05:00.000Z"),
    ] {
        assert_eq!(create(minutes).await.ok()["expiresAt"], expires_at);
    }
    let missing = server.ask("GET", "/api/sandbox/ssh-access/validate").await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_server_that_takes_no_ssh_gives_no_token() {
    let mut store = TestStore::default();
    store.settings.has_ssh = false;
    let server = Server::over(store.open().await);
    server.create(json!({"name": "a"})).await;
    let refused = server.ask("POST", "/api/sandbox/a/ssh-access").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEl1lrEVneRQJCdiInsfJGRYdjC78dwfSnbPt8o6fwcL";

#[tokio::test]
async fn a_public_key_is_let_in_listed_and_removed() {
    let server = server().await;
    let line = format!("{KEY} me@laptop");
    let create = async |body: Value| {
        server
            .ask_with("POST", "/api/ssh-keys", &[], &body.to_string())
            .await
    };
    let created = create(json!({"publicKey": line})).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let key = created.json();
    assert_eq!(
        key,
        json!({
            "id": key["id"], "name": "me@laptop", "publicKey": KEY, "fingerprint": "SHA256:hLKAGGAuOxjDg++pPCwurk11s+4Uq3S5eWKkz0cRLUE",
            "createdAt": "2026-01-01T00:00:00.000Z",
        })
    );
    let listed = server.ask("GET", "/api/ssh-keys").await.ok();
    assert_eq!(listed, json!([key]));
    let twice = create(json!({"publicKey": KEY, "name": "other"})).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    for body in [
        json!({}),
        json!({"publicKey": 1}),
        json!({"publicKey": "ssh-rsa AAAA"}),
        json!({"publicKey": KEY, "name": ""}),
    ] {
        let refused = create(body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let path = format!("/api/ssh-keys/{}", key["id"].as_str().unwrap());
    assert_eq!(
        server.ask("DELETE", &path).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        server.ask("DELETE", &path).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(server.ask("GET", "/api/ssh-keys").await.ok(), json!([]));
}
