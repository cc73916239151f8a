//! Snapshots that are built.

use alcove_control::Error;
use alcove_domain::{BuildInfo, NewBuiltSnapshot, Snapshot, SnapshotState};
use alcove_runner_api::{BaseImage, BuildFault, BuildFaultCode, ImageDigest};
use alcove_testkit::{TestControl, eventually, within};
use futures_util::StreamExt as _;

fn request(name: &str, dockerfile: &str) -> NewBuiltSnapshot {
    NewBuiltSnapshot {
        name: name.to_owned(),
        info: BuildInfo {
            dockerfile: dockerfile.to_owned(),
            context_hashes: vec!["0a1b".to_owned()],
        },
        ..NewBuiltSnapshot::default()
    }
}

async fn build(kit: &TestControl, name: &str) -> Result<Snapshot, Error> {
    let request = request(name, "FROM default\nRUN true\n");
    within(
        "a build's order",
        kit.control.build_snapshot(&kit.caller, request),
    )
    .await
}

async fn find(kit: &TestControl, name: &str) -> Snapshot {
    kit.control.get_snapshot(&kit.caller, name).await.unwrap()
}

async fn becomes(kit: &TestControl, name: &str, state: SnapshotState) -> Snapshot {
    let what = format!("{name} becomes {}", state.as_str());
    eventually(&what, async || find(kit, name).await.state == state).await;
    find(kit, name).await
}

async fn open_builds(kit: &TestControl) -> usize {
    kit.store.reader().build_list_open().await.unwrap().len()
}

#[tokio::test]
async fn a_built_snapshot_is_building_and_then_active() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let snapshot = build(&kit, "mine:1").await.unwrap();
    assert_eq!(snapshot.state, SnapshotState::Building);
    eventually("the runner has the order", async || {
        !kit.runner.builds().is_empty()
    })
    .await;
    let order = kit.runner.builds().remove(0);
    assert_eq!(order.organization, kit.caller.organization.to_string());
    assert_eq!(order.contexts, ["0a1b"]);
    let digest = ImageDigest("sha256:default".to_owned());
    assert_eq!(order.images["default"], BaseImage::Here { digest });
    assert!(order.limit.as_secs() > 3500, "{:?}", order.limit);
    kit.runner.resume_work();
    let made = becomes(&kit, "mine:1", SnapshotState::Active).await;
    assert_eq!(made.image, format!("sha256:+snapshot-{}", snapshot.id));
    assert_eq!(open_builds(&kit).await, 0);
    let sandbox = alcove_domain::NewSandbox {
        snapshot: Some("mine:1".to_owned()),
        ..alcove_domain::NewSandbox::default()
    };
    kit.control
        .create_sandbox(&kit.caller, sandbox)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_build_of_an_organization_with_limited_egress_is_limited() {
    let kit = TestControl::open().await;
    let organization = &kit.caller.organization;
    for (name, is_limited) in [("one", true), ("two", false)] {
        let said = kit
            .control
            .limit_egress(&kit.caller, organization, is_limited);
        said.await.unwrap();
        build(&kit, name).await.unwrap();
        becomes(&kit, name, SnapshotState::Active).await;
        let order = kit.runner.builds().pop().unwrap();
        assert_eq!(order.is_limited, is_limited, "{name}");
        assert_eq!(order.network().is_limited, is_limited, "{name}");
    }
}

#[tokio::test]
async fn the_callers_entrypoint_stands_for_that_of_a_built_image() {
    let kit = TestControl::open().await;
    let own = vec!["sleep".to_owned(), "2000".to_owned()];
    let request = NewBuiltSnapshot {
        entrypoint: Some(own.clone()),
        ..request("mine", "FROM default\nENTRYPOINT [\"/of-the-file\"]\n")
    };
    let order = kit.control.build_snapshot(&kit.caller, request);
    assert_eq!(within("an order", order).await.unwrap().entrypoint, own);
    let made = becomes(&kit, "mine", SnapshotState::Active).await;
    assert_eq!(made.entrypoint, own);
    let sandbox = alcove_domain::NewSandbox {
        snapshot: Some("mine".to_owned()),
        ..alcove_domain::NewSandbox::default()
    };
    let sandbox = kit.control.create_sandbox(&kit.caller, sandbox).await;
    let spec = kit.runner.spec(&sandbox.unwrap().id).unwrap();
    assert_eq!(spec.entrypoint, own);
}

#[tokio::test]
async fn a_failed_build_says_why_and_its_log_stays() {
    let kit = TestControl::open().await;
    kit.runner
        .fail_next_build(BuildFault::new(BuildFaultCode::StepFailed, "line 2: no"));
    build(&kit, "bad").await.unwrap();
    let failed = becomes(&kit, "bad", SnapshotState::BuildFailed).await;
    assert_eq!(failed.error_reason.as_deref(), Some("line 2: no"));
    for follows in [false, true] {
        let log = kit.control.snapshot_build_log(&kit.caller, "bad", follows);
        let pieces: Vec<Vec<u8>> = within("the log", log.await.unwrap().collect()).await;
        assert!(pieces.concat().starts_with(b"log of "));
    }
    let other = kit
        .control
        .snapshot_build_log(&kit.caller, "default", false)
        .await;
    assert!(matches!(other, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_killed_control_plane_orders_open_builds_again() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    build(&kit, "mine").await.unwrap();
    eventually("the runner has the order", async || {
        !kit.runner.builds().is_empty()
    })
    .await;
    let kit = kit.restart().await;
    assert_eq!(find(&kit, "mine").await.state, SnapshotState::Building);
    kit.runner.resume_work();
    becomes(&kit, "mine", SnapshotState::Active).await;
    let orders = kit.runner.builds();
    assert!(orders.len() >= 2 && orders.iter().all(|order| order.id == orders[0].id));
    assert_eq!(open_builds(&kit).await, 0);
}

#[tokio::test]
async fn a_build_that_runs_out_of_time_fails() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    build(&kit, "slow").await.unwrap();
    let store = kit.kill().await;
    store.clock.advance(std::time::Duration::from_secs(3601));
    let kit = store.open().await;
    let failed = becomes(&kit, "slow", SnapshotState::BuildFailed).await;
    assert!(failed.error_reason.unwrap().contains("too long"));
}

#[tokio::test]
async fn what_cannot_be_built_is_refused_before_anything_is_written() {
    let kit = TestControl::open().await;
    for (dockerfile, words) in [
        ("FROM -none\n", "none"),
        ("FROM default\nCOPY https://x /y\n", "line 2"),
        ("RUN x\n", "line 1"),
        (" ", "empty"),
    ] {
        let refused = kit
            .control
            .build_snapshot(&kit.caller, request("x", dockerfile))
            .await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    assert!(kit.control.get_snapshot(&kit.caller, "x").await.is_err());
    build(&kit, "taken").await.unwrap();
    assert!(matches!(
        build(&kit, "taken").await,
        Err(Error::Conflict { .. })
    ));
}

#[tokio::test]
async fn a_snapshot_that_goes_takes_its_build_with_it() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let snapshot = build(&kit, "gone").await.unwrap();
    kit.control
        .delete_snapshot(&kit.caller, "gone")
        .await
        .unwrap();
    eventually("the snapshot is gone", async || {
        let found = kit.store.reader().snapshot_get(&snapshot.id).await;
        found.unwrap().is_none()
    })
    .await;
    let cancelled = kit.runner.cancelled_builds();
    assert_eq!(cancelled.len(), 1);
    assert_eq!(kit.runner.forgotten_builds(), cancelled);
    // A build that was too far to be ended leaves no name.
    let name = format!("+snapshot-{}", snapshot.id);
    kit.runner.resume_work();
    eventually("its image has no name", async || {
        kit.runner
            .released()
            .iter()
            .filter(|it| **it == name)
            .count()
            >= 2
            && !kit.runner.has_image(&name)
    })
    .await;
    let left = kit
        .store
        .reader()
        .build_find_by_snapshot(&snapshot.id)
        .await;
    assert!(left.unwrap().is_none());
}

#[tokio::test]
async fn an_image_that_is_no_snapshot_is_to_be_pulled_with_the_organizations_login() {
    let kit = TestControl::open().await;
    let registry = alcove_domain::RegistryRequest {
        name: "mine".to_owned(),
        url: "http://registry.example:5000".to_owned(),
        username: "me".to_owned(),
        password: Some(alcove_domain::Secret("secret".to_owned())),
        project: None,
    };
    let registry = alcove_control::CreateRegistry {
        request: registry,
        kind: None,
        is_default: false,
    };
    kit.control
        .create_registry(&kit.caller, registry)
        .await
        .unwrap();
    let text = "FROM registry.example:5000/team/base:1 AS base\nFROM python\nCOPY --from=base /x /x\nCOPY --from=default /y /y\n";
    let request = request("mine", text);
    kit.control
        .build_snapshot(&kit.caller, request)
        .await
        .unwrap();
    becomes(&kit, "mine", SnapshotState::Active).await;
    let images = kit.runner.builds().remove(0).images;
    assert_eq!(images.len(), 3);
    assert!(matches!(images["default"], BaseImage::Here { .. }));
    let pull = |name: &str| match &images[name] {
        BaseImage::Pull(pull) => pull.clone(),
        BaseImage::Here { .. } => panic!("{name} is here"),
    };
    let own = pull("registry.example:5000/team/base:1");
    let login = own.credentials.unwrap();
    assert_eq!(
        (login.username.as_str(), login.password.as_str()),
        ("me", "secret")
    );
    assert!(own.is_plain);
    let public = pull("python");
    assert_eq!((public.credentials, public.is_plain), (None, false));
}
