//! Where the cookie of a session opens something beside the routes, where it does not, and for which pages.

use alcove_server::Options;
use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::events::{say, text};
use crate::sign_in::{Browser, PASSWORD, arrival, set_up};
use crate::support::{Server, within};
use crate::toolbox::play_agent;

async fn with_sandbox() -> (Server, tempfile::TempDir, String) {
    let server = set_up(Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    let made = server.create(json!({"name": "a"})).await;
    let id = made["id"].as_str().unwrap().to_owned();
    (server, folder, id)
}

#[tokio::test]
async fn a_session_opens_the_toolbox_of_the_users_sandboxes() {
    let (server, _folder, id) = with_sandbox().await;
    let mut browser = Browser::new(&server, arrival(false));
    let path = format!("/toolbox/{id}/files?path=%2F");
    let before = browser.ask("GET", &path, json!({})).await;
    assert_eq!(before.status, StatusCode::UNAUTHORIZED);
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    for path in [
        &path,
        "/toolbox/a/files?path=%2F",
        "/api/toolbox/a/toolbox/files?path=%2F",
    ] {
        let answer = browser.ask("GET", path, json!({})).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::OK, "agent: /files?path=%2F")
        );
        // What a sandbox says is no page of this server.
        assert_eq!(answer.headers["content-security-policy"], "sandbox");
    }
    let made = browser.ask("POST", "/toolbox/a/made", json!({})).await;
    assert_eq!(made.status, StatusCode::CREATED);

    // In another organization too, where the id says which.
    let lab = browser
        .ask("POST", "/api/organizations", json!({"name": "Lab"}))
        .await;
    let lab = lab.json()["id"].as_str().unwrap().to_owned();
    let key = server
        .kit
        .add_key(&server.kit.caller.user, &lab.parse().unwrap())
        .await;
    let there = server
        .put_as(&key, "POST", "/api/sandbox", json!({"name": "b"}))
        .await;
    let there = there.json()["id"].as_str().unwrap().to_owned();
    let found = browser
        .ask("GET", &format!("/toolbox/{there}/version"), json!({}))
        .await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.text);
    let by_name = browser.ask("GET", "/toolbox/b/version", json!({})).await;
    assert_eq!(by_name.status, StatusCode::NOT_FOUND);
    let named = [("x-daytona-organization-id", lab.as_str())];
    let by_name = browser
        .ask_plainly("GET", "/toolbox/b/version", &named, &json!({}))
        .await;
    assert_eq!(by_name.status, StatusCode::OK);

    // Not those of others, who are not even told that it is there.
    let (_, key) = server.kit.add_stranger("sven").await;
    let theirs = server
        .put_as(&key, "POST", "/api/sandbox", json!({"name": "c"}))
        .await;
    let theirs = theirs.json()["id"].as_str().unwrap().to_owned();
    let hidden = browser
        .ask("GET", &format!("/toolbox/{theirs}/version"), json!({}))
        .await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    browser.ask("POST", "/api/auth/sign-out", json!({})).await;
    let after = browser.ask("GET", &path, json!({})).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn pages_of_others_reach_no_toolbox_with_it() {
    let (server, _folder, _) = with_sandbox().await;
    let mut browser = Browser::new(&server, arrival(false));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    let token = ("x-csrf-token", browser.csrf_token.as_str());
    let host = ("host", "127.0.0.1:3000");
    let upgrade = ("upgrade", "websocket");
    let connection = ("connection", "upgrade");
    let ask = async |method: &str, headers: &[(&str, &str)]| {
        let answer = browser
            .ask_plainly(method, "/toolbox/a/files", headers, &json!({}))
            .await;
        answer.status.as_u16()
    };
    let own = ("origin", "http://127.0.0.1:3000");
    let preview = ("origin", "http://3000-a.localhost:3000");
    assert_eq!(ask("GET", &[]).await, 200);
    assert_eq!(ask("GET", &[("sec-fetch-site", "same-origin")]).await, 200);
    assert_eq!(ask("GET", &[("sec-fetch-site", "none")]).await, 200);
    for site in ["same-site", "cross-site", "x"] {
        assert_eq!(ask("GET", &[("sec-fetch-site", site)]).await, 403, "{site}");
        assert_eq!(
            ask("POST", &[token, ("sec-fetch-site", site)]).await,
            403,
            "{site}"
        );
    }
    for origin in [
        preview,
        ("origin", "null"),
        ("origin", "http://evil.example"),
    ] {
        assert_eq!(ask("GET", &[host, origin]).await, 403, "{origin:?}");
        assert_eq!(ask("POST", &[host, origin, token]).await, 403, "{origin:?}");
        assert_eq!(
            ask("GET", &[host, origin, upgrade, connection]).await,
            403,
            "{origin:?}"
        );
    }
    assert_eq!(ask("POST", &[]).await, 403, "without the token");
    assert_eq!(ask("POST", &[("x-csrf-token", "0")]).await, 403);
    assert_eq!(ask("POST", &[token, host, own]).await, 200);
    // A WebSocket says whose page it is of.
    assert_eq!(ask("GET", &[upgrade, connection]).await, 403);
    assert_eq!(ask("GET", &[host, own, upgrade, connection]).await, 200);
    // What else is brought is judged alone, good or not.
    assert_eq!(ask("GET", &[("authorization", "Bearer wrong")]).await, 401);
    assert_eq!(ask("GET", &[("authorization", "")]).await, 401);
    assert_eq!(
        ask("GET", &[("x-daytona-preview-token", "wrong")]).await,
        401
    );
}

#[tokio::test]
async fn previews_take_no_session_on_whichever_name_they_are_shown() {
    let (server, _folder, id) = with_sandbox().await;
    let mut browser = Browser::new(&server, arrival(false));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    for (host, path) in [
        (format!("3000-{id}.localhost:3000"), "/".to_owned()),
        (
            format!("2280-{id}.localhost:3000"),
            "/files?path=%2F".to_owned(),
        ),
        (format!("22222-{id}.localhost:3000"), "/".to_owned()),
        ("127.0.0.1:3000".to_owned(), format!("/p/{id}/3000/")),
        ("127.0.0.1:3000".to_owned(), format!("/p/{id}/2280/files")),
    ] {
        let headers = [("host", host.as_str())];
        let answer = browser
            .ask_plainly("GET", &path, &headers, &json!({}))
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{host}{path}");
        let key = format!("Bearer {}", server.kit.key);
        let headers = [("host", host.as_str()), ("authorization", key.as_str())];
        let answer = browser
            .ask_plainly("GET", &path, &headers, &json!({}))
            .await;
        assert_ne!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "the positive control"
        );
    }
}

#[tokio::test]
async fn the_event_socket_takes_a_session_of_a_page_of_this_server() {
    let (server, _folder, _) = with_sandbox().await;
    let mut browser = Browser::new(&server, arrival(false));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    let lab = browser
        .ask("POST", "/api/organizations", json!({"name": "Lab"}))
        .await;
    let lab = lab.json()["id"].as_str().unwrap().to_owned();
    let listening = server.listen().await;
    let own = format!("http://127.0.0.1:{}", listening.port);
    let cookie = browser.cookie().to_owned();
    let open = async |origin: Option<&str>, packet: &str| {
        let url = format!(
            "ws://127.0.0.1:{}/api/socket.io/?EIO=4&transport=websocket",
            listening.port
        );
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("cookie", cookie.parse().unwrap());
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        let (mut socket, _) = within(connect_async(request)).await.unwrap();
        text(&mut socket).await;
        say(&mut socket, packet).await;
        (text(&mut socket).await, socket)
    };
    let refused = r#"44{"message":"Invalid credentials"}"#;
    for origin in [
        None,
        Some("null"),
        Some("http://evil.example"),
        Some("http://3000-a.localhost:3000"),
    ] {
        assert_eq!(open(origin, "40").await.0, refused, "{origin:?}");
    }
    // What is brought is judged alone.
    assert_eq!(open(Some(&own), r#"40{"token":"wrong"}"#).await.0, refused);
    assert_eq!(
        open(Some(&own), r#"40{"organizationId":"other"}"#).await.0,
        refused
    );
    let (answer, mut home) = open(Some(&own), "40").await;
    assert!(answer.starts_with(r#"40{"sid":"#), "{answer}");
    let packet = json!({"organizationId": lab}).to_string();
    let (answer, mut there) = open(Some(&own), &format!("40{packet}")).await;
    assert!(answer.starts_with(r#"40{"sid":"#), "{answer}");
    tokio::task::yield_now().await;

    let key = server
        .kit
        .add_key(&server.kit.caller.user, &lab.parse().unwrap())
        .await;
    let made = server
        .put_as(&key, "POST", "/api/sandbox", json!({"name": "b"}))
        .await
        .json();
    let event = text(&mut there).await;
    let event: Value = serde_json::from_str(event.strip_prefix("42").unwrap()).unwrap();
    assert_eq!(
        (&event[0], &event[1]["id"]),
        (&json!("sandbox.created"), &made["id"])
    );
    server.create(json!({"name": "c"})).await;
    let event = text(&mut home).await;
    assert!(event.contains(r#""name":"c""#), "{event:?}");

    // It ends with the session.
    browser.ask("POST", "/api/auth/sign-out", json!({})).await;
    let ended = async |socket: &mut crate::events::Socket| {
        while let Some(Ok(message)) = within(socket.next()).await {
            if message.is_close() || message.to_text().is_ok_and(|text| text.starts_with("41")) {
                return;
            }
        }
    };
    ended(&mut home).await;
    ended(&mut there).await;
}
