//! A second factor beside the password.

use std::net::IpAddr;
use std::time::Duration;

use alcove_control::{Caller, Clock as _, Entrance, Error, OrganizationChoice, SignedIn};
use alcove_testkit::{TestControl, TestStore};
use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;

pub(crate) const PASSWORD: &str = "correct horse battery";
const ADMIN: &str = "admin@localhost";

pub(crate) async fn try_with(
    kit: &TestControl,
    password: &str,
    code: Option<&str>,
) -> Result<SignedIn, Error> {
    let shown = Entrance {
        username: ADMIN,
        password,
        code,
        address: Some(IpAddr::from([192, 0, 2, 1])),
    };
    kit.control.sign_in(shown).await
}

/// The administrator with a password, who has signed in.
async fn signed_in() -> (TestControl, Caller) {
    let kit = TestControl::open().await;
    let caller = sign_in(&kit).await;
    (kit, caller)
}

pub(crate) async fn sign_in(kit: &TestControl) -> Caller {
    let link = kit.control.set_up_link().await.unwrap().unwrap();
    let used = kit.control.use_password_link(&link.text, PASSWORD);
    used.await.unwrap();
    let session = try_with(kit, PASSWORD, None).await.unwrap();
    let choice = OrganizationChoice::default();
    let caller = kit.control.authenticate_session(&session.text, choice);
    caller.await.unwrap()
}

/// What an authenticator shows so many steps from now.
pub(crate) fn shown(kit: &TestControl, secret: &str, steps: i64) -> String {
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let step = kit.clock.now().as_second() / 30 + steps;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[19] & 15);
    let number = u32::from_be_bytes(tag[offset..offset + 4].try_into().unwrap());
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

/// Turns the authenticator on; its secret and the codes that stand for it.
pub(crate) async fn turn_on(kit: &TestControl, caller: &Caller) -> (String, Vec<String>) {
    let begun = kit
        .control
        .begin_totp(caller, PASSWORD, None)
        .await
        .unwrap();
    assert!(begun.url.contains(&begun.secret), "{}", begun.url);
    let code = shown(kit, &begun.secret, 0);
    let codes = kit.control.confirm_totp(caller, &code).await.unwrap();
    (begun.secret, codes)
}

fn code_of<T: std::fmt::Debug>(outcome: Result<T, Error>) -> &'static str {
    outcome.unwrap_err().code()
}

#[tokio::test]
async fn an_authenticator_is_asked_for_once_it_is_confirmed() {
    let (kit, caller) = signed_in().await;
    let control = &kit.control;
    let early = control.confirm_totp(&caller, "000000").await;
    assert_eq!(code_of(early), "TOTP_NOT_BEGUN");
    let wrong = control.begin_totp(&caller, "wrong", None).await;
    assert!(matches!(wrong, Err(Error::Forbidden { .. })), "{wrong:?}");
    let by_key = control.begin_totp(&kit.caller, PASSWORD, None).await;
    assert!(matches!(by_key, Err(Error::Forbidden { .. })), "{by_key:?}");

    // One that was begun and given up locks nobody out.
    let given_up = control.begin_totp(&caller, PASSWORD, None).await.unwrap();
    try_with(&kit, PASSWORD, None).await.unwrap();
    let begun = control.begin_totp(&caller, PASSWORD, None).await.unwrap();
    let old = shown(&kit, &given_up.secret, 0);
    let refused = control.confirm_totp(&caller, &old).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert!(!control.has_totp(&caller).await.unwrap());
    let code = shown(&kit, &begun.secret, 0);
    let codes = control.confirm_totp(&caller, &code).await.unwrap();
    assert_eq!(codes.len(), 10);
    assert!(control.has_totp(&caller).await.unwrap());
    for again in [
        control.confirm_totp(&caller, &code).await.map(drop),
        control.begin_totp(&caller, PASSWORD, None).await.map(drop),
    ] {
        assert_eq!(code_of(again), "TOTP_ENABLED");
    }

    assert_eq!(
        code_of(try_with(&kit, PASSWORD, None).await),
        "TOTP_REQUIRED"
    );
    assert_eq!(
        code_of(try_with(&kit, PASSWORD, Some(" ")).await),
        "TOTP_REQUIRED"
    );
    assert_eq!(code_of(try_with(&kit, "wrong", None).await), "UNAUTHORIZED");
    kit.clock.advance(Duration::from_secs(30));
    let code = shown(&kit, &begun.secret, 0);
    assert_eq!(
        code_of(try_with(&kit, "wrong", Some(&code)).await),
        "UNAUTHORIZED"
    );
    let session = try_with(&kit, PASSWORD, Some(&code)).await.unwrap();
    assert!(session.has_totp);
}

#[tokio::test]
async fn a_code_is_good_once_and_for_about_its_time() {
    let (kit, caller) = signed_in().await;
    let (secret, _) = turn_on(&kit, &caller).await;
    // The one that confirmed it is used up.
    let confirming = shown(&kit, &secret, 0);
    let again = try_with(&kit, PASSWORD, Some(&confirming)).await;
    assert_eq!(code_of(again), "TOTP_INVALID");
    kit.clock.advance(Duration::from_mins(10));
    for steps in [-2, 2] {
        let code = shown(&kit, &secret, steps);
        assert_eq!(
            code_of(try_with(&kit, PASSWORD, Some(&code)).await),
            "TOTP_INVALID"
        );
    }
    let code = shown(&kit, &secret, 0);
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    try_with(&kit, PASSWORD, Some(&spaced)).await.unwrap();
    assert_eq!(
        code_of(try_with(&kit, PASSWORD, Some(&code)).await),
        "TOTP_INVALID"
    );
    let earlier = shown(&kit, &secret, -1);
    assert_eq!(
        code_of(try_with(&kit, PASSWORD, Some(&earlier)).await),
        "TOTP_INVALID"
    );
    let next = shown(&kit, &secret, 1);
    try_with(&kit, PASSWORD, Some(&next)).await.unwrap();
    let kit = kit.restart().await;
    let after = try_with(&kit, PASSWORD, Some(&next)).await;
    assert_eq!(code_of(after), "TOTP_INVALID");
}

#[tokio::test]
async fn a_recovery_code_stands_for_one_of_the_authenticator_once() {
    let (kit, caller) = signed_in().await;
    let (_, codes) = turn_on(&kit, &caller).await;
    let written = codes[3].to_lowercase().replace('-', " ");
    try_with(&kit, PASSWORD, Some(&written)).await.unwrap();
    let again = try_with(&kit, PASSWORD, Some(&codes[3])).await;
    assert_eq!(code_of(again), "TOTP_INVALID");
    try_with(&kit, PASSWORD, Some(&codes[4])).await.unwrap();
}

#[tokio::test]
async fn codes_are_guessed_no_faster_than_passwords() {
    let (kit, caller) = signed_in().await;
    let (secret, _) = turn_on(&kit, &caller).await;
    // A right password without a code is no failure.
    for _ in 0..20 {
        assert_eq!(
            code_of(try_with(&kit, PASSWORD, None).await),
            "TOTP_REQUIRED"
        );
    }
    for _ in 0..10 {
        // Of letters, so that it is never the right one.
        let guess = try_with(&kit, PASSWORD, Some("guess")).await;
        assert_eq!(code_of(guess), "TOTP_INVALID");
    }
    let right = shown(&kit, &secret, 1);
    let waits = try_with(&kit, PASSWORD, Some(&right)).await;
    assert_eq!(code_of(waits), "TOO_MANY_REQUESTS");
}

#[tokio::test]
async fn an_authenticator_is_removed_with_password_and_code() {
    let (kit, caller) = signed_in().await;
    let control = &kit.control;
    let (secret, codes) = turn_on(&kit, &caller).await;
    kit.clock.advance(Duration::from_secs(30));
    let code = shown(&kit, &secret, 0);
    for (password, code) in [("wrong", &*code), (PASSWORD, "guess"), (PASSWORD, "")] {
        let refused = control.remove_totp(&caller, password, code, None).await;
        assert!(
            matches!(refused, Err(Error::Forbidden { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        code_of(try_with(&kit, PASSWORD, None).await),
        "TOTP_REQUIRED"
    );
    let removed = control.remove_totp(&caller, PASSWORD, &code, None).await;
    removed.unwrap();
    try_with(&kit, PASSWORD, None).await.unwrap();
    let none = try_with(&kit, PASSWORD, Some(&codes[0])).await;
    assert!(matches!(none, Err(Error::Invalid { .. })), "{none:?}");
    // Another one has codes of its own.
    turn_on(&kit, &caller).await;
    let old = try_with(&kit, PASSWORD, Some(&codes[0])).await;
    assert_eq!(code_of(old), "TOTP_INVALID");
}

#[tokio::test]
async fn the_administrators_link_removes_an_authenticator_only_if_it_says_so() {
    let (kit, caller) = signed_in().await;
    turn_on(&kit, &caller).await;
    let admin = caller.user.to_string();
    for (removes, outcome) in [(false, Some("TOTP_REQUIRED")), (true, None)] {
        let link = kit
            .control
            .create_password_link(&kit.caller, &admin, removes);
        let link = link.await.unwrap();
        let used = kit.control.use_password_link(&link.text, PASSWORD);
        used.await.unwrap();
        let entered = try_with(&kit, PASSWORD, None).await;
        assert_eq!(entered.err().map(|error| error.code()), outcome);
    }
}

#[tokio::test]
async fn neither_the_secret_nor_a_code_stands_in_the_database() {
    let (kit, caller) = signed_in().await;
    let (secret, codes) = turn_on(&kit, &caller).await;
    kit.control.shutdown().await;
    let store: TestStore = kit.kill().await;
    let mut held = Vec::new();
    for file in std::fs::read_dir(store.path().parent().unwrap()).unwrap() {
        held.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let is_held = |text: &str| {
        held.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(is_held("recovery_codes"), "the positive control");
    let bytes = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    assert!(!held.windows(bytes.len()).any(|window| window == bytes));
    for text in codes.iter().chain([&secret]) {
        assert!(!is_held(text) && !is_held(&text.replace('-', "")), "{text}");
    }
}
