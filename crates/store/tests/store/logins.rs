//! Passwords, links, sessions and failures to sign in.

use alcove_domain::{
    Attempts, DeviceCodeHash, DeviceDecision, DeviceLogin, LinkHash, LoginSession, PasswordLink,
    RecoveryHash, SealedTotp, SessionHash, User, UserId,
};
use alcove_store::{Identity, Store};

use crate::support::*;

on_both_databases! {
    a_program_that_waits_is_kept_as_it_is_and_decided_on_once,
    a_password_is_written_anew,
    a_name_at_the_door_is_an_id_or_an_address_that_is_known_to_be_the_users,
    a_user_has_one_link_and_it_is_taken_once,
    sessions_are_found_touched_kept_and_ended,
    failures_to_sign_in_are_counted_by_bucket,
    an_authenticator_goes_with_the_codes_that_stand_for_it,
    an_identity_is_one_users_and_a_user_is_written_anew,
}

fn user(id: &str) -> UserId {
    id.parse().unwrap()
}

async fn a_program_that_waits_is_kept_as_it_is_and_decided_on_once(place: Place) {
    let store = place.open().await;
    let login = |number: u8, second, address: Option<&str>| DeviceLogin {
        code: DeviceCodeHash([number; 32]),
        user_code: DeviceCodeHash([number + 100; 32]),
        client: "alcove".to_owned(),
        device: address.map(|_| "my laptop".to_owned()),
        address: address.map(|address| address.parse().unwrap()),
        began_at: at(second),
        decision: DeviceDecision::None,
    };
    let (first, second) = (login(1, 1, Some("2001:db8::1")), login(2, 2, None));
    let tx = store.begin().await.unwrap();
    for login in [&first, &second] {
        tx.device_login_insert(login).await.unwrap();
    }
    let approved = DeviceDecision::Approved(user("ann"), org());
    assert!(
        tx.device_login_decide(&first.code, &approved)
            .await
            .unwrap()
    );
    let denied = DeviceDecision::Denied;
    assert!(!tx.device_login_decide(&first.code, &denied).await.unwrap());
    assert!(tx.device_login_decide(&second.code, &denied).await.unwrap());
    assert!(
        !tx.device_login_decide(&second.code, &approved)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let mut all = store.reader().device_login_list_all().await.unwrap();
    all.sort_by_key(|login| login.began_at);
    let first = DeviceLogin {
        decision: approved,
        ..first
    };
    let second = DeviceLogin {
        decision: denied,
        ..second
    };
    assert_eq!(all, [first.clone(), second.clone()]);
    let tx = store.begin().await.unwrap();
    tx.device_login_delete_until(at(1)).await.unwrap();
    assert!(!tx.device_login_delete(&first.code).await.unwrap());
    assert!(tx.device_login_delete(&second.code).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.reader().device_login_list_all().await.unwrap(), []);
}

async fn a_password_is_written_anew(place: Place) {
    let store = place.open().await;
    assert!(!store.reader().password_is_set().await.unwrap());
    for hash in ["one", "two"] {
        let tx = store.begin().await.unwrap();
        tx.password_put(&user("ann"), hash, at(1)).await.unwrap();
        let within = tx.password_find(&user("ann")).await.unwrap();
        assert_eq!(within.as_deref(), Some(hash));
        tx.commit().await.unwrap();
        let found = store.reader().password_find(&user("ann")).await.unwrap();
        assert_eq!(found.as_deref(), Some(hash));
    }
    let other = store.reader().password_find(&user("bob")).await.unwrap();
    assert_eq!(other, None);
    assert!(store.reader().password_is_set().await.unwrap());
}

async fn a_name_at_the_door_is_an_id_or_an_address_that_is_known_to_be_the_users(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    for (id, email, is_email_verified) in [
        ("ann", "ann@example.com", true),
        ("bob", "bob@example.com", false),
        ("cat", "", true),
    ] {
        let user = User {
            id: user(id),
            name: id.to_owned(),
            email: email.to_owned(),
            is_email_verified,
            is_admin: false,
            created_at: at(1),
        };
        tx.user_insert(&user).await.unwrap();
    }
    tx.commit().await.unwrap();
    for (name, id) in [
        ("ann", Some("ann")),
        ("ann@example.com", Some("ann")),
        ("Ann@Example.com", Some("ann")),
        ("bob", Some("bob")),
        ("bob@example.com", None),
        ("dan", None),
        ("", None),
        ("ANN", None),
    ] {
        let found = store.reader().user_find_by_login(name).await.unwrap();
        let found = found.map(|user| user.id.to_string());
        assert_eq!(found.as_deref(), id, "{name}");
    }
}

async fn put_link(store: &Store, byte: u8, id: &str) -> PasswordLink {
    let link = PasswordLink {
        hash: LinkHash([byte; 32]),
        user_id: user(id),
        expires_at: at(9),
        removes_totp: byte == 2,
    };
    let tx = store.begin().await.unwrap();
    tx.password_link_put(&link).await.unwrap();
    tx.commit().await.unwrap();
    link
}

async fn a_user_has_one_link_and_it_is_taken_once(place: Place) {
    let store = place.open().await;
    let find = async |byte| {
        let found = store.reader().password_link_find(LinkHash([byte; 32]));
        found.await.unwrap()
    };
    put_link(&store, 1, "ann").await;
    let second = put_link(&store, 2, "ann").await;
    let other = put_link(&store, 3, "bob").await;
    assert_eq!(find(1).await, None);
    assert_eq!(find(2).await, Some(second));
    let tx = store.begin().await.unwrap();
    assert!(tx.password_link_delete(LinkHash([2; 32])).await.unwrap());
    assert!(!tx.password_link_delete(LinkHash([2; 32])).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!((find(2).await, find(3).await), (None, Some(other)));
    let tx = store.begin().await.unwrap();
    tx.password_link_delete_of(&user("bob")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(find(3).await, None);
}

fn session(byte: u8, id: &str, last_used: i64) -> LoginSession {
    LoginSession {
        hash: SessionHash([byte; 32]),
        user_id: user(id),
        created_at: at(1),
        last_used_at: at(last_used),
        expires_at: at(100),
        came_by: None,
    }
}

async fn sessions_are_found_touched_kept_and_ended(place: Place) {
    let store = place.open().await;
    let there = async || {
        let mut there = Vec::new();
        for byte in 1..=5 {
            let found = store.reader().login_session_find(SessionHash([byte; 32]));
            there.extend(found.await.unwrap().map(|_| byte));
        }
        there
    };
    let tx = store.begin().await.unwrap();
    for (byte, last_used) in [(1, 10), (2, 30), (3, 20), (4, 40)] {
        let session = session(byte, "ann", last_used);
        tx.login_session_insert(&session).await.unwrap();
    }
    tx.login_session_insert(&session(5, "bob", 5))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let found = store.reader().login_session_find(SessionHash([2; 32]));
    assert_eq!(found.await.unwrap(), Some(session(2, "ann", 30)));

    let tx = store.begin().await.unwrap();
    tx.login_session_touch(SessionHash([1; 32]), at(50))
        .await
        .unwrap();
    tx.login_session_touch(SessionHash([9; 32]), at(50))
        .await
        .unwrap();
    assert!(tx.login_session_keep(&user("ann"), 3).await.unwrap());
    assert!(!tx.login_session_keep(&user("ann"), 3).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(there().await, [1, 2, 4, 5]);

    let tx = store.begin().await.unwrap();
    tx.login_session_prune(at(99), at(30)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(there().await, [1, 4]);
    let tx = store.begin().await.unwrap();
    assert!(tx.login_session_delete(SessionHash([1; 32])).await.unwrap());
    assert!(!tx.login_session_delete(SessionHash([1; 32])).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(there().await, [4]);
    let tx = store.begin().await.unwrap();
    tx.login_session_delete_all(&user("ann")).await.unwrap();
    tx.login_session_insert(&session(5, "bob", 5))
        .await
        .unwrap();
    tx.login_session_prune(at(100), at(0)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(there().await.is_empty());
}

async fn failures_to_sign_in_are_counted_by_bucket(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.login_attempts_find("a").await.unwrap(), None);
    for failures in [1, 2] {
        let attempts = Attempts {
            failures,
            last_at: at(i64::from(failures)),
        };
        tx.login_attempts_put("a", &attempts).await.unwrap();
        assert_eq!(tx.login_attempts_find("a").await.unwrap(), Some(attempts));
    }
    assert_eq!(tx.login_attempts_find("b").await.unwrap(), None);
    tx.login_attempts_delete("a").await.unwrap();
    assert_eq!(tx.login_attempts_find("a").await.unwrap(), None);
    tx.commit().await.unwrap();
}

async fn an_authenticator_goes_with_the_codes_that_stand_for_it(place: Place) {
    let store = place.open().await;
    let ann = user("ann");
    let code = |byte| RecoveryHash([byte; 32]);
    let tx = store.begin().await.unwrap();
    for last_step in [0, 7] {
        let totp = SealedTotp {
            sealed: vec![1, 2, 3],
            last_step,
            is_confirmed: last_step > 0,
        };
        tx.totp_put(&ann, &totp).await.unwrap();
        assert_eq!(tx.totp_find(&ann).await.unwrap(), Some(totp));
    }
    tx.recovery_code_replace(&ann, &[code(9)]).await.unwrap();
    let codes = [code(1), code(2)];
    tx.recovery_code_replace(&ann, &codes).await.unwrap();
    tx.recovery_code_replace(&user("bob"), &codes)
        .await
        .unwrap();
    assert!(!tx.recovery_code_take(&ann, code(9)).await.unwrap());
    assert!(tx.recovery_code_take(&ann, code(1)).await.unwrap());
    assert!(!tx.recovery_code_take(&ann, code(1)).await.unwrap());
    tx.totp_delete(&ann).await.unwrap();
    assert!(!tx.recovery_code_take(&ann, code(2)).await.unwrap());
    assert!(tx.recovery_code_take(&user("bob"), code(2)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.reader().totp_find(&ann).await.unwrap(), None);
}

async fn an_identity_is_one_users_and_a_user_is_written_anew(place: Place) {
    let store = place.open().await;
    let mut ann = User {
        id: user("ann"),
        name: "Unknown".to_owned(),
        email: String::new(),
        is_email_verified: false,
        is_admin: false,
        created_at: at(1),
    };
    let tx = store.begin().await.unwrap();
    tx.user_insert(&ann).await.unwrap();
    let own = Identity {
        issuer: "https://a/".to_owned(),
        subject: "s".to_owned(),
        user_id: ann.id.clone(),
        is_linked: true,
    };
    tx.identity_put(&own).await.unwrap();
    let found = tx.identity_find("https://a/", "s").await.unwrap();
    assert_eq!(found.as_ref(), Some(&own));
    tx.commit().await.unwrap();
    for (issuer, subject) in [("https://b/", "s"), ("https://a/", "S")] {
        let found = store.reader().identity_find(issuer, subject).await;
        assert_eq!(found.unwrap(), None);
    }
    "Ann".clone_into(&mut ann.name);
    "ann@example.com".clone_into(&mut ann.email);
    ann.is_email_verified = true;
    let tx = store.begin().await.unwrap();
    tx.user_update(&ann).await.unwrap();
    assert_eq!(tx.user_find(&ann.id).await.unwrap(), Some(ann.clone()));
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    let of_bob = Identity {
        user_id: user("bob"),
        ..own.clone()
    };
    assert!(tx.identity_put(&of_bob).await.is_err());
    drop(tx);
    let reader = store.reader();
    assert_eq!(reader.identity_list_of(&ann.id).await.unwrap(), [own]);
    assert_eq!(reader.identity_list_of(&user("bob")).await.unwrap(), []);
    let tx = store.begin().await.unwrap();
    assert!(tx.identity_delete("https://a/", "s").await.unwrap());
    assert!(!tx.identity_delete("https://a/", "s").await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.reader().user_find(&ann.id).await.unwrap(), Some(ann));
}
