use std::sync::Arc;

use alcove_control::{Caller, Error};
use alcove_domain::{Permission, Permissions};
use alcove_testkit::TestControl;

use crate::support::*;

#[tokio::test]
async fn only_the_right_key_is_taken_and_the_bootstrap_is_repeatable() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let other = kit.key.replace("dtn_0", "dtn_1");
    for wrong in ["", "dtn_", "x", other.as_str(), &"x".repeat(100_000)] {
        let error = control.authenticate(wrong).await.unwrap_err();
        assert!(matches!(error, Error::Unauthenticated { .. }));
        assert_eq!(error.public_message(), "Invalid credentials");
    }
    let again = control.bootstrap(&kit.key).await.unwrap();
    assert!(!again.is_first);
    assert_eq!(again.organization, kit.caller.organization);
    // A new key takes the place of the old one.
    control.bootstrap(&other).await.unwrap();
    assert!(control.authenticate(&kit.key).await.is_err());
    let caller = control.authenticate(&other).await.unwrap();
    assert_eq!(caller.organization, kit.caller.organization);
}

fn stranger(kit: &TestControl) -> Caller {
    Caller {
        organization: "another-org".parse().unwrap(),
        ..kit.caller.clone()
    }
}

#[tokio::test]
async fn a_foreign_sandbox_does_not_exist() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let stranger = stranger(&kit);
    let control = &kit.control;
    for name in ["box", id.as_str(), "nope"] {
        let labels = std::collections::BTreeMap::new();
        let outcomes = [
            control.get_sandbox(&stranger, name).await.map(drop),
            control.start_sandbox(&stranger, name).await.map(drop),
            control.stop_sandbox(&stranger, name, true).await.map(drop),
            control.delete_sandbox(&stranger, name).await.map(drop),
            control
                .replace_labels(&stranger, name, labels)
                .await
                .map(drop),
            control.set_auto_stop(&stranger, name, 1).await.map(drop),
            control.set_auto_pause(&stranger, name, 0).await.map(drop),
            control.set_public(&stranger, name, true).await.map(drop),
            control.pause_sandbox(&stranger, name).await.map(drop),
            control.archive_sandbox(&stranger, name).await.map(drop),
            control.fork_sandbox(&stranger, name, None).await.map(drop),
            control.list_forks(&stranger, name, true).await.map(drop),
            control.find_parent(&stranger, name).map(drop),
            control.list_ancestors(&stranger, name).await.map(drop),
            control.update_last_activity(&stranger, name).await,
            control.resolve_toolbox(&stranger, name).map(drop),
        ];
        for outcome in outcomes {
            assert!(
                matches!(outcome, Err(Error::NotFound { .. })),
                "{outcome:?}"
            );
        }
    }
    let list = control.list_sandboxes(&stranger, alcove_control::ListSandboxes::default());
    assert!(list.await.unwrap().items.is_empty());
}

#[tokio::test]
async fn each_use_needs_its_permission() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let with = |permissions: &[Permission]| Caller {
        permissions: Arc::new(permissions.iter().copied().collect::<Permissions>()),
        ..kit.caller.clone()
    };
    let control = &kit.control;
    let reader = with(&[]);
    assert!(control.get_sandbox(&reader, "box").await.is_ok());
    let writer = with(&[Permission::WriteSandboxes]);
    let denied = [
        control.create_sandbox(&reader, named("x")).await.map(drop),
        control.start_sandbox(&reader, "box").await.map(drop),
        control.stop_sandbox(&reader, "box", false).await.map(drop),
        control.delete_sandbox(&writer, "box").await.map(drop),
        control.set_ttl(&reader, "box", 1).await.map(drop),
        control.set_auto_pause(&reader, "box", 0).await.map(drop),
        control.set_public(&reader, "box", true).await.map(drop),
        control.pause_sandbox(&reader, "box").await.map(drop),
        control.archive_sandbox(&reader, "box").await.map(drop),
        control
            .recover_sandbox(&reader, "box", true)
            .await
            .map(drop),
        control.fork_sandbox(&reader, "box", None).await.map(drop),
        control
            .snapshot_sandbox(&reader, "box", "x".to_owned(), false)
            .await
            .map(drop),
        control.resolve_toolbox(&reader, "box").map(drop),
    ];
    for outcome in denied {
        assert!(
            matches!(outcome, Err(Error::Forbidden { .. })),
            "{outcome:?}"
        );
    }
    assert!(control.resolve_toolbox(&writer, "box").is_ok());
}

#[tokio::test]
async fn the_toolbox_of_a_sandbox_that_does_not_run_is_refused_with_its_state() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let target = kit.control.resolve_toolbox(&kit.caller, "box").unwrap();
    assert_eq!(target.sandbox, id);
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    let error = kit.control.resolve_toolbox(&kit.caller, "box").unwrap_err();
    assert_eq!(error.code(), "SANDBOX_NOT_STARTED");
    kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
    let later = kit.control.resolve_toolbox(&kit.caller, "box").unwrap();
    assert!(later.generation > target.generation);
}

#[tokio::test]
async fn who_the_caller_is_can_be_read_back() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    let key = control.current_api_key(caller).await.unwrap();
    assert_eq!(key.name, "bootstrap");
    assert_eq!((key.prefix.as_str(), key.suffix.as_str()), ("dtn", "def"));
    let user = control.current_user(caller).await.unwrap();
    assert_eq!(user.id, caller.user);
    let org = control.current_organization(caller).await.unwrap();
    assert_eq!(org.id, caller.organization);
    assert!(org.is_personal);
}
