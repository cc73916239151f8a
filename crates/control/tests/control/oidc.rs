//! People who come with a token of an identity provider: a small one, and hostile ones.

mod links;
mod organizations;
mod provider;

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{
    Caller, Clock as _, DocumentSource, Error, IdentityProvider, OrganizationChoice,
};
use alcove_domain::MemberRole;
use alcove_testkit::{TestControl, TestStore, eventually, within};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use self::provider::{AUDIENCE, DISCOVERY, Document, ISSUER, KEYS, Provider, Signer, encode};

/// A server that trusts the provider.
async fn open(provider: &Arc<Provider>) -> TestControl {
    let mut store = TestStore::default();
    store.settings.identity_provider = Some(IdentityProvider {
        // Without the slash that the provider has at the end.
        issuer: ISSUER.trim_end_matches('/').to_owned(),
        audience: AUDIENCE.to_owned(),
        client_id: String::new(),
        documents: Arc::clone(provider) as Arc<dyn DocumentSource>,
    });
    store.open().await
}

async fn with_signer() -> (TestControl, Arc<Provider>, Signer) {
    let provider = Arc::new(Provider::default());
    let signer = Signer::new("one");
    provider.publish(&[signer.public()]);
    (open(&provider).await, provider, signer)
}

fn seconds(kit: &TestControl, from_now: i64) -> i64 {
    kit.clock.now().as_second() + from_now
}

/// What a token says that is good for five minutes.
fn claims(kit: &TestControl, sub: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": sub, "iat": seconds(kit, 0), "exp": seconds(kit, 300),
        "name": "Ann", "email": format!("{sub}@example.com"), "email_verified": true,
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

async fn come(kit: &TestControl, token: &str) -> Result<Caller, Error> {
    kit.control.authenticate(token).await
}

fn assert_refused(outcome: Result<Caller, Error>, what: &str) {
    let error = outcome.unwrap_err();
    let is_refusal = matches!(error, Error::Unauthenticated { .. });
    assert!(is_refusal, "{what}: {error:?}");
}

fn assert_unavailable(outcome: Result<Caller, Error>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

async fn users(kit: &TestControl) -> usize {
    kit.control.list_users(&kit.caller).await.unwrap().len()
}

#[tokio::test]
async fn a_first_token_makes_its_user_and_later_ones_are_the_same_user() {
    let (kit, provider, signer) = with_signer().await;
    assert_eq!(
        provider.asked(),
        0,
        "nothing is asked before somebody comes"
    );
    let caller = come(&kit, &signer.sign(&claims(&kit, "ann-1")))
        .await
        .unwrap();
    assert_eq!(caller.user.as_str(), "ann-1");
    assert!(caller.is_whole_user && caller.role == MemberRole::Owner);
    let user = kit.control.current_user(&caller).await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.email.as_str()),
        ("Ann", "ann-1@example.com")
    );
    assert!(user.is_email_verified && !user.is_admin);
    let own = kit.control.list_organizations(&caller).await.unwrap();
    assert!(own.len() == 1 && own[0].is_personal && own[0].id == caller.organization);

    kit.clock.advance(Duration::from_mins(1));
    let again = come(&kit, &signer.sign(&claims(&kit, "ann-1")))
        .await
        .unwrap();
    assert_eq!(
        (again.user, again.organization),
        (caller.user, caller.organization)
    );
    assert_eq!(users(&kit).await, 2);
    assert_eq!(provider.asked(), 2, "both documents, once");
    let kit = kit.restart().await;
    let again = come(&kit, &signer.sign(&claims(&kit, "ann-1")))
        .await
        .unwrap();
    assert_eq!(again.user.as_str(), "ann-1");
    assert_eq!(users(&kit).await, 2);
}

#[tokio::test]
async fn tokens_that_are_forged_meant_for_others_or_not_of_now_let_nobody_in() {
    let (kit, provider, signer) = with_signer().await;
    let good = || claims(&kit, "ann");
    let stranger = Signer::new("one");
    let es256 = json!({"alg": "ES256", "kid": "one"});
    let public = signer.pair.public_key().as_ref().to_vec();
    let by_password = |header: Value, secret: &[u8]| {
        let text = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(good().to_string())
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("{text}.{}", encode(hmac::sign(&key, text.as_bytes())))
    };
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "one"});
        format!(
            "{}.{}.",
            encode(header.to_string()),
            encode(good().to_string())
        )
    };
    let right = signer.sign(&good());
    let (text, signature) = right.rsplit_once('.').unwrap();
    let (header, _) = text.split_once('.').unwrap();
    let admin = encode(claims(&kit, kit.caller.user.as_str()).to_string());
    let mut without_end = good();
    without_end.as_object_mut().unwrap().remove("exp");
    let own_key = json!({"alg": "ES256", "kid": "one", "jwk": stranger.public()});
    let own_url = json!({"alg": "ES256", "kid": "one", "jku": "https://evil.example/jwks"});
    let document = signer.public().to_string();
    for (what, token) in [
        (
            "another issuer",
            signer.sign(&with(good(), "iss", json!("https://evil.example/"))),
        ),
        (
            "the issuer's neighbour",
            signer.sign(&with(good(), "iss", json!(format!("{ISSUER}x")))),
        ),
        ("the issuer without its slash", {
            signer.sign(&with(good(), "iss", json!(ISSUER.trim_end_matches('/'))))
        }),
        (
            "another audience",
            signer.sign(&with(good(), "aud", json!("other"))),
        ),
        ("no audience", signer.sign(&with(good(), "aud", json!([])))),
        ("no subject", signer.sign(&with(good(), "sub", json!("")))),
        (
            "expired",
            signer.sign(&with(good(), "exp", json!(seconds(&kit, -60)))),
        ),
        ("no end", signer.sign(&without_end)),
        (
            "an end in words",
            signer.sign(&with(good(), "exp", json!("never"))),
        ),
        (
            "an end beyond all time",
            signer.sign(&with(good(), "exp", json!(1e300))),
        ),
        (
            "a time before all time",
            signer.sign(&with(good(), "nbf", json!(-1e300))),
        ),
        (
            "not yet",
            signer.sign(&with(good(), "nbf", json!(seconds(&kit, 61)))),
        ),
        (
            "of the future",
            signer.sign(&with(good(), "iat", json!(seconds(&kit, 61)))),
        ),
        ("no signature", unsigned("none")),
        ("no signature in other letters", unsigned("nOnE")),
        ("an empty signature", unsigned("ES256")),
        (
            "the public key as a password",
            by_password(json!({"alg": "HS256", "kid": "one"}), &public),
        ),
        ("the key's document as a password", {
            by_password(json!({"alg": "HS256", "kid": "one"}), document.as_bytes())
        }),
        (
            "another algorithm's signature",
            by_password(es256.clone(), &public),
        ),
        (
            "another kind of algorithm",
            signer.sign_with(&json!({"alg": "RS256", "kid": "one"}), &good()),
        ),
        ("a swapped key", stranger.sign(&good())),
        (
            "a key that it brings",
            stranger.sign_with(&own_key, &good()),
        ),
        (
            "a key from elsewhere",
            stranger.sign_with(&own_url, &good()),
        ),
        (
            "a key without a name",
            stranger.sign_with(&json!({"alg": "ES256"}), &good()),
        ),
        ("what must be understood", {
            signer.sign_with(
                &json!({"alg": "ES256", "kid": "one", "crit": ["x"], "x": 1}),
                &good(),
            )
        }),
        (
            "another user's words",
            format!("{header}.{admin}.{signature}"),
        ),
        ("half a signature", format!("{text}.{}", &signature[..20])),
        (
            "more than there may be",
            signer.sign(&with(good(), "x", json!("x".repeat(20_000)))),
        ),
        ("no header", format!("eyJ.{admin}.{signature}")),
        ("nothing but dots", "eyJ..".to_owned()),
    ] {
        assert_refused(come(&kit, &token).await, what);
    }
    assert_eq!(users(&kit).await, 1, "none of them made a user");
    assert!(provider.asked() <= 10, "{} times", provider.asked());

    // The positive controls: as much as clocks may differ, and an audience among others.
    for (what, claims) in [
        ("as it is", good()),
        (
            "just expired",
            with(good(), "exp", json!(seconds(&kit, -59))),
        ),
        ("about now", with(good(), "nbf", json!(seconds(&kit, 60)))),
        ("parts of seconds", with(good(), "iat", json!(1.5))),
        (
            "among others",
            with(good(), "aud", json!(["other", AUDIENCE])),
        ),
    ] {
        let outcome = come(&kit, &signer.sign(&claims)).await;
        assert!(outcome.is_ok(), "{what}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_token_of_rsa_is_taken_and_keys_for_other_uses_are_not() {
    let provider = Arc::new(Provider::default());
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // A sequence of two integers: the first has 256 bytes behind a zero.
    let der = pair.public_key().as_ref();
    let key = |id: &str, usage: &str, alg: &str| {
        json!({
            "kty": "RSA", "use": usage, "alg": alg, "kid": id,
            "n": encode(&der[9..265]), "e": encode([1, 0, 1]),
        })
    };
    provider.publish(&[
        json!({"kty": "oct", "kid": "secret", "k": encode("secret")}),
        json!("no key"),
        key("signs", "sig", "RS256"),
        key("seals", "enc", "RS256"),
        key("other", "sig", "PS256"),
    ]);
    let kit = open(&provider).await;
    let sign = |id: &str| {
        let header = json!({"alg": "RS256", "kid": id});
        let signed = [header, claims(&kit, "ann")].map(|part| encode(part.to_string()));
        let signed = signed.join(".");
        let mut signature = vec![0; 256];
        pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .unwrap();
        format!("{signed}.{}", encode(signature))
    };
    come(&kit, &sign("signs")).await.unwrap();
    assert_refused(come(&kit, &sign("seals")).await, "a key that seals");
    assert_refused(
        come(&kit, &sign("other")).await,
        "a key of another algorithm",
    );
}

#[tokio::test]
async fn new_keys_are_found_and_the_provider_is_not_asked_more_often_than_five_times_a_minute() {
    let (kit, provider, old) = with_signer().await;
    come(&kit, &old.sign(&claims(&kit, "ann"))).await.unwrap();
    let new = Signer::new("two");
    provider.publish(&[new.public()]);
    come(&kit, &new.sign(&claims(&kit, "bob"))).await.unwrap();
    assert_eq!(provider.asked(), 4);
    assert_refused(
        come(&kit, &old.sign(&claims(&kit, "cat"))).await,
        "a withdrawn key",
    );
    let unknown = Signer::new("three");
    for _ in 0..20 {
        assert_refused(
            come(&kit, &unknown.sign(&claims(&kit, "dan"))).await,
            "unknown",
        );
    }
    assert_eq!(provider.asked(), 10, "two documents, five times");
    // Those who are known come in all the while.
    come(&kit, &new.sign(&claims(&kit, "eve"))).await.unwrap();
    provider.publish(&[new.public(), unknown.public()]);
    assert_refused(
        come(&kit, &unknown.sign(&claims(&kit, "dan"))).await,
        "too early",
    );
    kit.clock.advance(Duration::from_mins(1));
    come(&kit, &unknown.sign(&claims(&kit, "dan")))
        .await
        .unwrap();
    assert_eq!(provider.asked(), 12);
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_later_and_its_keys_are_good_for_a_day() {
    let provider = Arc::new(Provider::default());
    let signer = Signer::new("one");
    let kit = open(&provider).await;
    assert_unavailable(come(&kit, &signer.sign(&claims(&kit, "ann"))).await);
    kit.control.authenticate(&kit.key).await.unwrap();
    provider.publish(&[signer.public()]);
    come(&kit, &signer.sign(&claims(&kit, "ann")))
        .await
        .unwrap();
    provider.go_away();
    kit.clock.advance(Duration::from_hours(23));
    come(&kit, &signer.sign(&claims(&kit, "ann")))
        .await
        .unwrap();
    kit.clock.advance(Duration::from_hours(1));
    assert_unavailable(come(&kit, &signer.sign(&claims(&kit, "ann"))).await);
    provider.publish(&[signer.public()]);
    come(&kit, &signer.sign(&claims(&kit, "ann")))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_provider_that_does_not_answer_holds_nobody_for_long() {
    for url in [DISCOVERY, KEYS] {
        let (kit, provider, signer) = with_signer().await;
        provider.put(url, Document::Hangs);
        let documents = if url == KEYS { 2 } else { 1 };
        let coming: Vec<_> = ["ann", "bob"]
            .map(|sub| {
                let (control, token) = (kit.control.clone(), signer.sign(&claims(&kit, sub)));
                tokio::spawn(async move { control.authenticate(&token).await })
            })
            .into_iter()
            .collect();
        eventually("the provider is asked", async || {
            provider.asked() == documents
        })
        .await;
        kit.control.authenticate(&kit.key).await.unwrap();
        // Each round of asking ends when its time is over; who waits for one asks none of their own.
        let moving = async {
            loop {
                kit.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let told = async {
            for one in coming {
                assert_unavailable(one.await.unwrap());
            }
        };
        tokio::select! {
            () = within("both are told", told) => {}
            () = moving => {}
        }
    }
}

#[tokio::test]
async fn documents_that_are_huge_or_lead_elsewhere_are_not_taken() {
    let (kit, provider, signer) = with_signer().await;
    let token = signer.sign(&claims(&kit, "ann"));
    let filler = "x".repeat(300_000);
    let discovery =
        |issuer: &str, keys: &str| Document::Json(json!({"issuer": issuer, "jwks_uri": keys}));
    let good = discovery(ISSUER, KEYS);
    for (url, document) in [
        (
            KEYS,
            Document::Json(json!({"keys": [signer.public()], "x": filler})),
        ),
        (KEYS, Document::Json(json!({"keys": "none"}))),
        (KEYS, Document::Json(json!([]))),
        (
            DISCOVERY,
            Document::Json(json!({"issuer": ISSUER, "jwks_uri": KEYS, "x": filler})),
        ),
        (DISCOVERY, discovery("https://evil.example/", KEYS)),
        (DISCOVERY, discovery(ISSUER, "http://keys.example.com/jwks")),
        (DISCOVERY, Document::Json(json!({"issuer": ISSUER}))),
    ] {
        provider.put(url, document);
        kit.clock.advance(Duration::from_mins(1));
        assert_unavailable(come(&kit, &signer.sign(&claims(&kit, "ann"))).await);
        provider.put(DISCOVERY, good.clone());
        provider.put(KEYS, Document::Json(json!({"keys": [signer.public()]})));
    }
    // Many keys are no harm, but those far behind are not looked at.
    let mut keys: Vec<Value> = (0..64).map(|_| Signer::new("other").public()).collect();
    keys.push(signer.public());
    provider.put(KEYS, Document::Json(json!({"keys": keys})));
    kit.clock.advance(Duration::from_mins(1));
    let late = come(&kit, &signer.sign(&claims(&kit, "ann"))).await;
    assert_refused(late, "a key behind many");
    keys.rotate_right(1);
    provider.put(KEYS, Document::Json(json!({"keys": keys})));
    kit.clock.advance(Duration::from_mins(1));
    come(&kit, &signer.sign(&claims(&kit, "ann")))
        .await
        .unwrap();
    assert_refused(come(&kit, &token).await, "long expired");
}

#[tokio::test]
async fn a_provider_gives_nobody_the_account_or_the_address_of_another() {
    let (kit, _, signer) = with_signer().await;
    kit.add_user("ann").await;
    let admin = kit.caller.user.to_string();
    for sub in ["ann", &admin, "auth0|ann", "../ann"] {
        let token = signer.sign(&claims(&kit, sub));
        let caller = come(&kit, &token).await.unwrap();
        assert_ne!(caller.user.as_str(), sub);
        let user = kit.control.current_user(&caller).await.unwrap();
        assert!(!user.is_admin, "{sub}");
        // The address of the user that is there is known to be that user's.
        assert_eq!(user.is_email_verified, sub != "ann", "{sub} {user:?}");
        let again = come(&kit, &signer.sign(&claims(&kit, sub))).await.unwrap();
        assert_eq!(again.user, caller.user, "{sub}");
    }
}

#[tokio::test]
async fn later_tokens_bring_address_and_name_up_to_date() {
    let (kit, _, signer) = with_signer().await;
    let first = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": seconds(&kit, 300), "name": "<b>x</b>",
    });
    let seen = async |claims: &Value| {
        let caller = come(&kit, &signer.sign(claims)).await.unwrap();
        let user = kit.control.current_user(&caller).await.unwrap();
        (user.name, user.email, user.is_email_verified)
    };
    let seen_as = |name: &str, email: &str, verified| (name.to_owned(), email.to_owned(), verified);
    assert_eq!(seen(&first).await, seen_as("Unknown", "", false));
    let second = with(first.clone(), "email", json!("Ann@Example.com"));
    let second = with(second, "preferred_username", json!("ann.b"));
    assert_eq!(
        seen(&second).await,
        seen_as("ann.b", "ann@example.com", false)
    );
    let third = with(second, "email_verified", json!("true"));
    let third = with(third, "name", json!("Ann B"));
    assert_eq!(
        seen(&third).await,
        seen_as("ann.b", "ann@example.com", true)
    );
    let vendor = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "cat@example.com", "exp": seconds(&kit, 300),
        "cid": "client", "uid": "cat-1",
    });
    let caller = come(&kit, &signer.sign(&vendor)).await.unwrap();
    assert_eq!(caller.user.as_str(), "cat-1");
    let user = kit.control.current_user(&caller).await.unwrap();
    assert_eq!(user.email, "cat@example.com");
}

#[tokio::test]
async fn a_token_chooses_among_its_users_organizations_and_ends_with_its_time() {
    let (kit, _, signer) = with_signer().await;
    let token = signer.sign(&claims(&kit, "ann"));
    let home = come(&kit, &token).await.unwrap();
    let org = kit.caller.organization.to_string();
    let choice = OrganizationChoice {
        path: None,
        named: Some(&org),
    };
    let there = async || kit.control.authenticate_in(&token, choice).await;
    let refused = there().await;
    assert!(
        matches!(refused, Err(Error::NotFound { .. })),
        "{refused:?}"
    );
    let stays = |caller: &Caller| {
        let (control, caller) = (kit.control.clone(), caller.clone());
        tokio::spawn(async move { control.key_ended(&caller).await })
    };
    let staying = stays(&home);
    kit.clock.advance(Duration::from_secs(299));
    come(&kit, &token).await.unwrap();
    kit.clock.advance(Duration::from_secs(61));
    assert_refused(come(&kit, &token).await, "its time is over");
    within("what came with it ends", async {
        while !staying.is_finished() {
            kit.clock.advance(Duration::from_mins(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_provider_a_token_is_no_credential() {
    let kit = TestControl::open().await;
    let token = Signer::new("one").sign(&claims(&kit, "ann"));
    assert_refused(come(&kit, &token).await, "nobody is trusted");
}
