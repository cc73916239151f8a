//! Tokens of an identity provider, as clients bring them. What makes one good is tried in the control plane's own tests.

use std::sync::Arc;

use alcove_control::{Clock as _, DocumentSource, IdentityProvider};
use alcove_server::Options;
use alcove_testkit::TestStore;
use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Server};

const ISSUER: &str = "https://id.example.com";

/// A provider with one key.
#[derive(Debug)]
struct Provider(EcdsaKeyPair);

#[async_trait]
impl DocumentSource for Provider {
    async fn fetch(
        &self,
        url: &str,
        _: u64,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let json = if url.ends_with("/openid-configuration") {
            json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")})
        } else {
            let point = self.0.public_key().as_ref();
            let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y}]})
        };
        Ok(json.to_string().into_bytes())
    }
}

impl Provider {
    fn sign(&self, claims: &Value) -> String {
        let parts = [&json!({"alg": "ES256"}), claims];
        let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = signed.join(".");
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap()))
    }
}

async fn ask(server: &Server, token: &str, method: &str, path: &str, org: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"));
    if let Some(org) = org {
        request = request.header("x-daytona-organization-id", org);
    }
    let body = json!({"name": "Lab"}).to_string();
    server.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_token_opens_what_its_user_has_in_the_organization_that_it_chooses() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let provider = Arc::new(Provider(pair));
    let mut store = TestStore::default();
    store.settings.identity_provider = Some(IdentityProvider {
        issuer: ISSUER.to_owned(),
        audience: "alcove".to_owned(),
        client_id: "cli".to_owned(),
        documents: Arc::clone(&provider) as Arc<dyn DocumentSource>,
    });
    let server = Server::with_options(store.open().await, Options::default());
    let token = provider.sign(&json!({
        "iss": ISSUER, "aud": "alcove", "sub": "ann", "name": "Ann", "email": "ann@example.com",
        "email_verified": true, "exp": server.kit.clock.now().as_second() + 300,
    }));
    let me = ask(&server, &token, "GET", "/api/users/me", None)
        .await
        .ok();
    assert_eq!((&me["id"], &me["name"]), (&json!("ann"), &json!("Ann")));
    server.kit.clock.advance_minutes(1);
    let made = ask(&server, &token, "POST", "/api/organizations", None).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let lab = made.json()["id"].as_str().unwrap().to_owned();
    let all = ask(&server, &token, "GET", "/api/organizations", None).await;
    assert_eq!(all.ok().as_array().unwrap().len(), 2);

    let there = ask(&server, &token, "POST", "/api/sandbox", Some(&lab)).await;
    let sandbox = there.ok();
    assert_eq!(sandbox["organizationId"], lab.as_str());
    let path = format!("/api/sandbox/{}", sandbox["id"].as_str().unwrap());
    let at_home = ask(&server, &token, "GET", &path, None).await;
    assert_eq!(at_home.status, StatusCode::NOT_FOUND);
    let usage = format!("/api/organizations/{lab}/usage");
    ask(&server, &token, "GET", &usage, None).await.ok();

    // Clients of Vercel Sandbox walk through them, and choose by the query.
    let user = ask(&server, &token, "GET", "/api/v2/user", None).await.ok();
    let home = user["user"]["defaultTeamId"].as_str().unwrap().to_owned();
    assert_eq!(user["user"]["username"], "Ann");
    assert_ne!(home, lab);
    let teams = "/api/v2/teams?limit=1";
    let first = ask(&server, &token, "GET", teams, None).await.ok();
    assert_eq!(first["teams"][0]["id"], lab.as_str());
    let until = format!("{teams}&until={}", first["pagination"]["next"]);
    let last = ask(&server, &token, "GET", &until, None).await.ok();
    assert_eq!(last["teams"][0]["id"], home.as_str());
    assert_eq!(last["pagination"], json!({"count": 1, "next": null}));
    let one = ask(&server, &token, "GET", &format!("/v2/teams/{lab}"), None).await;
    assert_eq!(one.ok()["name"], "Lab");
    let listed = async |query: &str| {
        let path = format!("/api/v2/sandboxes?{query}");
        let listed = ask(&server, &token, "GET", &path, None).await.ok();
        listed["sandboxes"].as_array().unwrap().len()
    };
    for (query, count) in [
        (format!("teamId={lab}"), 1),
        (format!("slug={lab}"), 1),
        (format!("teamId={home}"), 0),
        ("teamId=team_any".to_owned(), 0),
    ] {
        assert_eq!(listed(&query).await, count, "{query}");
    }

    let elsewhere = server.kit.caller.organization.to_string();
    let refused = ask(&server, &token, "GET", "/api/users/me", Some(&elsewhere)).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    // The toolbox looks for the sandbox where the token acts.
    let toolbox = format!("/toolbox/{}/version", sandbox["id"].as_str().unwrap());
    let at_home = ask(&server, &token, "GET", &toolbox, None).await;
    assert_eq!(at_home.status, StatusCode::NOT_FOUND, "{}", at_home.text);
    let there = ask(&server, &token, "GET", &toolbox, Some(&lab)).await;
    assert_ne!(there.status, StatusCode::NOT_FOUND, "{}", there.text);

    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = ask(
        &server,
        &format!("{signed}.AAAA"),
        "GET",
        "/api/users/me",
        None,
    )
    .await;
    assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    let config = server.ask("GET", "/api/config").await.ok();
    assert_eq!(config["oidc"]["issuer"], ISSUER);
    assert_eq!(config["oidc"]["clientId"], "cli");
    assert_eq!(config["oidc"]["audience"], "alcove");
}
