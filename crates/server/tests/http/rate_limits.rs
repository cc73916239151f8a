//! Limits of requests.

use std::net::SocketAddr;
use std::time::Duration;

use alcove_domain::rate_limit::{Limiter, OwnRateLimit, RateLimit};
use alcove_edge::Arrival;
use alcove_server::Options;
use alcove_testkit::TestStore;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

use crate::support::{Answer, Server};

async fn limited(limits: &[(Limiter, &str)]) -> Server {
    let mut store = TestStore::default();
    let limits = limits
        .iter()
        .map(|(limiter, limit)| (*limiter, RateLimit::parse(limit).unwrap()));
    store.settings.rate_limits = limits.collect();
    let options = Options {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Options::default()
    };
    Server::with_options(store.open().await, options)
}

/// Asks from an address, for whom `forwarded` is said.
async fn from(server: &Server, peer: &str, forwarded: &str, key: &str, path: &str) -> Answer {
    let peer: SocketAddr = format!("{peer}:1234").parse().unwrap();
    let mut request = Request::builder()
        .uri(path)
        .header("x-forwarded-for", forwarded);
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    let is_tls = false;
    request.extensions_mut().insert(Arrival { peer, is_tls });
    server.send(request).await
}

#[tokio::test]
async fn without_limits_nothing_is_told_of_them() {
    let server = Server::start().await;
    let answer = server.ask("GET", "/api/sandbox").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        !answer
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("x-ratelimit"))
    );
    assert!(
        server
            .ask("GET", "/api/config")
            .await
            .ok()
            .get("rateLimit")
            .is_none()
    );
}

#[tokio::test]
async fn an_organization_has_its_requests_and_is_told_how_many_are_left() {
    let server = limited(&[(Limiter::Authenticated, "2/60")]).await;
    let (_, stranger) = server.kit.add_stranger("eve").await;
    let first = server.ask("GET", "/api/sandbox").await;
    assert_eq!(first.headers["x-ratelimit-limit-authenticated"], "2");
    assert_eq!(first.headers["x-ratelimit-remaining-authenticated"], "1");
    assert_eq!(first.headers["x-ratelimit-reset-authenticated"], "60");
    assert!(!first.headers.contains_key("retry-after"));
    server.kit.clock.advance(Duration::from_secs(20));
    // Another route counts for the same.
    assert_eq!(
        server.ask("GET", "/api/volumes").await.status,
        StatusCode::OK
    );
    let over = server.ask("GET", "/api/sandbox").await;
    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(over.json()["code"], "TOO_MANY_REQUESTS");
    assert_eq!(over.headers["retry-after"], "40");
    assert_eq!(over.headers["x-ratelimit-remaining-authenticated"], "0");
    // The neighbour has its own, and what everyone may ask is not among them.
    let theirs = from(&server, "9.9.9.9", "", &stranger, "/api/sandbox").await;
    assert_eq!(theirs.status, StatusCode::OK);
    assert_eq!(
        server.ask("GET", "/api/config").await.status,
        StatusCode::OK
    );
    server.kit.clock.advance(Duration::from_secs(40));
    assert_eq!(
        server.ask("GET", "/api/sandbox").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn creates_and_changes_of_sandboxes_are_counted_apart() {
    let server = limited(&[
        (Limiter::Authenticated, "100/60"),
        (Limiter::SandboxCreate, "1/60"),
        (Limiter::SandboxLifecycle, "1/60"),
    ])
    .await;
    let made = server
        .put("POST", "/api/sandbox", json!({"name": "box"}))
        .await;
    assert_eq!(made.headers["x-ratelimit-remaining-sandbox-create"], "0");
    assert!(
        !made
            .headers
            .contains_key("x-ratelimit-remaining-authenticated")
    );
    let again = server.put("POST", "/api/sandbox", json!({})).await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS);
    let stopped = server.ask("POST", "/api/sandbox/box/stop").await;
    assert_eq!(stopped.status, StatusCode::OK);
    let started = server.ask("POST", "/api/sandbox/box/start").await;
    assert_eq!(started.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        server.ask("GET", "/api/sandbox/box").await.status,
        StatusCode::OK
    );
    let config = server.ask("GET", "/api/config").await.ok();
    assert_eq!(
        config["rateLimit"]["sandboxCreate"],
        json!({"ttl": 60, "limit": 1})
    );
    assert!(config["rateLimit"].get("failedAuth").is_none());
}

#[tokio::test]
async fn who_guesses_keys_is_let_in_with_none_for_a_while_and_nobody_else_is_held_for_it() {
    let server = limited(&[(Limiter::FailedAuth, "2/60")]).await;
    let key = server.kit.key.clone();
    let path = "/api/sandbox";
    for left in ["1", "0"] {
        let refused = from(&server, "9.9.9.9", "", "wrong", path).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.headers["x-ratelimit-remaining-failed-auth"], left);
    }
    let held = from(&server, "9.9.9.9", "", &key, path).await;
    assert_eq!(held.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(held.headers["retry-after"], "60");
    // Also where the toolbox is asked.
    let toolbox = from(&server, "9.9.9.9", "", &key, "/toolbox/x/version").await;
    assert_eq!(toolbox.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        from(&server, "9.9.9.8", "", &key, path).await.status,
        StatusCode::OK
    );
    server.kit.clock.advance(Duration::from_mins(1));
    assert_eq!(
        from(&server, "9.9.9.9", "", &key, path).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_header_makes_nobody_another_client_but_a_trusted_proxy_does() {
    let server = limited(&[(Limiter::Anonymous, "1/60")]).await;
    let ask = async |peer, forwarded| {
        from(&server, peer, forwarded, "", "/api/config")
            .await
            .status
    };
    assert_eq!(ask("9.9.9.9", "1.1.1.1").await, StatusCode::OK);
    assert_eq!(
        ask("9.9.9.9", "2.2.2.2").await,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(ask("10.0.0.1", "1.1.1.1").await, StatusCode::OK);
    assert_eq!(ask("10.0.0.1", "2.2.2.2").await, StatusCode::OK);
    // Whatever the client had written before the proxy came to it.
    assert_eq!(
        ask("10.0.0.1", "3.3.3.3, 2.2.2.2").await,
        StatusCode::TOO_MANY_REQUESTS
    );
    let probe = from(&server, "9.9.9.9", "", "", "/api/health").await;
    assert_eq!(probe.status, StatusCode::OK);
}

#[tokio::test]
async fn an_organization_can_have_limits_of_its_own() {
    let server = limited(&[(Limiter::Authenticated, "100/60")]).await;
    let (eve, stranger) = server.kit.add_stranger("eve").await;
    let set = async |body: serde_json::Value| {
        let path = format!("/api/organizations/{}/quota", eve.organization);
        server.put("PATCH", &path, body).await
    };
    // Half of a limit needs the server's for the rest.
    let half = set(json!({"sandboxCreateRateLimit": 1})).await;
    assert_eq!(half.status, StatusCode::BAD_REQUEST, "{}", half.text);
    let none = set(json!({"authenticatedRateLimit": 0})).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST, "{}", none.text);
    let body = json!({
        "authenticatedRateLimit": 2, "authenticatedRateLimitTtlSeconds": null,
        "sandboxCreateRateLimit": 1, "sandboxCreateRateLimitTtlSeconds": 600,
    });
    let changed = set(body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    let limit = async |server: &Server| {
        let answer = from(server, "10.0.0.1", "", &stranger, "/api/organizations").await;
        let limit = answer.headers["x-ratelimit-limit-authenticated"].to_str();
        (answer.status, limit.unwrap().to_owned())
    };
    assert_eq!(limit(&server).await, (StatusCode::OK, "2".to_owned()));
    let answer = from(&server, "10.0.0.1", "", &stranger, "/api/organizations").await;
    let told = &answer.ok()[0];
    assert_eq!(told["authenticatedRateLimit"], 2);
    assert_eq!(told["authenticatedRateLimitTtlSeconds"], json!(null));
    assert_eq!(told["sandboxCreateRateLimitTtlSeconds"], 600);
    assert_eq!(limit(&server).await.0, StatusCode::TOO_MANY_REQUESTS);
    // Nobody else is held by them.
    let own = server.ask("GET", "/api/sandbox").await;
    assert_eq!(own.headers["x-ratelimit-limit-authenticated"], "100");

    // The server's come back where they are taken away.
    server.kit.clock.advance(Duration::from_mins(1));
    let path = format!("/api/organizations/{}/quota", eve.organization);
    let body = json!({"authenticatedRateLimit": -1});
    let changed = server.put("PATCH", &path, body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    assert_eq!(limit(&server).await, (StatusCode::OK, "100".to_owned()));
}

#[tokio::test]
async fn limits_of_one_organization_hold_where_the_server_has_none() {
    let server = Server::start().await;
    let org = server.kit.caller.organization.clone();
    let path = format!("/api/organizations/{org}/quota");
    let body = json!({"sandboxLifecycleRateLimit": 1, "sandboxLifecycleRateLimitTtlSeconds": 60});
    let changed = server.put("PATCH", &path, body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    let sandbox = server.create(json!({"name": "box"})).await;
    let stop = format!("/api/sandbox/{}/stop", sandbox["id"].as_str().unwrap());
    assert_eq!(server.ask("POST", &stop).await.status, StatusCode::OK);
    let over = server.ask("POST", &stop).await;
    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn limits_of_one_organization_outlive_a_restart() {
    let kit = TestStore::default().open().await;
    let (org, by) = (kit.caller.organization.clone(), kit.caller.clone());
    let own = OwnRateLimit {
        count: Some(5),
        seconds: Some(60),
    };
    let set = kit
        .control
        .set_rate_limits(&by, &org, move |all| all[1] = own);
    set.await.unwrap();
    let kit = kit.restart().await;
    let all = [OwnRateLimit::default(), own, OwnRateLimit::default()];
    assert_eq!(kit.control.own_rate_limits(&org), all);
}
