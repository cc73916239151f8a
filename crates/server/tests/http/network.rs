use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

const SETTINGS: &str = "/api/sandbox/box/network-settings";

async fn set(server: &Server, body: Value) -> (StatusCode, Value) {
    let answer = server.put("POST", SETTINGS, body).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_policy_is_shown_as_it_was_set() {
    let server = Server::start().await;
    let body = json!({"name": "box", "networkAllowList": "10.1.2.3/8, 1.1.1.1/32"});
    let made = server.create(body).await;
    assert_eq!(made["networkAllowList"], "10.0.0.0/8,1.1.1.1/32");
    assert_eq!(made["networkBlockAll"], false);
    let (status, blocked) = set(&server, json!({"networkBlockAll": true})).await;
    assert_eq!(
        (status, &blocked["networkBlockAll"]),
        (StatusCode::OK, &json!(true))
    );
    assert_eq!(blocked["networkAllowList"], Value::Null);
    assert_eq!(blocked["errorReason"], Value::Null);
    let found = server.ask("GET", "/api/sandbox/box").await.ok();
    assert_eq!(found["networkBlockAll"], true);
    for (wrong, expected) in [
        (json!({}), StatusCode::BAD_REQUEST),
        (json!({"networkAllowList": "x"}), StatusCode::BAD_REQUEST),
        (
            json!({"networkBlockAll": true, "networkAllowList": "1.0.0.0/8"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"domainAllowList": "example.com, a b"}),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        assert_eq!(set(&server, wrong.clone()).await.0, expected, "{wrong}");
    }
    let (status, named) = set(
        &server,
        json!({"domainAllowList": "Example.com, *.test.org"}),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(named["domainAllowList"], "example.com,*.test.org");
    assert_eq!(named["networkBlockAll"], false);
}

#[tokio::test]
async fn limited_traffic_is_marked_and_its_policy_is_not_the_owners_to_change() {
    let server = Server::start().await;
    let organization = server.kit.caller.organization.to_string();
    let path = format!("/api/organizations/{organization}/sandbox-default-limited-network-egress");
    let limit = async |is_limited: bool| {
        let body = json!({"sandboxDefaultLimitedNetworkEgress": is_limited});
        server.put("POST", &path, body).await.status
    };
    assert_eq!(limit(true).await, StatusCode::NO_CONTENT);
    let shown = server.ask("GET", "/api/organizations").await.ok();
    assert_eq!(shown[0]["sandboxLimitedNetworkEgress"], true);
    let made = server
        .create(json!({"name": "box", "networkBlockAll": true}))
        .await;
    let id = made["id"].as_str().unwrap().parse().unwrap();
    let network = || server.kit.runner.spec(&id).unwrap().network;
    assert!(network().is_limited && network().policy.block_all);
    let (status, _) = set(&server, json!({"networkBlockAll": false})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(limit(false).await, StatusCode::NO_CONTENT);
    let (status, _) = set(&server, json!({"networkBlockAll": false})).await;
    assert_eq!(status, StatusCode::OK);
    let foreign = "/api/organizations/00000000-0000-4000-8000-000000000000/sandbox-default-limited-network-egress";
    let body = json!({"sandboxDefaultLimitedNetworkEgress": true});
    let answer = server.put("POST", foreign, body).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_own_proxy_is_shown_to_who_asks_for_the_sandbox_and_in_no_list() {
    let server = Server::start().await;
    let url = "http://user:secret@proxy.example.com:3128";
    let made = server
        .create(json!({"name": "box", "outboundProxyUrl": url}))
        .await;
    assert_eq!(made["outboundProxyUrl"], url);
    let found = server.ask("GET", "/api/sandbox/box").await.ok();
    assert_eq!(found["outboundProxyUrl"], url);
    for list in ["/api/sandbox", "/api/sandbox/paginated", "/api/workspace"] {
        let listed = server.ask("GET", list).await;
        assert!(listed.text.contains("box"), "{list}: {}", listed.text);
        assert!(!listed.text.contains("secret"), "{list}: {}", listed.text);
    }
    let (status, refused) = set(&server, json!({"outboundProxyUrl": url})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("outboundProxyUrl is set when"),
        "{message}"
    );
    assert!(!message.contains("secret"), "{message}");
}
