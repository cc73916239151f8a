//! Providers that organizations name, small and hostile ones, and their people.

mod keeping;
mod people;

use std::collections::HashMap;
use std::sync::Mutex;

use alcove_control::{CodeExchange, SignedIn, SsoArrival, SsoDeparture, SsoWeb};
use alcove_domain::{Access, Member, OrganizationId, Permissions, SsoProvider, SsoProviderRequest};
use alcove_testkit::TestControl;
use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::*;

const BACK: &str = "https://alcove.example.com/auth/sso";
const SECRET: &str = "swordfish of the client";
const AUTHORIZE: &str = "https://id.example.com/authorize?tenant=1";
const TOKEN: &str = "https://id.example.com/token";
const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A provider with a place where codes are taken.
#[derive(Debug, Default)]
pub struct Web {
    provider: Provider,
    codes: Mutex<HashMap<String, String>>,
    exchanged: Mutex<Vec<CodeExchange>>,
}

#[async_trait]
impl DocumentSource for Web {
    async fn fetch(&self, url: &str, max_bytes: u64) -> Result<Vec<u8>, Cause> {
        self.provider.fetch(url, max_bytes).await
    }
}

#[async_trait]
impl SsoWeb for Web {
    fn is_known(&self, _: &str) -> bool {
        false
    }

    async fn exchange(&self, code: CodeExchange, _: u64) -> Result<Vec<u8>, Cause> {
        let text = field(&code, "code");
        self.exchanged.lock().unwrap().push(code);
        // A code is good once.
        let token = self.codes.lock().unwrap().remove(&text);
        let token = token.ok_or("the answer was 400")?;
        Ok(json!({"access_token": "x", "id_token": token})
            .to_string()
            .into_bytes())
    }
}

fn field(code: &CodeExchange, name: &str) -> String {
    let found = code.form.iter().find(|(field, _)| *field == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

impl Web {
    fn publish(&self, signer: &Signer) {
        self.provider.put(
            DISCOVERY,
            Document::Json(json!({
                "issuer": ISSUER, "jwks_uri": KEYS, "authorization_endpoint": AUTHORIZE, "token_endpoint": TOKEN,
            })),
        );
        let keys = json!({"keys": [signer.public()]});
        self.provider.put(KEYS, Document::Json(keys));
    }

    fn give(&self, code: &str, token: String) {
        self.codes.lock().unwrap().insert(code.to_owned(), token);
    }
}

struct Place {
    kit: TestControl,
    /// Of an organization that is nobody's own.
    owner: Caller,
    web: Arc<Web>,
    signer: Signer,
}

/// What a provider is asked to say of somebody.
fn said(kit: &TestControl, sub: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": sub, "iat": seconds(kit, 0), "exp": seconds(kit, 300),
        "name": "Ann", "email": format!("{sub}@example.com"), "email_verified": true,
    })
}

fn query(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let found = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    let text = found.unwrap_or_else(|| panic!("{name} in {url}"));
    percent_decode(text)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'%' {
            bytes.push(u8::from_str_radix(&text[text.len() - behind.len()..][..2], 16).unwrap());
            rest = &behind[2..];
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// An organization that this user makes, as its owner.
async fn lab(kit: &TestControl, user: &Caller) -> Caller {
    let made = kit
        .control
        .create_organization(user, "Lab".to_owned(), None);
    let key = kit.add_key(&user.user, &made.await.unwrap().id).await;
    kit.control.authenticate(&key).await.unwrap()
}

impl Place {
    async fn open() -> Self {
        let (web, signer) = (Arc::new(Web::default()), Signer::new("one"));
        web.publish(&signer);
        let mut store = TestStore::default();
        store.settings.sso = Some(Arc::clone(&web) as Arc<dyn SsoWeb>);
        let kit = store.open().await;
        Self {
            owner: lab(&kit, &kit.caller).await,
            kit,
            web,
            signer,
        }
    }

    fn org(&self) -> &OrganizationId {
        &self.owner.organization
    }

    async fn name_provider(
        &self,
        owner: &Caller,
        change: impl FnOnce(&mut SsoProviderRequest),
    ) -> SsoProvider {
        let mut request = SsoProviderRequest {
            name: Some("Okta".to_owned()),
            issuer: Some(ISSUER.trim_end_matches('/').to_owned()),
            client_id: Some(AUDIENCE.to_owned()),
            client_secret: Some(SECRET.to_owned()),
            domains: Some(vec!["example.com".to_owned()]),
            role_ids: Some(vec![DEVELOPER.to_owned()]),
            ..SsoProviderRequest::default()
        };
        change(&mut request);
        let org = owner.organization.as_str();
        let made = self
            .kit
            .control
            .create_identity_provider(owner, org, request);
        made.await.unwrap()
    }

    async fn provider(&self) -> SsoProvider {
        self.name_provider(&self.owner, |_| {}).await
    }

    async fn depart(&self, provider: &SsoProvider) -> SsoDeparture {
        let departed = self.kit.control.depart_by_sso(provider.id.as_str(), BACK);
        departed.await.unwrap()
    }

    /// Comes back with what the provider says: the claims with the nonce of this departure.
    async fn arrive(&self, departure: &SsoDeparture, mut claims: Value) -> Result<SignedIn, Error> {
        if claims.get("nonce").is_none() {
            claims["nonce"] = json!(query(&departure.url, "nonce"));
        }
        self.web.give("code", self.signer.sign(&claims));
        self.come_back(departure, "code", |_| {}).await
    }

    async fn come_back(
        &self,
        departure: &SsoDeparture,
        code: &str,
        change: impl FnOnce(&mut SsoArrival),
    ) -> Result<SignedIn, Error> {
        let mut arrival = SsoArrival {
            state: query(&departure.url, "state"),
            code: code.to_owned(),
            cookie: departure.cookie.clone(),
            redirect_uri: BACK.to_owned(),
            address: None,
        };
        change(&mut arrival);
        self.kit.control.arrive_by_sso(arrival).await
    }

    async fn come(&self, provider: &SsoProvider, claims: Value) -> Result<SignedIn, Error> {
        let departure = self.depart(provider).await;
        self.arrive(&departure, claims).await
    }

    async fn caller(&self, begun: &SignedIn) -> Result<Caller, Error> {
        let choice = OrganizationChoice::default();
        self.kit
            .control
            .authenticate_session(&begun.text, choice)
            .await
    }

    async fn update(&self, provider: &SsoProvider, request: SsoProviderRequest) -> SsoProvider {
        let (control, org) = (&self.kit.control, self.org().as_str());
        let id = provider.id.as_str();
        let changed = control.update_identity_provider(&self.owner, org, id, request);
        changed.await.unwrap()
    }
}

async fn invite(place: &Place, email: &str) {
    let (control, org) = (&place.kit.control, place.org().as_str());
    let invited = control.create_invitation(&place.owner, org, email, ("member", &[]), None);
    invited.await.unwrap();
}

fn code<T>(outcome: Result<T, Error>) -> &'static str {
    match outcome {
        Ok(_) => "OK",
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn who_signs_in_by_an_organizations_provider_is_a_member_of_it_and_gets_nothing_else() {
    let place = Place::open().await;
    let control = &place.kit.control;
    assert!(!control.has_sso(place.org()));
    let provider = place.provider().await;
    assert!(control.has_sso(place.org()));
    assert_eq!(
        place.web.provider.asked(),
        0,
        "nothing is asked before somebody comes"
    );

    let departure = place.depart(&provider).await;
    assert!(departure.url.starts_with(AUTHORIZE), "{}", departure.url);
    assert_eq!(query(&departure.url, "redirect_uri"), BACK);
    assert_eq!(query(&departure.url, "scope"), "openid email profile");
    let begun = place
        .arrive(&departure, said(&place.kit, "p1"))
        .await
        .unwrap();
    assert_eq!(begun.user.email, "p1@example.com");
    assert!(
        !begun.user.is_email_verified,
        "an owner's provider proves nothing to others"
    );
    let exchanged = place.web.exchanged.lock().unwrap().pop().unwrap();
    assert_eq!(exchanged.url, TOKEN);
    assert_eq!(
        exchanged.basic,
        Some((AUDIENCE.to_owned(), SECRET.to_owned()))
    );
    let verifier = field(&exchanged, "code_verifier");
    let challenge = encode(Sha256::digest(&verifier));
    assert_eq!(query(&departure.url, "code_challenge"), challenge);

    let caller = place.caller(&begun).await.unwrap();
    assert_eq!(
        (&caller.organization, caller.role),
        (place.org(), MemberRole::Member)
    );
    assert!(!caller.is_whole_user && !caller.permissions.is_empty());
    let all = control.list_organizations(&caller).await.unwrap();
    assert_eq!(all.len(), 1);
    let own = place
        .kit
        .store
        .reader()
        .organization_find_personal(&caller.user)
        .await;
    let own = own.unwrap().unwrap().id;
    let choice = OrganizationChoice {
        path: None,
        named: Some(own.as_str()),
    };
    let elsewhere = control.authenticate_session(&begun.text, choice).await;
    assert_eq!(code(elsewhere), "NOT_FOUND");
    let by_path = OrganizationChoice {
        path: Some(own.as_str()),
        named: None,
    };
    let stays = control
        .authenticate_session(&begun.text, by_path)
        .await
        .unwrap();
    assert_eq!(&stays.organization, place.org());
    let made = control
        .create_organization(&caller, "Own".to_owned(), None)
        .await;
    assert_eq!(code(made), "FORBIDDEN");
    assert_eq!(code(control.pending_sso_links(&caller).await), "FORBIDDEN");

    // The same person again is the same user, with the name that is told.
    place.kit.clock.advance(Duration::from_mins(1));
    let again = place.come(&provider, said(&place.kit, "p1")).await.unwrap();
    assert_eq!(again.user.id, begun.user.id);
    let other = place.come(&provider, said(&place.kit, "p2")).await.unwrap();
    assert_ne!(other.user.id, begun.user.id);
}

#[tokio::test]
async fn a_session_of_a_provider_makes_no_key_that_stands_for_all_of_its_user() {
    let place = Place::open().await;
    let control = &place.kit.control;
    let provider = place.provider().await;
    let begun = place.come(&provider, said(&place.kit, "p1")).await.unwrap();
    let (org, id) = (place.org().as_str(), begun.user.id.as_str());
    let promoted = control
        .set_access(&place.owner, org, id, "owner", &[])
        .await;
    promoted.unwrap();
    let caller = place.caller(&begun).await.unwrap();
    assert_eq!(caller.role, MemberRole::Owner);
    let all: Vec<String> = Permissions::all()
        .iter()
        .map(|permission| permission.as_str().to_owned())
        .collect();
    let make = async |words: &[String], org: Option<&str>| {
        let made = control.create_api_key(&caller, "key".to_owned(), words, None, org);
        made.await
    };
    assert_eq!(code(make(&all, None).await), "FORBIDDEN");
    let own = place
        .kit
        .store
        .reader()
        .organization_find_personal(&caller.user)
        .await;
    let own = own.unwrap().unwrap().id;
    assert_eq!(code(make(&[], Some(own.as_str())).await), "FORBIDDEN");
    let owners = control.list_identity_providers(&caller, org).await;
    assert_eq!(owners.unwrap().len(), 1);
    let removed = control.delete_identity_provider(&caller, org, provider.id.as_str());
    assert_eq!(code(removed.await), "FORBIDDEN");
    let narrow = make(&[], None).await.unwrap();
    assert_eq!(narrow.key.organization_id, *place.org());
}

#[tokio::test]
async fn whoever_was_not_sent_or_is_named_by_nobody_comes_in_by_nothing() {
    let place = Place::open().await;
    let (control, kit) = (&place.kit.control, &place.kit);
    let provider = place.provider().await;
    let departure = place.depart(&provider).await;
    let other = place.depart(&provider).await;
    let nonce = query(&departure.url, "nonce");
    let good = with(said(kit, "p1"), "nonce", json!(nonce));
    let give = |claims: &Value| place.web.give("code", place.signer.sign(claims));
    let sent = async |change: fn(&mut SsoArrival, &SsoDeparture)| {
        give(&good);
        let came = place.come_back(&departure, "code", |it| change(it, &other));
        code(came.await)
    };
    let invalid = "SSO_STATE_INVALID";
    assert_eq!(
        sent(|it, other| it.cookie.clone_from(&other.cookie)).await,
        invalid
    );
    assert_eq!(
        sent(|it, other| it.state = query(&other.url, "state")).await,
        invalid
    );
    assert_eq!(sent(|it, _| it.cookie.clear()).await, invalid);
    assert_eq!(sent(|it, _| it.state.push('0')).await, invalid);
    assert_eq!(
        sent(|it, _| it.state = "a:99999999999:00".to_owned()).await,
        invalid
    );
    assert_eq!(sent(|it, _| it.code.clear()).await, "SSO_REFUSED");
    assert_eq!(
        sent(|it, _| it.code = "another".to_owned()).await,
        "SSO_REFUSED"
    );

    let stranger = Signer::new("one");
    for (what, token) in [
        (
            "another nonce",
            place.signer.sign(&with(good.clone(), "nonce", json!("x"))),
        ),
        (
            "no nonce",
            place.signer.sign(&with(good.clone(), "nonce", Value::Null)),
        ),
        (
            "another audience",
            place
                .signer
                .sign(&with(good.clone(), "aud", json!("other"))),
        ),
        (
            "another issuer",
            place
                .signer
                .sign(&with(good.clone(), "iss", json!("https://evil.example"))),
        ),
        (
            "given to another",
            place
                .signer
                .sign(&with(good.clone(), "azp", json!("other"))),
        ),
        (
            "expired",
            place
                .signer
                .sign(&with(good.clone(), "exp", json!(seconds(kit, -61)))),
        ),
        ("a swapped key", stranger.sign(&good)),
        ("none", "nonsense".to_owned()),
    ] {
        place.web.give("code", token);
        let came = place
            .come_back(&departure, "code", |_| {})
            .await
            .unwrap_err();
        assert!(
            matches!(came, Error::Unauthenticated { .. }),
            "{what}: {came:?}"
        );
    }
    assert_eq!(users(kit).await, 1, "none of them made a user");
    // The positive control, and the end of its time.
    place.come(&provider, said(kit, "p1")).await.unwrap();
    kit.clock.advance(Duration::from_mins(11));
    let late = place.arrive(&departure, said(kit, "p1")).await;
    assert_eq!(code(late), invalid);
    let unknown = control.depart_by_sso("none", BACK).await;
    assert_eq!(code(unknown), "SSO_UNKNOWN");
}

#[tokio::test]
async fn tries_without_end_are_held_off() {
    let place = Place::open().await;
    let provider = place.provider().await;
    let departure = place.depart(&provider).await;
    let mut outcomes = Vec::new();
    for _ in 0..11 {
        outcomes.push(code(place.come_back(&departure, "guess", |_| {}).await));
    }
    assert_eq!(outcomes[9], "SSO_REFUSED");
    assert_eq!(outcomes[10], "TOO_MANY_REQUESTS");
    assert_eq!(place.web.exchanged.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn people_of_other_domains_and_without_an_address_stay_outside() {
    let place = Place::open().await;
    let provider = place.provider().await;
    let other = with(said(&place.kit, "p1"), "email", json!("p1@evil.example"));
    assert_eq!(
        code(place.come(&provider, other.clone()).await),
        "FORBIDDEN"
    );
    let none = with(said(&place.kit, "p1"), "email", Value::Null);
    assert_eq!(code(place.come(&provider, none.clone()).await), "FORBIDDEN");
    assert_eq!(users(&place.kit).await, 1);
    let any = SsoProviderRequest {
        allows_any_domain: Some(true),
        ..SsoProviderRequest::default()
    };
    let provider = place.update(&provider, any).await;
    place.come(&provider, other).await.unwrap();
    place
        .come(&provider, with(none, "sub", json!("p2")))
        .await
        .unwrap();
}
