//! Keys for programs whose user signs in with a browser (RFC 8628).

use std::time::Duration;

use alcove_server::Options;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::services::ask_as;
use crate::sign_in::{Browser, PASSWORD, arrival, set_up};
use crate::support::{Answer, Server};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const INTERVAL: Duration = Duration::from_secs(5);

/// A program asks by a form, as the standard has it.
async fn form(server: &Server, path: &str, body: String) -> Answer {
    let mut request = Request::builder()
        .method("POST")
        .uri(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    request.extensions_mut().insert(arrival(false));
    server.send(request).await
}

async fn begin(server: &Server) -> Value {
    let body = "client_id=alcove&device_name=my+laptop".to_owned();
    let begun = form(server, "/api/auth/device/code", body).await;
    assert_eq!(begun.headers["cache-control"], "no-store");
    begun.ok()
}

async fn redeem(server: &Server, begun: &Value) -> Answer {
    let code = begun["device_code"].as_str().unwrap();
    let grant = GRANT.replace(':', "%3A");
    let body = format!("grant_type={grant}&device_code={code}&client_id=alcove");
    form(server, "/api/auth/device/token", body).await
}

/// The word of a refusal.
async fn refusal(server: &Server, begun: &Value) -> String {
    let answer = redeem(server, begun).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.json()["error"].as_str().unwrap().to_owned()
}

async fn decide(browser: &Browser<'_>, begun: &Value, approve: bool) -> Answer {
    let body = json!({"userCode": begun["user_code"], "approve": approve});
    browser.ask("POST", "/api/auth/device/confirm", body).await
}

async fn signed_in(server: &Server) -> Browser<'_> {
    let mut browser = Browser::new(server, arrival(false));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    browser
}

#[tokio::test]
async fn a_program_is_let_in_by_a_person_and_gets_a_key_of_that_person_once() {
    let server = set_up(Options::default()).await;
    let begun = begin(&server).await;
    assert_eq!(
        begun["verification_uri"],
        "http://127.0.0.1:3000/auth/device"
    );
    let user_code = begun["user_code"].as_str().unwrap();
    assert_eq!(user_code.len(), 9, "{user_code}");
    let complete = begun["verification_uri_complete"].as_str().unwrap();
    assert!(complete.ends_with(&format!("#{user_code}")), "{complete}");
    assert_eq!(
        (&begun["expires_in"], &begun["interval"]),
        (&json!(600), &json!(5))
    );
    assert_eq!(refusal(&server, &begun).await, "authorization_pending");

    let browser = signed_in(&server).await;
    // People leave out what is there for their eyes.
    let typed = user_code.replace('-', "").to_lowercase();
    let path = format!("/api/auth/device/{typed}");
    let seen = browser.ask("GET", &path, json!({})).await.ok();
    assert_eq!(seen["clientId"], "alcove");
    assert_eq!(seen["deviceName"], "my laptop");
    assert_eq!(seen["address"], "192.0.2.1");
    let approved = decide(&browser, &begun, true).await;
    assert_eq!(approved.status, StatusCode::NO_CONTENT, "{}", approved.text);
    // It is decided.
    let again = decide(&browser, &begun, false).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);

    server.kit.clock.advance(INTERVAL);
    let made = redeem(&server, &begun).await.ok();
    assert_eq!(made["token_type"], "Bearer");
    let key = made["access_token"].as_str().unwrap();
    let me = ask_as(&server, key, "GET", "/api/users/me").await.ok();
    assert_eq!(me["email"], "admin@localhost");
    server.kit.clock.advance(INTERVAL);
    assert_eq!(refusal(&server, &begun).await, "invalid_grant");

    // It is a key as any other.
    let name = made["key_name"].as_str().unwrap();
    assert!(name.starts_with("login-mylaptop-"), "{name}");
    let listed = ask_as(&server, key, "GET", "/api/api-keys").await.ok();
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|key| key["name"] == name)
    );
    let path = format!("/api/api-keys/{name}");
    let ended = ask_as(&server, key, "DELETE", &path).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    let refused = ask_as(&server, key, "GET", "/api/users/me").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_program_that_was_refused_came_too_often_or_too_late_is_told_so() {
    let server = set_up(Options::default()).await;
    let browser = signed_in(&server).await;
    let denied = begin(&server).await;
    let refused = decide(&browser, &denied, false).await;
    assert_eq!(refused.status, StatusCode::NO_CONTENT);
    assert_eq!(refusal(&server, &denied).await, "access_denied");
    assert_eq!(refusal(&server, &denied).await, "invalid_grant");

    let hasty = begin(&server).await;
    assert_eq!(refusal(&server, &hasty).await, "authorization_pending");
    assert_eq!(refusal(&server, &hasty).await, "slow_down");
    // Five seconds more from then on.
    server.kit.clock.advance(INTERVAL);
    assert_eq!(refusal(&server, &hasty).await, "slow_down");
    server.kit.clock.advance(INTERVAL * 3);
    assert_eq!(refusal(&server, &hasty).await, "authorization_pending");

    let late = begin(&server).await;
    server.kit.clock.advance(Duration::from_mins(10));
    assert_eq!(refusal(&server, &late).await, "expired_token");
    let decided = decide(&browser, &late, true).await;
    assert_eq!(decided.status, StatusCode::NOT_FOUND);
    assert_eq!(
        refusal(&server, &json!({"device_code": "x"})).await,
        "invalid_grant"
    );
}

#[tokio::test]
async fn what_nobody_came_back_for_is_removed_when_the_next_program_begins() {
    let server = set_up(Options::default()).await;
    begin(&server).await;
    server.kit.clock.advance(Duration::from_mins(20));
    begin(&server).await;
    let left = server.kit.store.reader().device_login_list_all().await;
    assert_eq!(left.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_request_of_the_standard_is_refused_in_its_words() {
    let server = set_up(Options::default()).await;
    for (path, body, word) in [
        ("code", String::new(), "invalid_request"),
        (
            "code",
            format!("client_id={}", "x".repeat(65)),
            "invalid_request",
        ),
        (
            "code",
            "client_id=a&device_name=%0A".to_owned(),
            "invalid_request",
        ),
        ("token", String::new(), "invalid_request"),
        ("token", format!("grant_type={GRANT}"), "invalid_request"),
        (
            "token",
            "grant_type=password".to_owned(),
            "unsupported_grant_type",
        ),
    ] {
        let refused = form(&server, &format!("/api/auth/device/{path}"), body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}: {body}");
        assert_eq!(refused.json()["error"], word, "{path}: {body}");
    }
    // JSON is read too.
    let body = json!({"client_id": "other"}).to_string();
    form(&server, "/api/auth/device/code", body).await.ok();
}

#[tokio::test]
async fn only_a_person_on_a_page_of_this_server_lets_a_program_in() {
    let server = set_up(Options::default()).await;
    let begun = begin(&server).await;
    let body = json!({"userCode": begun["user_code"], "approve": true});
    // Not a key, whatever it may.
    let by_key = server
        .put("POST", "/api/auth/device/confirm", body.clone())
        .await;
    assert_eq!(by_key.status, StatusCode::FORBIDDEN);
    let browser = signed_in(&server).await;
    let path = "/api/auth/device/confirm";
    for headers in [
        &[][..],
        &[("x-csrf-token", "wrong")],
        &[
            ("x-csrf-token", browser.csrf_token.as_str()),
            ("sec-fetch-site", "cross-site"),
        ],
    ] {
        let forged = browser.ask_plainly("POST", path, headers, &body).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    assert_eq!(refusal(&server, &begun).await, "authorization_pending");
}

#[tokio::test]
async fn codes_cannot_be_guessed_and_not_too_many_wait() {
    let server = set_up(Options::default()).await;
    let browser = signed_in(&server).await;
    let begun = begin(&server).await;
    for _ in 0..20 {
        let missing = browser
            .ask("GET", "/api/auth/device/BBBBBBBB", json!({}))
            .await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
    }
    let path = format!("/api/auth/device/{}", begun["user_code"].as_str().unwrap());
    let held = browser.ask("GET", &path, json!({})).await;
    assert_eq!(held.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(held.headers.contains_key("retry-after"));
    for _ in 1..16 {
        begin(&server).await;
    }
    let body = "client_id=alcove".to_owned();
    let many = form(&server, "/api/auth/device/code", body.clone()).await;
    assert_eq!(many.status, StatusCode::TOO_MANY_REQUESTS);
    server.kit.clock.advance(Duration::from_mins(10));
    form(&server, "/api/auth/device/code", body).await.ok();
    browser
        .ask("GET", "/api/auth/device/BBBBBBBB", json!({}))
        .await;
}

#[tokio::test]
async fn who_is_no_member_any_more_lets_nobody_in() {
    let server = set_up(Options::default()).await;
    let browser = signed_in(&server).await;
    let body = json!({"name": "Lab", "defaultRegionId": "us"});
    let made = browser.ask("POST", "/api/organizations", body).await.json();
    let organization = made["id"].as_str().unwrap();
    let begun = begin(&server).await;
    let body = json!({"userCode": begun["user_code"], "approve": true});
    let headers = [
        ("x-csrf-token", browser.csrf_token.as_str()),
        ("x-daytona-organization-id", organization),
    ];
    let path = "/api/auth/device/confirm";
    let approved = browser.ask_plainly("POST", path, &headers, &body).await;
    assert_eq!(approved.status, StatusCode::NO_CONTENT, "{}", approved.text);
    let path = format!("/api/organizations/{organization}");
    let deleted = browser.ask("DELETE", &path, json!({})).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
    assert_eq!(refusal(&server, &begun).await, "access_denied");
}
