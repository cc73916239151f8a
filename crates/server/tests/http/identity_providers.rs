//! Signing in by the identity provider of an organization, over HTTP: a small provider in this process, and a browser.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use alcove_server::{Options, Sso};
use alcove_testkit::TestStore;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::sign_in::{Browser, arrival};
use crate::support::Server;

const SECRET: &str = "swordfish: 100% secret";

/// A provider that gives a token for the code `good`.
struct Provider {
    pair: EcdsaKeyPair,
    url: String,
    claims: Mutex<Value>,
    /// What codes were brought with.
    brought: Mutex<Vec<(HeaderMap, HashMap<String, String>)>>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            url: format!("http://{}", listener.local_addr().unwrap()),
            claims: Mutex::default(),
            brought: Mutex::default(),
        });
        let [of_discovery, of_keys, of_token] = [(); 3].map(|()| Arc::clone(&provider));
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || Json(of_discovery.discovery())),
            )
            .route("/keys", get(async move || Json(of_keys.keys())))
            .route(
                "/token",
                post(async move |headers: HeaderMap, body: String| of_token.token(headers, &body)),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    fn discovery(&self) -> Value {
        let url = &self.url;
        json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
        })
    }

    fn keys(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y}]})
    }

    fn token(&self, headers: HeaderMap, body: &str) -> Result<Json<Value>, StatusCode> {
        let form: HashMap<String, String> = body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let is_good = form["code"] == "good";
        self.brought.lock().unwrap().push((headers, form));
        if !is_good {
            return Err(StatusCode::BAD_REQUEST);
        }
        let claims = self.claims.lock().unwrap().clone();
        let parts = [&json!({"alg": "ES256"}), &claims];
        let signed = parts
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap()));
        Ok(Json(json!({"token_type": "Bearer", "id_token": token})))
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

fn query(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let found = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    decoded(found.unwrap_or_else(|| panic!("{name} in {url}")))
}

/// A server that may ask these hosts, and an organization with its owner's key.
async fn set_up(hosts: &[&str]) -> (Server, String, String) {
    let mut store = TestStore::default();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    store.settings.sso = Some(Arc::new(Sso::new(&hosts).unwrap()));
    let server = Server::with_options(store.open().await, Options::default());
    let made = server
        .put("POST", "/api/organizations", json!({"name": "Lab"}))
        .await;
    let org = made.json()["id"].as_str().unwrap().to_owned();
    let owner = server
        .kit
        .add_key(&server.kit.caller.user, &org.parse().unwrap())
        .await;
    (server, org, owner)
}

fn named(issuer: &str) -> Value {
    json!({
        "name": "Okta", "emailDomains": ["example.com"],
        "oidcConfig": {"issuerUrl": issuer, "clientId": "alcove", "clientSecret": SECRET},
        "defaultAssignedRoleIds": ["00000000-0000-0000-0000-000000000001"],
    })
}

#[tokio::test]
async fn a_browser_goes_to_the_provider_and_comes_back_as_a_member() {
    let provider = Provider::start().await;
    let (server, org, owner) = set_up(&["127.0.0.1"]).await;
    let path = format!("/api/organizations/{org}/identity-providers");
    let made = server
        .put_as(&owner, "POST", &path, named(&provider.url))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert!(!made.text.contains("swordfish"), "{}", made.text);
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        made["oidcConfig"],
        json!({"issuerUrl": provider.url, "clientId": "alcove"})
    );
    let all = server.ask_as(&owner, "GET", &path).await.ok();
    assert_eq!(all, json!([made]));
    let lab = server
        .ask_as(&owner, "GET", &format!("/api/organizations/{org}"))
        .await;
    assert_eq!(lab.ok()["ssoEnabled"], true);
    let tried = json!({"issuerUrl": provider.url});
    let test = format!("{path}/test-connection");
    let tried = server.put_as(&owner, "POST", &test, tried).await.ok();
    assert_eq!(tried, json!({"success": true, "issuer": provider.url}));
    let connections = format!("{path}/workos-sso-connections");
    let connections = server.ask_as(&owner, "GET", &connections).await.ok();
    assert_eq!(connections[0]["state"], "active");
    assert_eq!(connections[0]["connectionType"], "GenericOIDC");

    let mut browser = Browser::new(&server, arrival(false));
    let body = json!({"provider": id});
    let foreign = [("sec-fetch-site", "same-site")];
    let depart = "/api/auth/sso/depart";
    let refused = browser.ask_plainly("POST", depart, &foreign, &body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let departed = browser.ask("POST", depart, body).await;
    let url = departed.ok()["url"].as_str().unwrap().to_owned();
    assert!(
        url.starts_with(&format!("{}/authorize?", provider.url)),
        "{url}"
    );
    let back = query(&url, "redirect_uri");
    assert_eq!(back, "http://127.0.0.1:3000/auth/sso");
    let kept = departed.headers["set-cookie"].to_str().unwrap();
    assert!(kept.starts_with("alcove-session-sso="), "{kept}");
    assert!(
        kept.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Strict"),
        "{kept}"
    );
    browser.keep_cookie(&departed);

    *provider.claims.lock().unwrap() = json!({
        "iss": provider.url, "aud": "alcove", "sub": "ann", "name": "Ann", "email": "ann@example.com",
        "nonce": query(&url, "nonce"), "exp": server.kit.clock.host_time().as_second() + 300,
    });
    let arrive = "/api/auth/sso/arrive";
    let body = json!({"state": query(&url, "state"), "code": "good"});
    let refused = browser.ask_plainly("POST", arrive, &foreign, &body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let elsewhere = Browser::new(&server, arrival(false));
    let refused = elsewhere.ask("POST", arrive, body.clone()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let bad = json!({"state": query(&url, "state"), "code": "bad"});
    let refused = browser.ask("POST", arrive, bad).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let begun = browser.ask("POST", arrive, body).await;
    let session = begun.ok();
    assert_eq!(session["user"]["email"], "ann@example.com");
    assert_eq!(session["organizationId"], org);
    let mut forgotten = begun.headers.get_all("set-cookie").iter();
    let forgets = |value: &http::HeaderValue| {
        value
            .to_str()
            .unwrap()
            .starts_with("alcove-session-sso=; Path=/; Max-Age=0;")
    };
    assert!(forgotten.any(forgets), "{:?}", begun.headers);
    let (headers, form) = provider.brought.lock().unwrap().pop().unwrap();
    let basic = headers["authorization"]
        .to_str()
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap();
    let basic = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    let (client, secret) = basic.split_once(':').unwrap();
    assert_eq!((client, decoded(secret).as_str()), ("alcove", SECRET));
    assert_eq!(form["redirect_uri"], back);
    assert_eq!(form["grant_type"], "authorization_code");

    browser.begin(&begun);
    let seen = browser
        .ask("GET", "/api/auth/session", json!({}))
        .await
        .ok();
    assert_eq!(seen, session);
    let own = browser.ask("POST", "/api/sandbox", json!({})).await.ok();
    assert_eq!(own["organizationId"], org);
    let makes = browser
        .ask("POST", "/api/organizations", json!({"name": "x"}))
        .await;
    assert_eq!(makes.status, StatusCode::FORBIDDEN);
    let log = server
        .ask_as(
            &owner,
            "GET",
            &format!("/api/audit/organizations/{org}?limit=50"),
        )
        .await;
    let log = log.ok();
    let rows = log["items"].as_array().unwrap();
    let login = rows
        .iter()
        .find(|row| row["action"] == "login" && row["actorEmail"] == "ann@example.com");
    assert!(login.is_some(), "{log}");
    assert!(!log.to_string().contains("swordfish"));
    let out = browser.ask("POST", "/api/auth/sign-out", json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn providers_at_private_addresses_and_without_tls_are_not_asked() {
    let provider = Provider::start().await;
    let (server, org, owner) = set_up(&[]).await;
    let path = format!("/api/organizations/{org}/identity-providers");
    let refused = server
        .put_as(&owner, "POST", &path, named(&provider.url))
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let test = format!("{path}/test-connection");
    for issuer in ["https://127.0.0.1:1", "https://[::1]", "http://example.com"] {
        let tried = server
            .put_as(&owner, "POST", &test, json!({"issuerUrl": issuer}))
            .await;
        assert_eq!(tried.status, StatusCode::BAD_REQUEST, "{issuer}");
    }
    // A name that leads to this machine is seen when it is connected to.
    let body = json!({"issuerUrl": "https://localhost:1"});
    let tried = server.put_as(&owner, "POST", &test, body).await.ok();
    assert_eq!(tried["success"], false);
    let error = tried["error"].as_str().unwrap();
    assert!(error.contains("not at a public address"), "{error}");
}

#[tokio::test]
async fn a_known_provider_does_not_lead_to_unknown_hosts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let says = json!({"issuer": url, "jwks_uri": "http://10.0.0.1/keys"});
    let router = Router::new().fallback(move || std::future::ready(Json(says.clone())));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (server, org, owner) = set_up(&["127.0.0.1"]).await;
    let path = format!("/api/organizations/{org}/identity-providers/test-connection");
    let tried = server
        .put_as(&owner, "POST", &path, json!({"issuerUrl": url}))
        .await
        .ok();
    assert_eq!(tried["success"], false);
    let error = tried["error"].as_str().unwrap();
    assert!(error.contains("without TLS"), "{error}");
}
