//! API keys as their holders make, see and end them.

use std::time::Duration;

use alcove_control::{Caller, Clock as _, Error};
use alcove_domain::{ApiKey, ApiKeyHash, Permission, Permissions};
use alcove_testkit::{TestControl, within};
use sha2::{Digest as _, Sha256};

const DEVELOPER: &[&str] = &["write:sandboxes", "manage:api_keys"];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn key(kit: &TestControl, caller: &Caller, name: &str, permissions: &[&str]) -> String {
    let permissions = words(permissions);
    let made = kit
        .control
        .create_api_key(caller, name.to_owned(), &permissions, None, None);
    made.await.unwrap().text
}

#[tokio::test]
async fn a_key_opens_what_it_was_made_for_and_is_shown_once() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let ends = kit
        .clock
        .now()
        .checked_add(Duration::from_hours(1))
        .unwrap();
    let made = control
        .create_api_key(
            &kit.caller,
            "ci".to_owned(),
            &words(DEVELOPER),
            Some(ends),
            None,
        )
        .await
        .unwrap();
    assert_eq!((made.text.len(), &made.text[..4]), (68, "dtn_"));
    let caller = control.authenticate(&made.text).await.unwrap();
    assert_eq!(caller.organization, kit.caller.organization);
    assert!(caller.require(Permission::WriteSandboxes).is_ok());
    assert!(caller.require(Permission::DeleteSandboxes).is_err());

    let listed = control.list_api_keys(&kit.caller).await.unwrap();
    let found = control.get_api_key(&caller, "ci").await.unwrap();
    assert!(listed.contains(&found));
    let masked = found.masked();
    assert_eq!(masked, format!("dtn{}{}", "*".repeat(20), &made.text[65..]));
    assert_eq!(found.expires_at, Some(ends));
    kit.clock.advance_minutes(60);
    let error = control.authenticate(&made.text).await.unwrap_err();
    assert_eq!(error.code(), "API_KEY_EXPIRED");
}

#[tokio::test]
async fn a_key_gives_no_more_than_its_maker_has() {
    let kit = TestControl::open().await;
    let text = key(&kit, &kit.caller, "ci", DEVELOPER).await;
    let developer = kit.control.authenticate(&text).await.unwrap();
    let more = words(&["write:sandboxes", "delete:sandboxes", "write:volumes"]);
    let refused = kit
        .control
        .create_api_key(&developer, "more".to_owned(), &more, None, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Forbidden { .. }));
    assert_eq!(
        refused.to_string(),
        "Insufficient permissions for assigning: delete:sandboxes, write:volumes"
    );
    key(&kit, &developer, "same", &["write:sandboxes"]).await;

    // Whoever lacks the permission has no part in it at all.
    let text = key(&kit, &kit.caller, "plain", &["write:sandboxes"]).await;
    let plain = kit.control.authenticate(&text).await.unwrap();
    let denied = [
        kit.control.list_api_keys(&plain).await.map(drop),
        kit.control.get_api_key(&plain, "ci").await.map(drop),
        kit.control.delete_api_key(&plain, None, "ci").await,
        kit.control
            .create_api_key(&plain, "x".to_owned(), &[], None, None)
            .await
            .map(drop),
    ];
    for outcome in denied {
        assert!(
            matches!(outcome, Err(Error::Forbidden { .. })),
            "{outcome:?}"
        );
    }
    assert!(kit.control.current_api_key(&plain).await.is_ok());
}

#[tokio::test]
async fn a_bad_key_is_refused_with_every_reason_and_a_taken_name_is_a_conflict() {
    let kit = TestControl::open().await;
    let refused = kit
        .control
        .create_api_key(
            &kit.caller,
            "<b>x</b>".to_owned(),
            &words(&["write:sandboxes", "fly"]),
            Some(kit.clock.now()),
            None,
        )
        .await
        .unwrap_err();
    let Error::Invalid { reasons, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for name in ["", "  "] {
        let refused = kit
            .control
            .create_api_key(&kit.caller, name.to_owned(), &[], None, None)
            .await;
        assert!(matches!(refused, Err(Error::Invalid { .. })));
    }
    key(&kit, &kit.caller, "ci", &[]).await;
    let taken = kit
        .control
        .create_api_key(&kit.caller, "ci".to_owned(), &[], None, None);
    let taken = taken.await.unwrap_err();
    assert_eq!(taken.code(), "API_KEY_EXISTS");
    assert_eq!(taken.to_string(), "API key with this name already exists");
}

#[tokio::test]
async fn an_ended_key_opens_nothing_and_what_stays_by_it_is_cut() {
    let kit = TestControl::open().await;
    let text = key(&kit, &kit.caller, "ci", DEVELOPER).await;
    let caller = kit.control.authenticate(&text).await.unwrap();
    let (control, holder) = (kit.control.clone(), caller.clone());
    let stays = tokio::spawn(async move { control.key_ended(&holder).await });
    let control = &kit.control;
    control.delete_api_key(&caller, None, "ci").await.unwrap();
    assert!(control.authenticate(&text).await.is_err());
    within("the end of what stays", stays).await.unwrap();
    let again = control.delete_api_key(&kit.caller, None, "ci").await;
    assert!(matches!(again, Err(Error::NotFound { .. })));
    // The control: another key is as good as before.
    assert!(control.authenticate(&kit.key).await.is_ok());
}

#[tokio::test]
async fn owners_see_and_end_the_keys_of_all_and_members_their_own() {
    let kit = TestControl::open().await;
    let member = kit.add_member("member", &[5]).await;
    let control = &kit.control;
    let names = async |caller: &Caller| {
        let keys = control.list_api_keys(caller).await.unwrap();
        let mut names: Vec<String> = keys.into_iter().map(|key| key.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&kit.caller).await, ["bootstrap", "whole"]);
    assert_eq!(names(&member).await, ["whole"]);
    let owner = kit.caller.user.as_str();
    let refused = control.delete_api_key(&member, Some(owner), "bootstrap");
    assert!(matches!(refused.await, Err(Error::Forbidden { .. })));
    let missing = control.get_api_key(&member, "bootstrap").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let users = control.delete_api_key(&kit.caller, Some(member.user.as_str()), "whole");
    users.await.unwrap();
    assert_eq!(names(&kit.caller).await, ["bootstrap"]);
}

#[tokio::test]
async fn the_operators_key_is_ended_where_it_was_set() {
    let kit = TestControl::open().await;
    let refused = kit
        .control
        .delete_api_key(&kit.caller, None, "bootstrap")
        .await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert!(kit.control.authenticate(&kit.key).await.is_ok());
}

#[tokio::test]
async fn the_last_use_is_known_at_once_orders_the_list_and_is_written_down() {
    let kit = TestControl::open().await;
    let first = key(&kit, &kit.caller, "first", &[]).await;
    key(&kit, &kit.caller, "second", &[]).await;
    kit.clock.advance_minutes(1);
    let used = kit.clock.now();
    kit.control.authenticate(&first).await.unwrap();
    let listed = kit.control.list_api_keys(&kit.caller).await.unwrap();
    assert_eq!(listed[0].name, "first");
    assert_eq!(listed[0].last_used_at, Some(used));
    let second = listed.iter().find(|key| key.name == "second").unwrap();
    assert_eq!(second.last_used_at, None);
    kit.control.shutdown().await;
    let hash = ApiKeyHash(Sha256::digest(&first).into());
    let stored = kit.store.reader().api_key_find(hash).await.unwrap();
    assert_eq!(stored.unwrap().last_used_at, Some(used));
}

#[tokio::test]
async fn the_administrators_key_has_what_a_newer_server_brought() {
    let kit = TestControl::open().await;
    let older = ApiKey {
        permissions: [Permission::WriteSandboxes].into_iter().collect(),
        ..kit.control.current_api_key(&kit.caller).await.unwrap()
    };
    let tx = kit.store.begin().await.unwrap();
    tx.api_key_replace(&older).await.unwrap();
    tx.commit().await.unwrap();
    kit.control.bootstrap(&kit.key).await.unwrap();
    let caller = kit.control.authenticate(&kit.key).await.unwrap();
    assert_eq!(*caller.permissions, Permissions::all());
}
