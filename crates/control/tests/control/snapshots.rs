use std::sync::Arc;
use std::time::Duration;

use alcove_control::{ConfiguredCredentials, CreateRegistry, Error, Step};
use alcove_domain::{
    NewSandbox, NewSnapshot, Quota, RegistryRequest, Secret, Snapshot, SnapshotState,
};
use alcove_runner_api::{ImageDigest, PullFaultCode, RegistryCredentials};
use alcove_testkit::{HoldAt, TestControl, TestStore, eventually, within};

use crate::support::*;

fn of(name: &str, image: &str) -> NewSnapshot {
    NewSnapshot {
        name: name.to_owned(),
        image_name: Some(image.to_owned()),
        ..NewSnapshot::default()
    }
}

async fn make_snapshot(kit: &TestControl, request: NewSnapshot) -> Result<Snapshot, Error> {
    let made = kit.control.create_snapshot(&kit.caller, request);
    within("a snapshot", made).await
}

async fn find(kit: &TestControl, id_or_name: &str) -> Option<Snapshot> {
    kit.control.get_snapshot(&kit.caller, id_or_name).await.ok()
}

async fn settles(kit: &TestControl, name: &str, wanted: SnapshotState) -> Snapshot {
    let mut found = None;
    eventually(&format!("{name} becomes {wanted:?}"), async || {
        found = find(kit, name).await;
        found.as_ref().is_some_and(|found| found.state == wanted)
    })
    .await;
    found.unwrap()
}

async fn goes(kit: &TestControl, name: &str) {
    eventually(&format!("{name} goes"), async || {
        find(kit, name).await.is_none()
    })
    .await;
}

async fn active(kit: &TestControl, name: &str) -> Snapshot {
    make_snapshot(kit, of(name, "host:5000/a/b:1"))
        .await
        .unwrap();
    settles(kit, name, SnapshotState::Active).await
}

fn from(snapshot: &str) -> NewSandbox {
    NewSandbox {
        snapshot: Some(snapshot.to_owned()),
        ..NewSandbox::default()
    }
}

fn message(error: &Error) -> String {
    error.public_message()
}

#[tokio::test]
async fn a_snapshot_is_answered_at_once_and_pulled_behind_the_answer() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let made = make_snapshot(&kit, of("mine", "host:5000/a/b:1"))
        .await
        .unwrap();
    assert_eq!(made.state, SnapshotState::Pending);
    assert_eq!(made.image_name.as_deref(), Some("host:5000/a/b:1"));
    settles(&kit, "mine", SnapshotState::Pulling).await;
    let early = create(&kit, from("mine")).await.unwrap_err();
    assert_eq!(message(&early), "Snapshot mine is pulling");
    kit.runner.resume_work();
    let found = settles(&kit, "mine", SnapshotState::Active).await;
    assert_eq!(found.id, made.id);
    assert_eq!(found.image, "sha256:host:5000/a/b:1");
    assert_eq!(
        (found.size_bytes, found.user.as_str()),
        (Some(1 << 20), "daytona")
    );
    assert_eq!(found.entrypoint, ["/of-the-image"]);
    let sandbox = create(&kit, from("mine")).await.unwrap();
    let spec = kit.runner.spec(&sandbox.id).unwrap();
    assert_eq!(spec.image, ImageDigest(found.image));
    assert!(
        spec.entrypoint.is_empty(),
        "the image's own, with its arguments"
    );
    let pull = kit.runner.pulls().remove(0);
    assert_eq!(pull.reference, "host:5000/a/b:1");
    assert_eq!(pull.owner, kit.caller.organization.as_str());
    assert_eq!(pull.max_bytes, 20 << 30);
    assert_eq!(pull.credentials, None);
}

#[tokio::test]
async fn the_callers_entrypoint_reaches_the_sandbox_and_what_is_made_of_it() {
    let kit = TestControl::open().await;
    let own = vec!["/bin/server".to_owned(), "--quiet".to_owned()];
    let request = NewSnapshot {
        entrypoint: Some(own.clone()),
        ..of("mine", "host:5000/a/b:1")
    };
    make_snapshot(&kit, request).await.unwrap();
    let found = settles(&kit, "mine", SnapshotState::Active).await;
    assert_eq!(found.entrypoint, own);
    let request = NewSandbox {
        name: Some("box".to_owned()),
        ..from("mine")
    };
    let sandbox = create(&kit, request).await.unwrap();
    assert_eq!(kit.runner.spec(&sandbox.id).unwrap().entrypoint, own);
    assert_eq!(row(&kit, &sandbox.id).await.entrypoint, own);
    let (control, caller) = (&kit.control, &kit.caller);
    let again = control.snapshot_sandbox(caller, "box", "again".to_owned(), false);
    within("a snapshot", again).await.unwrap();
    let third = create(&kit, from("again")).await.unwrap();
    assert_eq!(kit.runner.spec(&third.id).unwrap().entrypoint, own);
}

#[tokio::test]
async fn configured_credentials_go_along_to_their_registry_only() {
    let mut store = TestStore::default();
    let known = RegistryCredentials {
        username: "u".to_owned(),
        password: "p".to_owned(),
    };
    let configured = [("host:5000".to_owned(), known.clone())].into();
    store.settings.credentials = Arc::new(ConfiguredCredentials(configured));
    let kit = store.open().await;
    active(&kit, "mine").await;
    make_snapshot(&kit, of("other", "python:3.12"))
        .await
        .unwrap();
    settles(&kit, "other", SnapshotState::Active).await;
    let sent: Vec<_> = kit
        .runner
        .pulls()
        .into_iter()
        .map(|pull| pull.credentials)
        .collect();
    assert_eq!(sent, [Some(known), None]);
}

#[tokio::test]
async fn the_organizations_own_registry_comes_before_the_operators() {
    let mut store = TestStore::default();
    let login = |username: &str| RegistryCredentials {
        username: username.to_owned(),
        password: "p".to_owned(),
    };
    let configured = [("host:5000".to_owned(), login("operator"))].into();
    store.settings.credentials = Arc::new(ConfiguredCredentials(configured));
    let kit = store.open().await;
    let registry = CreateRegistry {
        request: RegistryRequest {
            name: "mine".to_owned(),
            url: "http://host:5000".to_owned(),
            username: "own".to_owned(),
            password: Some(Secret("p".to_owned())),
            project: Some("a".to_owned()),
        },
        kind: None,
        is_default: false,
    };
    let made = kit.control.create_registry(&kit.caller, registry).await;
    made.unwrap();
    active(&kit, "mine").await;
    make_snapshot(&kit, of("other", "host:5000/b:1"))
        .await
        .unwrap();
    settles(&kit, "other", SnapshotState::Active).await;
    let pulls = kit.runner.pulls().into_iter();
    let sent: Vec<_> = pulls
        .map(|pull| (pull.credentials, pull.is_plain))
        .collect();
    // The second image is in no project of the organization's.
    let expected = [(Some(login("own")), true), (Some(login("operator")), false)];
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn what_cannot_be_pulled_ends_in_error_with_its_reason() {
    let kit = TestControl::open().await;
    kit.runner.fail_next_pull(PullFaultCode::NotFound);
    make_snapshot(&kit, of("mine", "a:1")).await.unwrap();
    let found = settles(&kit, "mine", SnapshotState::Error).await;
    assert_eq!(found.error_reason.as_deref(), Some("NotFound"));
    let refused = create(&kit, from("mine")).await.unwrap_err();
    assert_eq!(message(&refused), "Snapshot mine is error");
    kit.control
        .delete_snapshot(&kit.caller, "mine")
        .await
        .unwrap();
    goes(&kit, "mine").await;
    active(&kit, "mine").await;
}

#[tokio::test]
async fn names_are_taken_once_and_rules_are_told() {
    let kit = TestControl::open().await;
    active(&kit, "mine").await;
    let taken = make_snapshot(&kit, of("mine", "b:1")).await.unwrap_err();
    assert_eq!(taken.code(), "SNAPSHOT_NAME_TAKEN");
    let latest = make_snapshot(&kit, of("other", "b:latest"))
        .await
        .unwrap_err();
    assert_eq!(latest.code(), "BAD_REQUEST");
    let nowhere = NewSnapshot {
        region: Some("mars".to_owned()),
        ..of("other", "b:1")
    };
    assert_eq!(
        make_snapshot(&kit, nowhere).await.unwrap_err().code(),
        "NOT_FOUND"
    );
    assert_eq!(kit.runner.pulls().len(), 1);
}

#[tokio::test]
async fn the_quota_counts_what_is_there_or_on_its_way() {
    let mut store = TestStore::default();
    store.settings.snapshots.quota = Some(2);
    store.settings.default_quota = Quota {
        sandbox_memory_gib: Some(8),
        ..Quota::default()
    };
    let kit = store.open().await;
    active(&kit, "one").await;
    kit.runner.hold_work();
    make_snapshot(&kit, of("two", "a:1")).await.unwrap();
    let over = make_snapshot(&kit, of("three", "a:1")).await.unwrap_err();
    assert_eq!(over.code(), "QUOTA_EXCEEDED");
    assert_eq!(
        message(&over),
        "Snapshot quota exceeded. Maximum allowed: 2"
    );
    let (control, caller) = (&kit.control, &kit.caller);
    kit.runner.resume_work();
    settles(&kit, "two", SnapshotState::Active).await;
    make(&kit, "box").await;
    let of_sandbox = control.snapshot_sandbox(caller, "box", "four".to_owned(), false);
    assert_eq!(of_sandbox.await.unwrap_err().code(), "QUOTA_EXCEEDED");
    control.deactivate_snapshot(caller, "one").await.unwrap();
    assert_eq!(control.snapshot_use(caller).await.unwrap(), (1, Some(2)));
    let large = NewSnapshot {
        memory: Some(16),
        ..of("large", "a:1")
    };
    assert_eq!(
        make_snapshot(&kit, large).await.unwrap_err().code(),
        "QUOTA_EXCEEDED"
    );
    active(&kit, "three").await;
    kit.clock.advance_minutes(11);
    let back = control.activate_snapshot(caller, "one").await.unwrap_err();
    assert_eq!(back.code(), "QUOTA_EXCEEDED");
    assert_eq!(
        find(&kit, "one").await.unwrap().state,
        SnapshotState::Inactive
    );
}

#[tokio::test]
async fn an_inactive_snapshot_gives_its_image_back_and_fetches_the_very_same_again() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    let before = active(&kit, "mine").await;
    let name = format!("+snapshot-{}", before.id);
    for _ in 0..2 {
        control.deactivate_snapshot(caller, "mine").await.unwrap();
    }
    eventually("the image is released", async || {
        !kit.runner.has_image(&name)
    })
    .await;
    let refused = create(&kit, from("mine")).await.unwrap_err();
    assert_eq!(message(&refused), "Snapshot mine is inactive");
    let early = control.activate_snapshot(caller, "mine").await.unwrap_err();
    assert!(message(&early).contains("10 minutes"), "{early:?}");
    kit.clock.advance_minutes(11);
    let pending = control.activate_snapshot(caller, "mine").await.unwrap();
    assert_eq!(pending.state, SnapshotState::Pending);
    let after = settles(&kit, "mine", SnapshotState::Active).await;
    assert_eq!(after.image, before.image);
    let pulls = kit.runner.pulls();
    let last = &pulls[pulls.len() - 1];
    assert_eq!(last.reference, format!("host:5000/a/b@{}", before.image));
    let again = control.activate_snapshot(caller, "mine").await.unwrap_err();
    assert!(
        message(&again).contains("only an inactive one"),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_snapshot_of_a_sandbox_keeps_its_image_while_it_is_inactive() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    make(&kit, "box").await;
    let made = control.snapshot_sandbox(caller, "box", "mine".to_owned(), false);
    within("a snapshot", made).await.unwrap();
    let found = find(&kit, "mine").await.unwrap();
    let name = format!("+snapshot-{}", found.id);
    control.deactivate_snapshot(caller, "mine").await.unwrap();
    kit.clock.advance_minutes(11);
    let back = control.activate_snapshot(caller, "mine").await.unwrap();
    assert_eq!(back.state, SnapshotState::Active);
    assert!(kit.runner.has_image(&name));
    control.delete_snapshot(caller, "mine").await.unwrap();
    goes(&kit, "mine").await;
    assert!(!kit.runner.has_image(&name));
}

#[tokio::test]
async fn a_general_snapshot_is_nobodys_to_change() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    for refused in [
        control
            .delete_snapshot(caller, "default")
            .await
            .unwrap_err(),
        control
            .deactivate_snapshot(caller, "default")
            .await
            .unwrap_err(),
        control
            .activate_snapshot(caller, "default")
            .await
            .unwrap_err(),
    ] {
        assert_eq!(refused.code(), "FORBIDDEN");
    }
    let missing = control.delete_snapshot(caller, "nope").await.unwrap_err();
    assert_eq!(missing.code(), "NOT_FOUND");
    make(&kit, "box").await;
}

#[tokio::test]
async fn a_snapshot_that_is_deleted_while_it_is_pulled_goes() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    make_snapshot(&kit, of("mine", "a:1")).await.unwrap();
    settles(&kit, "mine", SnapshotState::Pulling).await;
    kit.control
        .delete_snapshot(&kit.caller, "mine")
        .await
        .unwrap();
    goes(&kit, "mine").await;
    assert_eq!(kit.runner.released().len(), 1);
    kit.runner.resume_work();
    active(&kit, "mine").await;
}

#[tokio::test]
async fn a_sandbox_outlives_its_snapshot() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    let snapshot = active(&kit, "mine").await;
    let request = NewSandbox {
        name: Some("box".to_owned()),
        ..from("mine")
    };
    create(&kit, request).await.unwrap();
    control.stop_sandbox(caller, "box", false).await.unwrap();
    control.delete_snapshot(caller, "mine").await.unwrap();
    goes(&kit, "mine").await;
    kit.clock.advance_minutes(1);
    eventually("images are looked through", async || {
        let image = ImageDigest(snapshot.image.clone());
        let collected = kit.runner.collected();
        collected
            .last()
            .is_some_and(|needed| needed.images.contains(&image))
    })
    .await;
    let started = control.start_sandbox(caller, "box").await.unwrap();
    assert_eq!(started.snapshot, "mine");
    let id = started.id.clone();
    control.delete_sandbox(caller, "box").await.unwrap();
    vanishes(&kit, &id).await;
    eventually("the image is needed no more", async || {
        kit.clock.advance_minutes(1);
        let image = ImageDigest(snapshot.image.clone());
        let collected = kit.runner.collected();
        collected
            .last()
            .is_some_and(|needed| !needed.images.contains(&image))
    })
    .await;
}

#[tokio::test]
async fn what_nobody_uses_for_long_becomes_inactive() {
    let mut store = TestStore::default();
    store.settings.snapshots.unused = Some(Duration::from_hours(1));
    let kit = store.open().await;
    active(&kit, "old").await;
    kit.clock.advance_minutes(55);
    let used = create(&kit, from("old")).await.unwrap();
    active(&kit, "new").await;
    // The use is written down, and the look comes.
    kit.clock.advance_minutes(10);
    kit.clock.advance_minutes(1);
    assert_eq!(
        find(&kit, "old").await.unwrap().state,
        SnapshotState::Active
    );
    eventually("both become inactive", async || {
        kit.clock.advance_minutes(2);
        let (old, new) = (find(&kit, "old").await, find(&kit, "new").await);
        [old, new]
            .iter()
            .flatten()
            .filter(|s| s.state == SnapshotState::Inactive)
            .count()
            == 2
    })
    .await;
    let default = find(&kit, "default").await.unwrap();
    assert_eq!(default.state, SnapshotState::Active, "a general one stays");
    drop(used);
}

#[tokio::test]
async fn an_old_clients_image_is_pulled_and_becomes_a_snapshot() {
    let kit = TestControl::open().await;
    let request = || NewSandbox {
        image: Some("host:5000/a/b:1".to_owned()),
        ..NewSandbox::default()
    };
    let first = create(&kit, request()).await.unwrap();
    assert_eq!(first.snapshot, "host:5000/a/b:1");
    let second = create(&kit, request()).await.unwrap();
    assert_eq!(second.snapshot_id, first.snapshot_id);
    assert_eq!(kit.runner.pulls().len(), 1);
    // What was refused before is tried again.
    let broken = || NewSandbox {
        image: Some("b:1".to_owned()),
        ..NewSandbox::default()
    };
    kit.runner.fail_next_pull(PullFaultCode::Unreachable);
    let refused = create(&kit, broken()).await.unwrap_err();
    assert!(
        message(&refused).contains("cannot be pulled: Unreachable"),
        "{refused:?}"
    );
    create(&kit, broken()).await.unwrap();
    for (image, code) in [("python", "BAD_REQUEST"), ("python:latest", "BAD_REQUEST")] {
        let request = NewSandbox {
            image: Some(image.to_owned()),
            ..NewSandbox::default()
        };
        assert_eq!(
            create(&kit, request).await.unwrap_err().code(),
            code,
            "{image}"
        );
    }
    // The name of a snapshot does as well, and a request that is wrong pulls nothing.
    let named = NewSandbox {
        image: Some("default".to_owned()),
        ..NewSandbox::default()
    };
    assert_eq!(create(&kit, named).await.unwrap().snapshot, "default");
    let before = kit.runner.pulls().len();
    let wrong = NewSandbox {
        image: Some("c:1".to_owned()),
        kvm: Some(true),
        ..NewSandbox::default()
    };
    create(&kit, wrong).await.unwrap_err();
    assert_eq!(kit.runner.pulls().len(), before);
}

#[tokio::test]
async fn a_snapshot_and_its_end_survive_a_kill_anywhere() {
    for step in Step::ALL {
        let probe = Arc::new(HoldAt::new(step, 0));
        let kit = TestStore::default().open_probed(probe.clone()).await;
        let request = of("mine", "a:1");
        tokio::select! {
            () = within("the step", probe.held()) => {}
            _ = make_snapshot(&kit, request) => within("the step", probe.held()).await,
        }
        let kit = kit.restart().await;
        let made = settles(&kit, "mine", SnapshotState::Active).await;

        let store = kit.kill().await;
        let probe = Arc::new(HoldAt::new(step, 0));
        let kit = store.open_probed(probe.clone()).await;
        tokio::select! {
            () = within("the step", probe.held()) => {}
            _ = kit.control.delete_snapshot(&kit.caller, "mine") => {
                within("the step", probe.held()).await;
            }
        }
        let kit = kit.restart().await;
        goes(&kit, "mine").await;
        let name = format!("+snapshot-{}", made.id);
        assert!(!kit.runner.has_image(&name), "{step:?}");
    }
}

#[tokio::test]
async fn a_runner_that_dies_during_a_pull_is_asked_again() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    make_snapshot(&kit, of("mine", "a:1")).await.unwrap();
    settles(&kit, "mine", SnapshotState::Pulling).await;
    kit.runner.kill();
    kit.runner.revive();
    kit.runner.resume_work();
    eventually("the snapshot becomes active", async || {
        kit.clock.advance_minutes(1);
        let found = find(&kit, "mine").await;
        found.is_some_and(|found| found.state == SnapshotState::Active)
    })
    .await;
}
