//! Signing in, and what the cookie of a session opens.

use std::net::SocketAddr;

use alcove_edge::Arrival;
use alcove_server::{Options, PAGE_ROUTES};
use alcove_testkit::TestControl;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Server};

pub const PASSWORD: &str = "correct horse battery";

/// A browser without a key.
pub struct Browser<'a> {
    server: &'a Server,
    arrival: Arrival,
    cookie: String,
    pub csrf_token: String,
}

pub fn arrival(is_tls: bool) -> Arrival {
    let peer: SocketAddr = "192.0.2.1:1234".parse().unwrap();
    Arrival { peer, is_tls }
}

impl<'a> Browser<'a> {
    pub fn new(server: &'a Server, arrival: Arrival) -> Self {
        Self {
            server,
            arrival,
            cookie: String::new(),
            csrf_token: String::new(),
        }
    }

    /// Asks as it is, without what a page of the server's own adds.
    pub async fn ask_plainly(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(self.arrival);
        self.server.send(request).await
    }

    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let token = [("x-csrf-token", self.csrf_token.as_str())];
        self.ask_plainly(method, path, &token, &body).await
    }

    pub async fn sign_in(&mut self, username: &str, password: &str) -> Answer {
        let body = json!({"username": username, "password": password});
        let answer = self.ask("POST", "/api/auth/sign-in", body).await;
        if answer.status == StatusCode::OK {
            self.keep(&answer);
        }
        answer
    }

    /// Keeps a cookie beside those that there are.
    pub fn keep_cookie(&mut self, answer: &Answer) {
        let cookie = set_cookie(&answer.headers);
        let (pair, _) = cookie.split_once(';').unwrap();
        self.cookie = format!("{}; {pair}", self.cookie);
    }

    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Goes on with the session that an answer begins.
    pub fn begin(&mut self, answer: &Answer) {
        self.keep(answer);
    }

    fn keep(&mut self, answer: &Answer) {
        let cookie = set_cookie(&answer.headers);
        let (pair, _) = cookie.split_once(';').unwrap();
        pair.clone_into(&mut self.cookie);
        if !answer.text.is_empty() {
            let token = answer.json()["csrfToken"].as_str().unwrap().to_owned();
            self.csrf_token = token;
        }
    }
}

fn set_cookie(headers: &HeaderMap) -> String {
    headers["set-cookie"].to_str().unwrap().to_owned()
}

/// A server whose administrator has a password.
pub async fn set_up(options: Options) -> Server {
    let server = Server::with_options(TestControl::open().await, options);
    let link = server.kit.control.set_up_link().await.unwrap().unwrap();
    let body = json!({"token": link.text, "password": PASSWORD});
    let browser = Browser::new(&server, arrival(false));
    let set = browser.ask("POST", "/api/auth/set-password", body).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{}", set.text);
    server
}

#[tokio::test]
async fn a_session_opens_what_a_key_opens_and_ends_with_signing_out() {
    let server = set_up(Options::default()).await;
    let mut browser = Browser::new(&server, arrival(false));
    let before = browser.ask("GET", "/api/users/me", json!({})).await;
    assert_eq!(before.status, StatusCode::UNAUTHORIZED);
    let answer = browser.sign_in("admin@localhost", PASSWORD).await;
    let begun = answer.ok();
    assert_eq!(begun["user"]["email"], "admin@localhost");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let cookie = set_cookie(&answer.headers);
    assert!(cookie.starts_with("alcove-session="), "{cookie}");
    let marks = "; Path=/; Max-Age=604800; HttpOnly; SameSite=Strict";
    assert!(cookie.ends_with(marks), "{cookie}");

    let seen = browser.ask("GET", "/api/auth/session", json!({})).await;
    assert_eq!(seen.ok(), begun);
    let made = browser.ask("POST", "/api/sandbox", json!({})).await.ok();
    let path = format!("/api/sandbox/{}", made["id"].as_str().unwrap());
    browser.ask("GET", &path, json!({})).await.ok();
    let by_key = server.ask("GET", &path).await.ok();
    assert_eq!(by_key["organizationId"], made["organizationId"]);
    let key = browser.ask("GET", "/api/api-keys/current", json!({})).await;
    assert_eq!(key.status, StatusCode::FORBIDDEN);
    assert_eq!(key.json()["message"], "Invalid authentication context");

    let out = browser.ask("POST", "/api/auth/sign-out", json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(set_cookie(&out.headers).starts_with("alcove-session=; Path=/; Max-Age=0;"));
    let after = browser.ask("GET", "/api/users/me", json!({})).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_changes_nothing_for_a_page_that_is_not_this_servers() {
    let server = set_up(Options::default()).await;
    let mut browser = Browser::new(&server, arrival(false));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    let token = ("x-csrf-token", browser.csrf_token.as_str());
    let host = ("host", "127.0.0.1:3000");
    let own = ("origin", "http://127.0.0.1:3000");
    let inner = ("host", "inner:8080");
    let name = json!({"name": "x"});
    for headers in [
        &[][..],
        &[("x-csrf-token", "")],
        &[("x-csrf-token", "0000")],
        &[host, own],
        &[host, token, ("origin", "http://3000-box.localhost:3000")],
        &[host, token, ("origin", "http://127.0.0.1:3001")],
        &[host, token, ("origin", "null")],
        &[host, own, token, ("sec-fetch-site", "same-site")],
        &[host, own, token, ("sec-fetch-site", "cross-site")],
        &[token, ("sec-fetch-site", "cross-site")],
        &[inner, own, token],
    ] {
        for (method, path) in [
            ("POST", "/api/organizations"),
            ("DELETE", "/api/volumes/x"),
            ("POST", "/api/auth/sign-out"),
            ("POST", "/api/actions/list_sandboxes"),
        ] {
            let refused = browser.ask_plainly(method, path, headers, &name).await;
            let what = format!("{method} {path} {headers:?} {}", refused.text);
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{what}");
            assert_eq!(refused.json()["code"], "CSRF_TOKEN_INVALID", "{what}");
        }
    }
    // The positive control, and that nothing was made before.
    for headers in [
        &[token][..],
        &[host, own, token],
        &[host, own, token, ("sec-fetch-site", "same-origin")],
        // A proxy in front of the server may call its host otherwise.
        &[inner, own, token, ("sec-fetch-site", "same-origin")],
    ] {
        let path = "/api/organizations";
        let made = browser.ask_plainly("POST", path, headers, &name).await;
        assert_eq!(
            made.status,
            StatusCode::CREATED,
            "{headers:?} {}",
            made.text
        );
    }
    let all = browser.ask("GET", "/api/organizations", json!({})).await;
    assert_eq!(all.ok().as_array().unwrap().len(), 5);
    // Another origin cannot read what a cookie opens: credentials are not allowed to it.
    let from_elsewhere = [("origin", "http://evil.example")];
    let path = "/api/auth/session";
    let read = browser
        .ask_plainly("GET", path, &from_elsewhere, &json!({}))
        .await;
    assert!(
        !read
            .headers
            .contains_key("access-control-allow-credentials")
    );
    // Nor can it make somebody work in an account of its own.
    let body = json!({"username": "admin@localhost", "password": PASSWORD});
    let path = "/api/auth/sign-in";
    let entered = browser
        .ask_plainly("POST", path, &from_elsewhere, &body)
        .await;
    assert_eq!(entered.status, StatusCode::FORBIDDEN);
    assert_eq!(entered.json()["code"], "FOREIGN_PAGE");
}

#[tokio::test]
async fn a_header_with_a_key_counts_before_the_cookie() {
    let server = set_up(Options::default()).await;
    let mut browser = Browser::new(&server, arrival(false));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    let bad = [("authorization", "Bearer dtn_wrong")];
    let path = "/api/users/me";
    let refused = browser.ask_plainly("GET", path, &bad, &json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let key = format!("Bearer {}", server.kit.key);
    let good = [("authorization", key.as_str())];
    let path = "/api/api-keys/current";
    browser
        .ask_plainly("GET", path, &good, &json!({}))
        .await
        .ok();
}

#[tokio::test]
async fn actions_are_carried_out_for_a_session_too() {
    let server = set_up(Options::default()).await;
    let mut browser = Browser::new(&server, arrival(true));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    let path = "/api/actions/list_sandboxes";
    let answer = browser.ask("POST", path, json!({})).await.ok();
    assert_eq!(answer["success"], true, "{answer}");
}

#[tokio::test]
async fn where_there_is_tls_the_cookie_is_guarded_and_no_other_is_taken() {
    let server = set_up(Options::default()).await;
    let mut browser = Browser::new(&server, arrival(true));
    let answer = browser.sign_in("admin@localhost", PASSWORD).await;
    let cookie = set_cookie(&answer.headers);
    assert!(cookie.starts_with("__Host-alcove-session="), "{cookie}");
    assert!(cookie.ends_with("; SameSite=Strict; Secure"), "{cookie}");
    browser.ask("GET", "/api/users/me", json!({})).await.ok();
    browser.cookie = browser.cookie.replace("__Host-", "");
    let refused = browser.ask("GET", "/api/users/me", json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_organization_is_chosen_by_path_and_header() {
    let server = set_up(Options::default()).await;
    let mut browser = Browser::new(&server, arrival(false));
    browser.sign_in("admin@localhost", PASSWORD).await.ok();
    let made = browser
        .ask("POST", "/api/organizations", json!({"name": "Lab"}))
        .await;
    let lab = made.json()["id"].as_str().unwrap().to_owned();
    let token = ("x-csrf-token", browser.csrf_token.as_str());
    let named = [token, ("x-daytona-organization-id", lab.as_str())];
    let path = "/api/sandbox";
    let sandbox = browser
        .ask_plainly("POST", path, &named, &json!({}))
        .await
        .ok();
    assert_eq!(sandbox["organizationId"], lab.as_str());
    let id = sandbox["id"].as_str().unwrap();
    let path = format!("/api/sandbox/{id}");
    let at_home = browser.ask("GET", &path, json!({})).await;
    assert_eq!(at_home.status, StatusCode::NOT_FOUND);
    let path = format!("/api/organizations/{lab}/usage");
    browser.ask("GET", &path, json!({})).await.ok();
    let path = format!("/api/organizations/{lab}/suspend");
    let by_admin = browser.ask("POST", &path, json!({"reason": "x"})).await;
    assert_eq!(by_admin.status, StatusCode::NO_CONTENT, "{}", by_admin.text);
    let unknown = [("x-daytona-organization-id", "other")];
    let path = "/api/users/me";
    let refused = browser.ask_plainly("GET", path, &unknown, &json!({})).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn too_many_failures_are_told_with_the_time_to_wait() {
    let server = set_up(Options::default()).await;
    let mut browser = Browser::new(&server, arrival(false));
    for _ in 0..10 {
        let refused = browser.sign_in("admin@localhost", "wrong").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.json()["message"], "Invalid credentials");
        assert!(!refused.headers.contains_key("set-cookie"));
    }
    let refused = browser.sign_in("admin@localhost", PASSWORD).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["code"], "TOO_MANY_REQUESTS");
    assert_eq!(refused.headers["retry-after"], "30");
}

#[tokio::test]
async fn an_address_is_the_one_that_a_trusted_proxy_names_and_no_other() {
    let options = Options {
        trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
        ..Options::default()
    };
    for (options, same_address) in [(options, false), (Options::default(), true)] {
        let server = set_up(options).await;
        let browser = Browser::new(&server, arrival(false));
        let mut last = StatusCode::OK;
        for number in 0..=50 {
            let client = format!("198.51.100.{number}");
            let body = json!({"username": format!("user-{number}"), "password": "x"});
            let headers = [("x-forwarded-for", client.as_str())];
            let path = "/api/auth/sign-in";
            last = browser
                .ask_plainly("POST", path, &headers, &body)
                .await
                .status;
        }
        let expected = if same_address {
            StatusCode::TOO_MANY_REQUESTS
        } else {
            StatusCode::UNAUTHORIZED
        };
        assert_eq!(last, expected);
    }
}

#[tokio::test]
async fn the_administrators_link_leads_to_a_page_and_sets_a_password() {
    let server = set_up(Options::default()).await;
    server.kit.add_user("ann").await;
    let path = "/api/admin/users/ann/password-link";
    let made = server.ask("POST", path).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let url = made.json()["url"].as_str().unwrap().to_owned();
    let (page, token) = url.split_once('#').unwrap();
    assert_eq!(page, "http://127.0.0.1:3000/auth/password");
    let mut browser = Browser::new(&server, arrival(false));
    for route in PAGE_ROUTES {
        let shown = browser.ask("GET", route.path, json!({})).await;
        assert_eq!(shown.status, StatusCode::OK);
        let kind = if route.path.contains('.') {
            "text/javascript; charset=utf-8"
        } else {
            "text/html; charset=utf-8"
        };
        assert_eq!(shown.headers["content-type"], kind);
        let policy = shown.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
    }
    let body = json!({"token": token, "password": PASSWORD});
    let path = "/api/auth/set-password";
    let set = browser.ask("POST", path, body.clone()).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    let again = browser.ask("POST", path, body).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert_eq!(again.json()["code"], "LINK_ENDED");
    browser.sign_in("ann@example.com", PASSWORD).await.ok();
    let own = browser
        .ask("POST", "/api/admin/users/ann/password-link", json!({}))
        .await;
    assert_eq!(own.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_changed_password_begins_a_session_and_ends_the_others() {
    let server = set_up(Options::default()).await;
    let mut one = Browser::new(&server, arrival(false));
    let mut two = Browser::new(&server, arrival(false));
    one.sign_in("admin@localhost", PASSWORD).await.ok();
    two.sign_in("admin@localhost", PASSWORD).await.ok();
    let body = json!({"currentPassword": PASSWORD, "newPassword": "another horse battery"});
    let changed = one.ask("POST", "/api/auth/password", body).await;
    changed.ok();
    let ended = one.ask("GET", "/api/users/me", json!({})).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    one.keep(&changed);
    one.ask("GET", "/api/users/me", json!({})).await.ok();
    let ended = two.ask("GET", "/api/users/me", json!({})).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    let out = one
        .ask("POST", "/api/auth/sign-out-everywhere", json!({}))
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let ended = one.ask("GET", "/api/users/me", json!({})).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
}
