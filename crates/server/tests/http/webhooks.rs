//! Webhooks over HTTP, to a receiver on this host that checks signatures as programs do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::webhook::Outcome;
use alcove_server::Webhooks;
use alcove_testkit::{TestStore, eventually};
use axum::Router;
use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::{TcpListener, TcpSocket};

use crate::support::Server;

/// A receiver that keeps what comes, and answers as it is told to.
#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Receiver {
    async fn start(&self) -> u16 {
        let receiver = self.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let take = move |headers: HeaderMap, body: Bytes| {
            receiver.got.lock().unwrap().push((headers, body));
            async { "thanks" }
        };
        let router = Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    async fn comes(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        eventually(&format!("{count} messages"), async || {
            self.got.lock().unwrap().len() >= count
        })
        .await;
        self.got.lock().unwrap().clone()
    }
}

/// A server that sends webhooks for real, to this host too, and whose time is the host's: libraries check it.
async fn sending(hosts: &[&str]) -> Server {
    let mut store = TestStore::default();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    store.settings.webhooks = Some(Arc::new(Webhooks::new(&hosts).unwrap()));
    let server = Server::over(store.open().await);
    let now = jiff::Timestamp::from_second(seconds()).unwrap();
    let behind = now.duration_since(server.kit.clock.host_time());
    server.kit.clock.advance(behind.unsigned_abs());
    server
}

#[expect(
    clippy::disallowed_methods,
    reason = "libraries that check signatures look at the host's clock"
)]
fn seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn base(server: &Server) -> String {
    let org = &server.kit.caller.organization;
    format!("/api/webhooks/organizations/{org}")
}

async fn add(server: &Server, url: &str, events: &[&str]) -> Value {
    let body = json!({"url": url, "eventTypes": events});
    let path = format!("{}/endpoints", base(server));
    let made = server.put("POST", &path, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()
}

#[tokio::test]
async fn the_official_library_takes_what_is_sent_also_while_secrets_change() {
    let server = sending(&["127.0.0.1"]).await;
    let receiver = Receiver::default();
    let port = receiver.start().await;
    let url = format!("http://127.0.0.1:{port}/hooks?a=b");
    let made = add(&server, &url, &["sandbox.created", "sandbox.deleted"]).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    let sandbox = server.create(json!({"name": "box"})).await;
    let (headers, body) = receiver.comes(1).await.remove(0);
    let library = Webhook::new(&secret).unwrap();
    library.verify(&body, &headers).unwrap();
    // Svix's libraries read the same by their own names.
    for name in ["id", "timestamp", "signature"] {
        let names = [format!("svix-{name}"), format!("webhook-{name}")];
        assert_eq!(headers[names[0].as_str()], headers[names[1].as_str()]);
    }
    // The positive control of the library.
    library.verify(b"other", &headers).unwrap_err();
    assert_eq!(headers["content-type"], "application/json");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["event"], "sandbox.created");
    for (field, of) in [
        ("id", "id"),
        ("organizationId", "organizationId"),
        ("createdAt", "createdAt"),
    ] {
        assert_eq!(told[field], sandbox[of], "{told}");
    }
    assert_eq!(told["sandboxClass"], "container");

    let id = made["id"].as_str().unwrap();
    let path = format!("{}/endpoints/{id}/secret", base(&server));
    let new = server.ask("POST", &format!("{path}/rotate")).await.ok();
    assert_ne!(new["secret"], secret);
    assert_eq!(server.ask("GET", &path).await.ok(), new);
    let deleted = server.ask("DELETE", "/api/sandbox/box").await;
    assert_eq!(deleted.status, StatusCode::OK);
    let (headers, body) = receiver.comes(2).await.remove(1);
    library.verify(&body, &headers).unwrap();
    let newer = Webhook::new(new["secret"].as_str().unwrap()).unwrap();
    newer.verify(&body, &headers).unwrap();
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&told["event"], &told["newState"]),
        (&json!("sandbox.deleted"), &json!("destroyed"))
    );
}

#[tokio::test]
async fn what_came_of_each_try_is_told_and_secrets_are_not() {
    let server = sending(&["127.0.0.1"]).await;
    let receiver = Receiver::default();
    let port = receiver.start().await;
    let made = add(
        &server,
        &format!("http://127.0.0.1:{port}/"),
        &["sandbox.created"],
    )
    .await;
    server.create(json!({})).await;
    receiver.comes(1).await;
    let place = format!(
        "{}/endpoints/{}",
        base(&server),
        made["id"].as_str().unwrap()
    );
    let mut found = json!([]);
    eventually("the try is written down", async || {
        found = server.ask("GET", &format!("{place}/attempts")).await.ok();
        found != json!([])
    })
    .await;
    assert_eq!(found[0]["status"], "success");
    assert_eq!(found[0]["responseStatusCode"], 200);
    assert!(found[0]["responseDurationMs"].is_u64());
    let messages = server
        .ask("GET", &format!("{}/messages", base(&server)))
        .await
        .ok();
    let message = messages
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["id"] == found[0]["messageId"]);
    let message = message.unwrap();
    assert_eq!(message["payload"]["event"], "sandbox.created");
    let id = message["id"].as_str().unwrap();
    for path in [
        format!("{}/messages/{id}/attempts", base(&server)),
        format!(
            "{}/messages/{id}/attempts",
            base(&server).replace("/api/", "/api/admin/")
        ),
    ] {
        assert_eq!(server.ask("GET", &path).await.ok(), found);
    }
    let listed = server
        .ask("GET", &format!("{}/endpoints", base(&server)))
        .await;
    assert!(!listed.text.contains("whsec_"), "{}", listed.text);
    let replayed = server
        .put("POST", &format!("{place}/replay"), json!({"messageId": id}))
        .await;
    assert_eq!(replayed.ok(), json!({"messages": 1}));
    let all = receiver.comes(2).await;
    assert_eq!(all[0].0["webhook-id"], all[1].0["webhook-id"]);
    for body in [
        json!({}),
        json!({"messageId": id, "since": "2026-01-01T00:00:00Z"}),
    ] {
        let refused = server.put("POST", &format!("{place}/replay"), body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn the_administrator_sends_to_whom_uses_webhooks_and_the_same_id_once() {
    let server = sending(&["127.0.0.1"]).await;
    let receiver = Receiver::default();
    let port = receiver.start().await;
    let send = format!("{}/send", base(&server));
    let body = json!({"eventType": "volume.created", "payload": {"a": 1}, "eventId": "evt_1"});
    let early = server.put("POST", &send, body.clone()).await;
    assert_eq!(early.status, StatusCode::NOT_FOUND);
    let status = format!("{}/initialization-status", base(&server));
    assert_eq!(
        server.ask("GET", &status).await.status,
        StatusCode::NOT_FOUND
    );
    let made = server
        .ask("POST", &format!("{}/initialize", base(&server)))
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.json(), server.ask("GET", &status).await.ok());
    assert_eq!(made.json()["lastError"], Value::Null);
    add(&server, &format!("http://127.0.0.1:{port}/"), &[]).await;
    let admins = send.replace("/api/", "/api/admin/");
    for path in [&send, &admins] {
        let answer = server.put("POST", path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let other = json!({"eventType": "volume.created", "payload": {"a": 2}});
    server.put("POST", &admins, other).await;
    let all = receiver.comes(2).await;
    assert_eq!(all[0].0["webhook-id"], "evt_1");
    assert_eq!(&all[0].1[..], br#"{"a":1}"#);
    assert_eq!(&all[1].1[..], br#"{"a":2}"#);
    for wrong in [
        json!({"eventType": "no.such", "payload": {}}),
        json!({"eventType": "volume.created", "payload": []}),
        json!({"eventType": "volume.created", "payload": {}, "eventId": "a b"}),
    ] {
        let refused = server.put("POST", &admins, wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    }
    for path in ["/api/webhooks/status", "/api/admin/webhooks/status"] {
        assert_eq!(server.ask("GET", path).await.ok(), json!({"enabled": true}));
    }
    let refreshed = server
        .ask("POST", &format!("{}/refresh-endpoints", base(&server)))
        .await;
    assert_eq!(refreshed.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_page_manages_with_its_token_and_loads_nothing_from_elsewhere() {
    let server = sending(&["127.0.0.1"]).await;
    let access = server
        .ask("POST", &format!("{}/app-portal-access", base(&server)))
        .await
        .ok();
    let token = access["token"].as_str().unwrap();
    let url = access["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:3000/api/webhooks/portal#"),
        "{url}"
    );
    assert!(url.ends_with(token), "{url}");
    let by_token = |method: &str, path: String, body: Value| {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        server.send(request)
    };
    let endpoints = format!("{}/endpoints", base(&server));
    let body = json!({"url": "https://example.com/"});
    let made = by_token("POST", endpoints.clone(), body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let listed = by_token("GET", endpoints, json!({})).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    // It opens nothing else.
    for path in [
        "/api/sandbox".to_owned(),
        format!("{}/initialization-status", base(&server)),
    ] {
        let refused = by_token("GET", path, json!({})).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
    for (path, kind) in [
        ("/api/webhooks/portal", "text/html; charset=utf-8"),
        ("/api/webhooks/portal.js", "text/javascript; charset=utf-8"),
        ("/api/webhooks/portal.css", "text/css; charset=utf-8"),
        ("/api/docs", "text/html; charset=utf-8"),
        ("/api/docs.js", "text/javascript; charset=utf-8"),
        ("/api/docs.css", "text/css; charset=utf-8"),
    ] {
        let page = server.ask("GET", path).await;
        assert_eq!(page.headers["content-type"], kind);
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let foreign = ["https://", "http://", "//cdn", "innerHTML"];
        let foreign = foreign
            .iter()
            .filter(|word| page.text.contains(*word) && path != "/api/webhooks/portal");
        assert_eq!(foreign.count(), 0, "{path}");
    }
}

#[tokio::test]
async fn an_endpoint_must_be_outside_unless_the_operator_has_named_it() {
    let server = sending(&["Hooks.internal"]).await;
    let path = format!("{}/endpoints", base(&server));
    for (url, is_taken) in [
        ("https://example.com/", true),
        ("http://hooks.internal:8080/", true),
        ("http://example.com/", false),
        ("https://127.0.0.1/", false),
        ("https://[::1]:8443/", false),
        ("https://169.254.169.254/latest", false),
        ("ftp://example.com/", false),
    ] {
        let made = server.put("POST", &path, json!({"url": url})).await;
        let wanted = if is_taken {
            StatusCode::CREATED
        } else {
            StatusCode::BAD_REQUEST
        };
        assert_eq!(made.status, wanted, "{url}: {}", made.text);
    }
    let typo = json!({"url": "https://example.com/", "eventTypes": ["sandbox.crated"]});
    let refused = server.put("POST", &path, typo).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

/// What comes of one message to this address.
async fn sent(webhooks: &Webhooks, url: String) -> Outcome {
    use alcove_control::{WebhookRequest, WebhookSender as _};
    let request = WebhookRequest {
        url,
        id: "msg_1".parse().unwrap(),
        timestamp: 1,
        signature: alcove_domain::Secret("v1,x".to_owned()),
        body: "{}".to_owned(),
    };
    webhooks.send(request).await
}

fn refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { reason } if reason == "the host is not at a public address")
}

#[tokio::test]
async fn private_addresses_are_not_connected_to_by_number_or_by_name() {
    let receiver = Receiver::default();
    let port = receiver.start().await;
    let strict = Webhooks::new(&[]).unwrap();
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0.0.0.0",
    ] {
        let outcome = sent(&strict, format!("http://{host}:{port}/")).await;
        assert!(refused(&outcome), "{host}: {outcome:?}");
    }
    assert!(receiver.got.lock().unwrap().is_empty());
    // The positive control: the same receiver takes it when its host is named.
    let named = ["127.0.0.1", "localhost"].map(str::to_owned);
    let open = Webhooks::new(&named).unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let outcome = sent(&open, format!("http://{host}:{port}/")).await;
        assert_eq!(outcome, Outcome::Answered { status: 200 }, "{host}");
    }
}

#[tokio::test]
async fn an_answer_that_sends_elsewhere_is_not_followed() {
    let inner = Receiver::default();
    let inner_port = inner.start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = format!("http://127.0.0.1:{inner_port}/");
    let router = Router::new().fallback(move || {
        let to = to.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [("location", to)]) }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let webhooks = Webhooks::new(&["127.0.0.1".to_owned()]).unwrap();
    let outcome = sent(&webhooks, format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(outcome, Outcome::Answered { status: 307 });
    assert!(!outcome.is_delivered());
    assert!(inner.got.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_receiver_that_is_silent_or_gone_ends_a_try_with_its_reason() {
    // The kernel takes the connection, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let webhooks = Webhooks::new(&["127.0.0.1".to_owned()]).unwrap();
    let hasty = webhooks.clone().within(Duration::from_millis(200));
    let outcome = sent(&hasty, format!("http://127.0.0.1:{port}/")).await;
    assert!(
        matches!(&outcome, Outcome::Failed { reason } if reason.contains("within")),
        "{outcome:?}"
    );
    // Bound, so that nobody else gets the port, but not listened at.
    let gone = TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = gone.local_addr().unwrap().port();
    let outcome = sent(&webhooks, format!("http://127.0.0.1:{port}/")).await;
    let reason = "it cannot be connected to".to_owned();
    assert_eq!(outcome, Outcome::Failed { reason });
}
