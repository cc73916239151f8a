//! Sandboxes whose images are built for them.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::Error;
use alcove_domain::{BuildInfo, FaultCode, NewSandbox, Sandbox, SandboxState, SnapshotState};
use alcove_runner_api::{BuildFault, BuildFaultCode, Goal};
use alcove_testkit::{TestControl, eventually, within};
use futures_util::StreamExt as _;

fn request(name: &str, dockerfile: &str) -> NewSandbox {
    NewSandbox {
        name: Some(name.to_owned()),
        build_info: Some(BuildInfo {
            dockerfile: dockerfile.to_owned(),
            context_hashes: Vec::new(),
        }),
        cpu: Some(2),
        ..NewSandbox::default()
    }
}

const DOCKERFILE: &str = "FROM default\nRUN true\n";

async fn create(kit: &TestControl, name: &str) -> Arc<Sandbox> {
    let request = request(name, DOCKERFILE);
    within("a create", kit.control.create_sandbox(&kit.caller, request))
        .await
        .unwrap()
}

async fn becomes(kit: &TestControl, name: &str, state: SandboxState) -> Arc<Sandbox> {
    let find = async || kit.control.get_sandbox(&kit.caller, name).await.unwrap();
    eventually(&format!("{name} becomes {state}"), async || {
        find().await.state() == state
    })
    .await;
    find().await
}

async fn built(kit: &TestControl, state: SnapshotState) -> usize {
    let found = kit.store.reader().snapshot_list_in(&[state]).await.unwrap();
    let built = found.into_iter().filter(|found| found.build_key.is_some());
    built.count()
}

#[tokio::test]
async fn a_sandbox_waits_for_its_image_and_starts_with_it() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let asked = create(&kit, "box").await;
    assert_eq!(asked.state(), SandboxState::PendingBuild);
    becomes(&kit, "box", SandboxState::BuildingSnapshot).await;
    assert!(kit.runner.orders().is_empty(), "nothing to start from yet");
    kit.runner.resume_work();
    let made = becomes(&kit, "box", SandboxState::Started).await;
    assert!(made.is_built && made.snapshot.starts_with("daytona-"));
    assert_eq!(
        (made.user.as_str(), made.resources.cpu_cores),
        ("builder", 2)
    );
    assert!(
        made.image.starts_with("sha256:+snapshot-"),
        "{}",
        made.image
    );
    let spec = kit.runner.spec(&made.id).unwrap();
    assert_eq!(spec.image.0, made.image);
    assert_eq!(spec.resources.cpu_millis, 2000);
    // Nobody sees what is behind it.
    let hidden = kit
        .control
        .get_snapshot(&kit.caller, made.snapshot_id.as_str());
    assert!(matches!(hidden.await, Err(Error::NotFound { .. })));
    let listed = kit
        .control
        .list_snapshots(&kit.caller, alcove_control::ListSnapshots::default())
        .await;
    assert_eq!(listed.unwrap().total, 1);
}

#[tokio::test]
async fn the_same_is_built_once_and_kept() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    create(&kit, "one").await;
    create(&kit, "two").await;
    let other = request("other", "FROM default\nRUN false\n");
    kit.control
        .create_sandbox(&kit.caller, other)
        .await
        .unwrap();
    kit.runner.resume_work();
    for name in ["one", "two", "other"] {
        becomes(&kit, name, SandboxState::Started).await;
    }
    assert_eq!(kit.runner.builds().len(), 2);
    // From now on it is there at once.
    let third = create(&kit, "three").await;
    assert_eq!(third.state(), SandboxState::Started);
    assert_eq!(third.user, "builder");
    let named = NewSandbox {
        user: Some("me".to_owned()),
        ..request("four", DOCKERFILE)
    };
    let named = kit
        .control
        .create_sandbox(&kit.caller, named)
        .await
        .unwrap();
    assert_eq!(named.user, "me");
    assert_eq!(kit.runner.builds().len(), 2);
    let kit = kit.restart().await;
    assert_eq!(create(&kit, "five").await.state(), SandboxState::Started);
    assert_eq!(kit.runner.builds().len(), 2);
}

#[tokio::test]
async fn a_failed_build_fails_its_sandboxes_and_the_next_create_tries_again() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    kit.runner
        .fail_next_build(BuildFault::new(BuildFaultCode::StepFailed, "line 2: no"));
    create(&kit, "one").await;
    create(&kit, "two").await;
    kit.runner.resume_work();
    for name in ["one", "two"] {
        let failed = becomes(&kit, name, SandboxState::BuildFailed).await;
        let fault = failed.fault().unwrap();
        assert_eq!(
            (fault.code, fault.message.as_str()),
            (FaultCode::BuildFailed, "line 2: no")
        );
        for follows in [false, true] {
            let log = kit.control.sandbox_build_log(&kit.caller, name, follows);
            let pieces: Vec<Vec<u8>> = within("the log", log.await.unwrap().collect()).await;
            assert!(pieces.concat().starts_with(b"log of "));
        }
    }
    assert!(kit.runner.orders().is_empty());
    create(&kit, "three").await;
    becomes(&kit, "three", SandboxState::Started).await;
    assert_eq!(kit.runner.builds().len(), 2);
    // The failure and its log stay as long as somebody can ask for them.
    assert_eq!(built(&kit, SnapshotState::BuildFailed).await, 1);
    for name in ["one", "two"] {
        kit.control.delete_sandbox(&kit.caller, name).await.unwrap();
    }
    kit.clock.advance(kit.control.settings().safety_net);
    eventually("the failed build is gone", async || {
        built(&kit, SnapshotState::BuildFailed).await == 0
            && !kit.runner.forgotten_builds().is_empty()
    })
    .await;
    let other = kit
        .control
        .create_sandbox(&kit.caller, NewSandbox::default())
        .await
        .unwrap();
    let none = kit
        .control
        .sandbox_build_log(&kit.caller, other.id.as_str(), false)
        .await;
    assert!(matches!(none, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_killed_control_plane_goes_on_with_what_sandboxes_wait_for() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    create(&kit, "box").await;
    eventually("the runner has the order", async || {
        !kit.runner.builds().is_empty()
    })
    .await;
    let kit = kit.restart().await;
    let found = kit.control.get_sandbox(&kit.caller, "box").await.unwrap();
    assert!(found.lifecycle.awaits_image(), "{}", found.state());
    kit.runner.resume_work();
    becomes(&kit, "box", SandboxState::Started).await;
    let builds = kit.runner.builds();
    assert!(builds.iter().all(|build| build.id == builds[0].id));
}

#[tokio::test]
async fn a_build_that_takes_too_long_fails_its_sandbox() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    create(&kit, "slow").await;
    let store = kit.kill().await;
    store.clock.advance(Duration::from_secs(3601));
    let kit = store.open().await;
    let failed = becomes(&kit, "slow", SandboxState::BuildFailed).await;
    assert!(failed.fault().unwrap().message.contains("too long"));
}

#[tokio::test]
async fn a_build_ends_with_the_last_sandbox_that_waits_for_it() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    create(&kit, "one").await;
    create(&kit, "two").await;
    eventually("the runner has the order", async || {
        !kit.runner.builds().is_empty()
    })
    .await;
    kit.control
        .delete_sandbox(&kit.caller, "one")
        .await
        .unwrap();
    becomes(&kit, "two", SandboxState::BuildingSnapshot).await;
    assert!(kit.runner.cancelled_builds().is_empty());
    kit.control
        .delete_sandbox(&kit.caller, "two")
        .await
        .unwrap();
    eventually("the build is cancelled and forgotten", async || {
        !kit.runner.cancelled_builds().is_empty()
            && !kit.runner.forgotten_builds().is_empty()
            && built(&kit, SnapshotState::Removing).await == 0
    })
    .await;
    assert!(
        kit.store
            .reader()
            .build_list_open()
            .await
            .unwrap()
            .is_empty()
    );
    kit.runner.resume_work();
    // Nothing of it is in the way of the next.
    create(&kit, "three").await;
    becomes(&kit, "three", SandboxState::Started).await;
    assert_eq!(kit.runner.builds().len(), 2);
}

#[tokio::test]
async fn what_nobody_waits_for_after_a_kill_is_given_up() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let sandbox = create(&kit, "box").await;
    eventually("the runner has the order", async || {
        !kit.runner.builds().is_empty()
    })
    .await;
    let store = kit.kill().await;
    // As if the kill had come between the delete and the end of the build.
    let path = store.path();
    let opened = alcove_store::Store::open(&path).await.unwrap();
    let tx = opened.begin().await.unwrap();
    let mut gone = Sandbox::clone(&sandbox);
    let found = opened
        .reader()
        .sandbox_find(&sandbox.id)
        .await
        .unwrap()
        .unwrap();
    gone.version = found.version + 1;
    let life = found
        .lifecycle
        .command(alcove_domain::Command::Delete, found.updated_at);
    gone.lifecycle = life.unwrap().lifecycle;
    tx.sandbox_update(&gone).await.unwrap();
    tx.commit().await.unwrap();
    opened.close().await;
    drop(opened);
    let kit = store.open().await;
    eventually("the build is closed", async || {
        kit.store
            .reader()
            .build_list_open()
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    kit.runner.resume_work();
}

#[tokio::test]
async fn a_built_image_that_no_sandbox_needs_is_let_go_after_a_week() {
    let kit = TestControl::open().await;
    create(&kit, "box").await;
    let sandbox = becomes(&kit, "box", SandboxState::Started).await;
    let pass = async |days: u64| {
        kit.clock.advance(Duration::from_secs(days * 24 * 3600));
        kit.clock.advance(kit.control.settings().safety_net);
    };
    pass(30).await;
    assert_eq!(create(&kit, "again").await.image, sandbox.image);
    for name in ["box", "again"] {
        kit.control.delete_sandbox(&kit.caller, name).await.unwrap();
    }
    eventually("the sandboxes are gone", async || {
        kit.runner.sandbox_count() == 0
    })
    .await;
    pass(6).await;
    assert_eq!(built(&kit, SnapshotState::Active).await, 1);
    eventually("it is let go", async || {
        pass(1).await;
        built(&kit, SnapshotState::Active).await == 0
    })
    .await;
    assert_eq!(
        create(&kit, "new").await.state(),
        SandboxState::PendingBuild
    );
}

#[tokio::test]
async fn built_images_do_not_count_as_snapshots_and_sandboxes_count_while_they_wait() {
    let mut store = alcove_testkit::TestStore::default();
    store.settings.snapshots.quota = Some(0);
    store.settings.default_quota.total_sandboxes = Some(1);
    let kit = store.open().await;
    kit.runner.hold_work();
    create(&kit, "box").await;
    let second = kit
        .control
        .create_sandbox(&kit.caller, request("two", DOCKERFILE))
        .await;
    assert!(
        matches!(second, Err(Error::QuotaExceeded { .. })),
        "{second:?}"
    );
    kit.runner.resume_work();
    becomes(&kit, "box", SandboxState::Started).await;
    let orders = kit.runner.orders();
    assert!(
        orders
            .iter()
            .any(|order| matches!(order.goal, Goal::Running(_)))
    );
}

#[tokio::test]
async fn what_cannot_be_built_leaves_nothing() {
    let kit = TestControl::open().await;
    for (dockerfile, words) in [
        ("FROM default\nNONSENSE\n", "line 2"),
        ("RUN x\n", "line 1"),
        (" ", "empty"),
    ] {
        let refused = kit
            .control
            .create_sandbox(&kit.caller, request("x", dockerfile))
            .await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    create(&kit, "taken").await;
    let again = kit
        .control
        .create_sandbox(&kit.caller, request("taken", DOCKERFILE))
        .await;
    assert!(matches!(again, Err(Error::Conflict { .. })));
    assert!(kit.control.get_sandbox(&kit.caller, "x").await.is_err());
}

#[tokio::test]
async fn a_build_that_cannot_be_read_is_an_error_and_not_left_out() {
    let kit = TestControl::open().await;
    create(&kit, "box").await;
    becomes(&kit, "box", SandboxState::Started).await;
    let told = kit
        .control
        .get_sandbox_and_build(&kit.caller, "box", false)
        .await;
    let (sandbox, build) = told.unwrap();
    assert_eq!(build.unwrap().snapshot_id, sandbox.snapshot_id);
    // The sandbox is known by heart; its build is not.
    kit.store.close().await;
    let found = kit.control.get_sandbox(&kit.caller, "box").await.unwrap();
    assert_eq!(found.id, sandbox.id);
    let told = kit
        .control
        .get_sandbox_and_build(&kit.caller, "box", false)
        .await;
    assert!(matches!(told, Err(Error::Internal { .. })), "{told:?}");
    let told = kit.control.get_built_sandbox(&kit.caller, "box").await;
    assert!(matches!(told, Err(Error::Internal { .. })), "{told:?}");
}
