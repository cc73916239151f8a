//! People who come in with a password: the way in, what a session may, and its ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Caller, CameWith, Entrance, Error, OrganizationChoice, SignedIn};
use alcove_domain::{MemberRole, Permission};
use alcove_testkit::{TestControl, TestStore, within};
use jiff::SignedDuration;

const PASSWORD: &str = "correct horse battery";
const ADMIN: &str = "admin@localhost";

fn from(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn entrance<'a>(username: &'a str, password: &'a str) -> Entrance<'a> {
    Entrance {
        username,
        password,
        code: None,
        address: Some(from(1)),
    }
}

/// Gives the administrator a password.
async fn set_up(kit: &TestControl) {
    let link = kit.control.set_up_link().await.unwrap().unwrap();
    let used = kit.control.use_password_link(&link.text, PASSWORD);
    used.await.unwrap();
}

/// Gives a user a password.
async fn give_password(kit: &TestControl, user: &str) {
    let link = kit
        .control
        .create_password_link(&kit.caller, user, false)
        .await;
    let set = kit
        .control
        .use_password_link(&link.unwrap().text, PASSWORD)
        .await;
    set.unwrap();
}

async fn sign_in(kit: &TestControl, username: &str) -> SignedIn {
    let entered = kit.control.sign_in(entrance(username, PASSWORD)).await;
    entered.unwrap()
}

async fn caller_of(kit: &TestControl, session: &SignedIn) -> Result<Caller, Error> {
    let choice = OrganizationChoice::default();
    kit.control
        .authenticate_session(&session.text, choice)
        .await
}

fn assert_unauthenticated<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
}

#[tokio::test]
async fn the_set_up_link_sets_the_administrators_password_once_and_is_not_made_again() {
    let kit = TestControl::open().await;
    let first = kit.control.set_up_link().await.unwrap().unwrap();
    let second = kit.control.set_up_link().await.unwrap().unwrap();
    assert_unauthenticated(kit.control.use_password_link(&first.text, PASSWORD).await);
    assert_unauthenticated(kit.control.use_password_link("", PASSWORD).await);
    let short = kit.control.use_password_link(&second.text, "short").await;
    assert!(matches!(short, Err(Error::Invalid { .. })), "{short:?}");
    let used = kit.control.use_password_link(&second.text, PASSWORD).await;
    used.unwrap();
    assert_unauthenticated(kit.control.use_password_link(&second.text, PASSWORD).await);
    assert!(kit.control.set_up_link().await.unwrap().is_none());

    let session = sign_in(&kit, ADMIN).await;
    assert!(session.user.is_admin);
    let caller = caller_of(&kit, &session).await.unwrap();
    assert_eq!(caller.organization, kit.caller.organization);
    assert!(caller.is_whole_user && caller.role == MemberRole::Owner);
    assert!(matches!(caller.came_with, CameWith::Session(_)));
    caller.require(Permission::WriteSandboxes).unwrap();
    caller.require_owner().unwrap();
    assert_eq!(kit.control.list_users(&caller).await.unwrap().len(), 1);
    let key = kit.control.current_api_key(&caller).await;
    assert!(matches!(key, Err(Error::Forbidden { .. })), "{key:?}");
}

#[tokio::test]
async fn a_link_ends_after_a_day() {
    let kit = TestControl::open().await;
    let link = kit.control.set_up_link().await.unwrap().unwrap();
    kit.clock.advance(Duration::from_hours(24));
    assert_unauthenticated(kit.control.use_password_link(&link.text, PASSWORD).await);
}

#[tokio::test]
async fn unknown_names_wrong_passwords_and_users_without_one_are_one_answer() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    kit.add_user("ann").await;
    let mut texts = Vec::new();
    for (name, password) in [
        (ADMIN, "wrong horse battery"),
        (ADMIN, ""),
        ("nobody", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("ann", PASSWORD),
        ("ann@example.com", PASSWORD),
    ] {
        let refused = kit.control.sign_in(entrance(name, password)).await;
        texts.push(format!("{:?}", refused.unwrap_err()));
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("Invalid credentials"), "{texts:?}");
    // The positive control.
    let admin = kit.caller.user.clone();
    sign_in(&kit, admin.as_str()).await;
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_at_its_end_whatever_its_use() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    let (idle, busy) = (sign_in(&kit, ADMIN).await, sign_in(&kit, ADMIN).await);
    let hours = |session: &SignedIn| {
        let lasts = session
            .session
            .expires_at
            .duration_since(session.session.created_at);
        lasts.as_hours()
    };
    assert_eq!(hours(&busy), 7 * 24);
    for _ in 0..15 {
        kit.clock.advance(Duration::from_hours(11));
        caller_of(&kit, &busy).await.unwrap();
    }
    assert_unauthenticated(caller_of(&kit, &idle).await);
    kit.clock.advance(Duration::from_hours(3));
    assert_unauthenticated(caller_of(&kit, &busy).await);
}

#[tokio::test]
async fn a_session_and_its_last_use_outlive_a_restart() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    let session = sign_in(&kit, ADMIN).await;
    kit.clock.advance(Duration::from_hours(11));
    caller_of(&kit, &session).await.unwrap();
    kit.control.shutdown().await;
    let kit = kit.restart().await;
    kit.clock.advance(Duration::from_hours(11));
    caller_of(&kit, &session).await.unwrap();
    kit.clock.advance(Duration::from_hours(12));
    assert_unauthenticated(caller_of(&kit, &session).await);
}

#[tokio::test]
async fn signing_out_ends_one_session_or_all_of_the_user_and_what_stays_by_them() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    kit.add_user("ann").await;
    give_password(&kit, "ann").await;
    let other = sign_in(&kit, "ann").await;
    let (one, two) = (sign_in(&kit, ADMIN).await, sign_in(&kit, ADMIN).await);
    let (first, second) = (
        caller_of(&kit, &one).await.unwrap(),
        caller_of(&kit, &two).await.unwrap(),
    );
    let stays = |caller: &Caller| {
        let (control, caller) = (kit.control.clone(), caller.clone());
        tokio::spawn(async move { control.key_ended(&caller).await })
    };
    let (by_first, by_second) = (stays(&first), stays(&second));
    kit.control.sign_out(&first).await.unwrap();
    within("what came with it ends", by_first).await.unwrap();
    assert_unauthenticated(caller_of(&kit, &one).await);
    caller_of(&kit, &two).await.unwrap();
    assert!(!by_second.is_finished());
    kit.control.sign_out_everywhere(&kit.caller).await.unwrap();
    within("what came with it ends", by_second).await.unwrap();
    assert_unauthenticated(caller_of(&kit, &two).await);
    caller_of(&kit, &other).await.unwrap();
    kit.control.authenticate(&kit.key).await.unwrap();
    let by_key = kit.control.sign_out(&kit.caller).await;
    assert!(matches!(by_key, Err(Error::Forbidden { .. })), "{by_key:?}");
}

#[tokio::test]
async fn a_changed_password_ends_all_sessions_and_links_and_begins_one() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    let (one, two) = (sign_in(&kit, ADMIN).await, sign_in(&kit, ADMIN).await);
    let caller = caller_of(&kit, &one).await.unwrap();
    let admin = caller.user.to_string();
    let link = kit
        .control
        .create_password_link(&kit.caller, &admin, false)
        .await;
    let link = link.unwrap();
    let change = async |current: &str, new: &str| {
        let changed = kit
            .control
            .change_password(&caller, current, new, Some(from(1)));
        changed.await
    };
    let wrong = change("wrong", "another horse battery").await;
    assert!(matches!(wrong, Err(Error::Forbidden { .. })), "{wrong:?}");
    let short = change(PASSWORD, "short").await;
    assert!(matches!(short, Err(Error::Invalid { .. })), "{short:?}");
    caller_of(&kit, &two).await.unwrap();

    let anew = change(PASSWORD, "another horse battery").await.unwrap();
    caller_of(&kit, &anew).await.unwrap();
    for ended in [&one, &two] {
        assert_unauthenticated(caller_of(&kit, ended).await);
    }
    assert_unauthenticated(kit.control.use_password_link(&link.text, PASSWORD).await);
    assert_unauthenticated(kit.control.sign_in(entrance(ADMIN, PASSWORD)).await);
    let entered = entrance(ADMIN, "another horse battery");
    kit.control.sign_in(entered).await.unwrap();
    let by_key = kit
        .control
        .change_password(&kit.caller, PASSWORD, PASSWORD, None);
    let by_key = by_key.await;
    assert!(matches!(by_key, Err(Error::Forbidden { .. })), "{by_key:?}");
}

#[tokio::test]
async fn only_the_administrator_makes_links_for_others_and_using_one_ends_their_sessions() {
    let kit = TestControl::open().await;
    let ann = kit.add_member("ann", &[5]).await;
    let refused = kit.control.create_password_link(&ann, "ann", false).await;
    assert!(
        matches!(refused, Err(Error::Forbidden { .. })),
        "{refused:?}"
    );
    let missing = kit
        .control
        .create_password_link(&kit.caller, "bob", false)
        .await;
    assert!(
        matches!(missing, Err(Error::NotFound { .. })),
        "{missing:?}"
    );
    give_password(&kit, "ann").await;
    let session = sign_in(&kit, "ann@example.com").await;
    caller_of(&kit, &session).await.unwrap();
    give_password(&kit, "ann").await;
    assert_unauthenticated(caller_of(&kit, &session).await);
}

#[tokio::test]
async fn a_session_has_the_users_rights_of_the_moment_in_the_organization_that_is_chosen() {
    let kit = TestControl::open().await;
    kit.add_member("ann", &[1]).await;
    give_password(&kit, "ann").await;
    let session = sign_in(&kit, "ann").await;
    let org = kit.caller.organization.to_string();
    let in_org = async |path: Option<&str>, named: Option<&str>| {
        let choice = OrganizationChoice { path, named };
        let caller = kit.control.authenticate_session(&session.text, choice);
        caller.await
    };
    let home = in_org(None, None).await.unwrap();
    assert!(home.organization != kit.caller.organization && home.role == MemberRole::Owner);
    for (path, named) in [(None, Some(&*org)), (Some(&*org), None)] {
        let there = in_org(path, named).await.unwrap();
        assert_eq!(there.organization, kit.caller.organization);
        assert_eq!(there.role, MemberRole::Member);
        there.require(Permission::WriteSandboxes).unwrap();
        assert!(there.require(Permission::WriteVolumes).is_err());
    }
    // The path counts before the header; one that the user is no member of is for the operation to refuse.
    let own = home.organization.to_string();
    let both = in_org(Some(&own), Some(&org)).await.unwrap();
    assert_eq!(both.organization, home.organization);
    let elsewhere = in_org(Some("other"), None).await.unwrap();
    assert_eq!(elsewhere.organization, home.organization);
    for unknown in ["other", "..", ""] {
        let refused = in_org(None, Some(unknown)).await;
        assert!(
            matches!(refused, Err(Error::NotFound { .. })),
            "{refused:?}"
        );
    }

    // Rights change, and so does what the session may.
    let (control, admin) = (&kit.control, &kit.caller);
    let there = in_org(None, Some(&org)).await.unwrap();
    let staying = tokio::spawn({
        let control = control.clone();
        async move { control.key_ended(&there).await }
    });
    let role = ["00000000-0000-0000-0000-000000000006".to_owned()];
    let changed = control.set_access(admin, &org, "ann", "member", &role);
    changed.await.unwrap();
    let now = in_org(None, Some(&org)).await.unwrap();
    now.require(Permission::WriteVolumes).unwrap();
    assert!(now.require(Permission::WriteSandboxes).is_err());
    control.remove_member(admin, &org, "ann").await.unwrap();
    let gone = in_org(None, Some(&org)).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    in_org(None, None).await.unwrap();
    within("what stays there ends", staying).await.unwrap();
}

#[tokio::test]
async fn who_has_signed_in_sees_all_organizations_and_a_key_its_own() {
    let kit = TestControl::open().await;
    let ann = kit.add_member("ann", &[1]).await;
    give_password(&kit, "ann").await;
    let session = sign_in(&kit, "ann").await;
    let caller = caller_of(&kit, &session).await.unwrap();
    let all = kit.control.list_organizations(&caller).await.unwrap();
    let ids: Vec<_> = all.into_iter().map(|it| it.id).collect();
    assert_eq!(ids, [caller.organization, ann.organization.clone()]);
    let own = kit.control.list_organizations(&ann).await.unwrap();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].id, ann.organization);
}

fn retry_after<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Duration {
    match outcome.unwrap_err() {
        Error::TooManyRequests { retry_after, .. } => retry_after,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_account_that_was_guessed_at_waits_longer_each_time_from_wherever() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    let guess = async |kit: &TestControl, last| {
        let shown = Entrance {
            address: Some(from(last)),
            // In other letters it is the same account.
            username: if u8::is_multiple_of(last, 2) {
                ADMIN
            } else {
                "Admin@LocalHost"
            },
            password: "wrong",
            code: None,
        };
        kit.control.sign_in(shown).await
    };
    for last in 0..10 {
        assert_unauthenticated(guess(&kit, last).await);
    }
    let wait = retry_after(guess(&kit, 100).await);
    assert_eq!(wait, Duration::from_secs(30));
    // The right password waits as well, and a restart forgets nothing.
    let kit = kit.restart().await;
    let right = kit.control.sign_in(entrance(ADMIN, PASSWORD)).await;
    assert_eq!(retry_after(right), Duration::from_secs(30));
    // Other accounts do not.
    assert_unauthenticated(kit.control.sign_in(entrance("other", "x")).await);
    kit.clock.advance(wait);
    assert_unauthenticated(guess(&kit, 101).await);
    let wait = retry_after(guess(&kit, 102).await);
    assert_eq!(wait, Duration::from_mins(1));
    kit.clock.advance(wait);
    sign_in(&kit, ADMIN).await;
    // It begins anew.
    for last in 0..10 {
        assert_unauthenticated(guess(&kit, last).await);
    }
}

#[tokio::test]
async fn unknown_accounts_wait_like_known_ones() {
    let kit = TestControl::open().await;
    for _ in 0..10 {
        assert_unauthenticated(kit.control.sign_in(entrance("nobody", "x")).await);
    }
    let refused = kit.control.sign_in(entrance("nobody", "x")).await;
    assert_eq!(retry_after(refused), Duration::from_secs(30));
}

#[tokio::test]
async fn an_address_that_guesses_at_many_accounts_waits_and_one_success_forgives_one_failure() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    for number in 0..49 {
        let name = format!("user-{number}");
        assert_unauthenticated(kit.control.sign_in(entrance(&name, "x")).await);
    }
    sign_in(&kit, ADMIN).await;
    assert_unauthenticated(kit.control.sign_in(entrance("last", "x")).await);
    let refused = kit.control.sign_in(entrance(ADMIN, PASSWORD)).await;
    assert_eq!(retry_after(refused), Duration::from_secs(30));
    // The positive control: from elsewhere it works.
    let elsewhere = Entrance {
        address: Some(from(2)),
        ..entrance(ADMIN, PASSWORD)
    };
    kit.control.sign_in(elsewhere).await.unwrap();
}

#[tokio::test]
async fn guesses_at_the_same_moment_do_not_slip_through_together() {
    let kit = Arc::new(TestControl::open().await);
    set_up(&kit).await;
    let guesses: Vec<_> = (0..30)
        .map(|_| {
            let kit = Arc::clone(&kit);
            tokio::spawn(async move { kit.control.sign_in(entrance(ADMIN, "wrong")).await })
        })
        .collect();
    let mut looked_at = 0;
    for guess in guesses {
        match within("a guess is answered", guess).await.unwrap() {
            Err(Error::Unauthenticated { .. }) => looked_at += 1,
            Err(Error::TooManyRequests { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(looked_at, 10);
}

#[tokio::test]
async fn a_password_is_guessed_no_faster_through_an_open_session() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    let session = sign_in(&kit, ADMIN).await;
    let caller = caller_of(&kit, &session).await.unwrap();
    let change = async |current| {
        let changed = kit
            .control
            .change_password(&caller, current, PASSWORD, Some(from(1)));
        changed.await
    };
    for _ in 0..10 {
        let refused = change("wrong").await;
        assert!(
            matches!(refused, Err(Error::Forbidden { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(retry_after(change(PASSWORD).await), Duration::from_secs(30));
}

#[tokio::test]
async fn the_oldest_session_makes_room_for_one_too_many() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    let first = sign_in(&kit, ADMIN).await;
    kit.clock.advance(Duration::from_mins(1));
    let second = sign_in(&kit, ADMIN).await;
    caller_of(&kit, &first).await.unwrap();
    kit.clock.advance(Duration::from_mins(1));
    for _ in 0..99 {
        sign_in(&kit, ADMIN).await;
    }
    assert_unauthenticated(caller_of(&kit, &first).await);
    caller_of(&kit, &second).await.unwrap();
}

#[tokio::test]
async fn nothing_of_a_password_a_session_or_a_link_stands_in_the_database() {
    let kit = TestControl::open().await;
    let link = kit.control.set_up_link().await.unwrap().unwrap();
    let used = kit.control.use_password_link(&link.text, PASSWORD).await;
    used.unwrap();
    let session = sign_in(&kit, ADMIN).await;
    let open = kit
        .control
        .create_password_link(&kit.caller, kit.caller.user.as_str(), false);
    let open = open.await.unwrap();
    kit.control.shutdown().await;
    let store: TestStore = kit.kill().await;
    let folder = store.path().parent().unwrap().to_owned();
    let mut held = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        held.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let is_held = |text: &str| {
        held.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        is_held(ADMIN) && is_held("$argon2id$"),
        "the positive control"
    );
    for secret in [
        PASSWORD,
        &link.text,
        &open.text,
        &session.text,
        &session.csrf_token,
    ] {
        assert!(!is_held(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_csrf_token_is_one_sessions_own() {
    let kit = TestControl::open().await;
    set_up(&kit).await;
    let (one, two) = (sign_in(&kit, ADMIN).await, sign_in(&kit, ADMIN).await);
    let control = &kit.control;
    assert!(control.is_csrf_token(&one.text, &one.csrf_token));
    assert_eq!(control.csrf_token(&one.text), one.csrf_token);
    assert!(!control.is_csrf_token(&one.text, &two.csrf_token));
    assert!(!control.is_csrf_token(&one.text, ""));
    let ends = SignedDuration::from_hours(12);
    let caller = caller_of(&kit, &one).await.unwrap();
    let session = control.current_session(&caller).await.unwrap();
    assert_eq!(session.ends_at().duration_since(session.created_at), ends);
}
