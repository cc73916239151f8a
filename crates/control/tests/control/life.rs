//! Pause, archive, resize, recover, snapshot and fork.

use std::time::Duration;

use alcove_control::Error;
use alcove_domain::{
    DesiredState, FaultCode, NewSandbox, ResizeRequest, SandboxState, SnapshotState,
};
use alcove_runner_api::{self as runner_api, DiskOrigin, Goal, Observed};
use alcove_testkit::{TestControl, eventually};

use crate::support::{becomes, create, get, make, named, no_open_orders, row, state, vanishes};

fn memory(gib: i64) -> ResizeRequest {
    ResizeRequest {
        memory: Some(gib),
        ..ResizeRequest::default()
    }
}

async fn stop(kit: &TestControl, name: &str) {
    let stopped = kit.control.stop_sandbox(&kit.caller, name, false).await;
    assert_eq!(stopped.unwrap().state(), SandboxState::Stopped);
}

#[tokio::test]
async fn a_paused_sandbox_goes_on_when_it_is_started() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let (control, caller) = (&kit.control, &kit.caller);
    let paused = control.pause_sandbox(caller, "box").await.unwrap();
    assert_eq!(paused.state(), SandboxState::Paused);
    assert_eq!(paused.desired_state(), DesiredState::Paused);
    let again = control.pause_sandbox(caller, "box").await.unwrap_err();
    assert_eq!(again.code(), "ALREADY_IN_STATE");
    let toolbox = control.resolve_toolbox(caller, "box").unwrap_err();
    assert_eq!(toolbox.code(), "SANDBOX_NOT_STARTED");
    let kit = kit.restart().await;
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Paused));
    let started = kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
    assert_eq!(started.state(), SandboxState::Started);
    kit.control.pause_sandbox(&kit.caller, "box").await.unwrap();
    stop(&kit, "box").await;
    no_open_orders(&kit).await;
}

#[tokio::test]
async fn a_host_that_cannot_pause_says_so_and_the_sandbox_goes_on() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    kit.runner
        .fail_next_work(runner_api::FaultCode::Unsupported);
    let refused = kit.control.pause_sandbox(&kit.caller, "box").await;
    assert!(
        matches!(refused, Err(Error::Unprocessable { .. })),
        "{refused:?}"
    );
    let sandbox = get(&kit, "box").await.unwrap();
    assert_eq!(sandbox.state(), SandboxState::Started);
    assert_eq!(sandbox.desired_state(), DesiredState::Started);
    no_open_orders(&kit).await;
}

#[tokio::test]
async fn an_idle_sandbox_is_paused_after_its_interval_and_a_stopped_one_archived() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        name: Some("box".to_owned()),
        auto_stop_interval: Some(0),
        auto_pause_interval: Some(3),
        auto_archive_interval: Some(4),
        ..NewSandbox::default()
    };
    let id = create(&kit, request).await.unwrap().id.clone();
    kit.clock.advance_minutes(3);
    becomes(&kit, &id, SandboxState::Paused).await;
    stop(&kit, "box").await;
    kit.clock.advance_minutes(4);
    becomes(&kit, &id, SandboxState::Archived).await;
    assert_eq!(kit.runner.observed(&id), Some(Observed::Archived));
}

#[tokio::test]
async fn an_archived_sandbox_comes_back_with_its_disk_and_can_be_deleted() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let (control, caller) = (&kit.control, &kit.caller);
    let refused = control.archive_sandbox(caller, "box").await.unwrap_err();
    assert_eq!(refused.code(), "SANDBOX_NOT_ARCHIVABLE");
    stop(&kit, "box").await;
    let archived = control.archive_sandbox(caller, "box").await.unwrap();
    assert_eq!(archived.state(), SandboxState::Archived);
    let again = control.archive_sandbox(caller, "box").await.unwrap_err();
    assert_eq!(again.code(), "ALREADY_IN_STATE");
    let kit = kit.restart().await;
    let started = kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
    assert_eq!(started.state(), SandboxState::Started);
    let order = kit.runner.orders().pop().unwrap();
    let Goal::Running(spec) = order.goal else {
        panic!("{order:?}")
    };
    assert_eq!(
        spec.disk,
        DiskOrigin::Existing,
        "no empty disk in its place"
    );
    stop(&kit, "box").await;
    let control = &kit.control;
    control.archive_sandbox(&kit.caller, "box").await.unwrap();
    control.delete_sandbox(&kit.caller, "box").await.unwrap();
    vanishes(&kit, &id).await;
}

#[tokio::test]
async fn a_start_calls_an_archive_back_and_an_ephemeral_sandbox_has_none() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    stop(&kit, "box").await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let archiving = tokio::spawn(async move { control.archive_sandbox(&caller, "box").await });
    becomes(&kit, &id, SandboxState::Archiving).await;
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let starting = tokio::spawn(async move { control.start_sandbox(&caller, "box").await });
    becomes(&kit, &id, SandboxState::Restoring).await;
    kit.runner.resume_work();
    let started = starting.await.unwrap().unwrap();
    assert_eq!(started.state(), SandboxState::Started);
    archiving.await.unwrap().unwrap();

    stop(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    control.set_auto_delete(caller, "box", 10).await.unwrap();
    kit.runner.hold_work();
    control.set_auto_delete(caller, "box", 0).await.unwrap();
    let refused = control.archive_sandbox(caller, "box").await;
    // Its own timer may have been faster.
    assert!(
        matches!(refused, Err(Error::Invalid { .. } | Error::NotFound { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_archive_without_room_leaves_the_sandbox_stopped_and_names_the_reason() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    stop(&kit, "box").await;
    kit.runner
        .fail_next_work(runner_api::FaultCode::HostDiskFull);
    let error = kit
        .control
        .archive_sandbox(&kit.caller, "box")
        .await
        .unwrap_err();
    assert_eq!(error.code(), "SANDBOX_ARCHIVE_FAILED");
    assert_eq!(error.fault(), Some(FaultCode::HostDiskFull));
    assert_eq!(error.state(), Some(SandboxState::Stopped));
}

#[tokio::test]
async fn sizes_count_once_the_runner_has_them_and_not_before() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let (control, caller) = (&kit.control, &kit.caller);
    let grown = control
        .resize_sandbox(caller, "box", memory(2))
        .await
        .unwrap();
    assert_eq!(grown.state(), SandboxState::Started);
    assert_eq!(grown.resources.memory_gib, 2);
    let spec = kit.runner.spec(&id).unwrap();
    assert_eq!(spec.resources.memory_bytes, 2 << 30);
    let smaller = control.resize_sandbox(caller, "box", memory(1)).await;
    assert!(matches!(smaller, Err(Error::Invalid { .. })));
    kit.runner.fail_next_work(runner_api::FaultCode::Internal);
    let failed = control
        .resize_sandbox(caller, "box", memory(3))
        .await
        .unwrap_err();
    assert_eq!(failed.code(), "SANDBOX_RESIZE_FAILED");
    assert_eq!(get(&kit, "box").await.unwrap().resources.memory_gib, 2);
    stop(&kit, "box").await;
    let request = ResizeRequest {
        disk: Some(9),
        ..memory(1)
    };
    let resized = control.resize_sandbox(caller, "box", request).await;
    let resized = resized.unwrap().resources;
    assert_eq!((resized.memory_gib, resized.disk_gib), (1, 9));
}

#[tokio::test]
async fn a_resize_that_a_kill_interrupts_is_finished_by_the_next_process() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let resizing =
        tokio::spawn(async move { control.resize_sandbox(&caller, "box", memory(4)).await });
    becomes(&kit, &id, SandboxState::Resizing).await;
    // Its caller goes first: nothing of this process may stay.
    resizing.abort();
    assert!(resizing.await.unwrap_err().is_cancelled());
    let store = kit.kill().await;
    store.runner.resume_work();
    let kit = store.open().await;
    becomes(&kit, &id, SandboxState::Started).await;
    assert_eq!(row(&kit, &id).await.resources.memory_gib, 4);
    no_open_orders(&kit).await;
}

#[tokio::test]
async fn recover_starts_what_failed_with_a_disk_or_leaves_it_stopped() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    let well = control.recover_sandbox(caller, "box", false).await;
    assert_eq!(well.unwrap_err().code(), "SANDBOX_NOT_RECOVERABLE");
    for (skip_start, wanted) in [
        (false, SandboxState::Started),
        (true, SandboxState::Stopped),
    ] {
        if get(&kit, "box").await.unwrap().state() == SandboxState::Started {
            stop(&kit, "box").await;
        }
        kit.runner
            .fail_next(runner_api::FaultCode::AgentSilent, true);
        control.start_sandbox(caller, "box").await.unwrap_err();
        assert!(get(&kit, "box").await.unwrap().is_recoverable());
        let recovered = control.recover_sandbox(caller, "box", skip_start).await;
        assert_eq!(recovered.unwrap().state(), wanted);
    }
}

#[tokio::test]
async fn a_snapshot_of_a_sandbox_belongs_to_the_organization_and_others_are_made_from_it() {
    let kit = TestControl::open().await;
    let source = make(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    let name = || "mine".to_owned();
    let back = control
        .snapshot_sandbox(caller, "box", name(), false)
        .await
        .unwrap();
    assert_eq!(back.state(), SandboxState::Started);
    let snapshot = control.get_snapshot(caller, "mine").await.unwrap();
    assert_eq!(snapshot.state, SnapshotState::Active);
    assert_eq!(
        snapshot.organization_id.as_ref(),
        Some(&caller.organization)
    );
    assert_eq!(snapshot.source_sandbox_id.as_ref(), Some(&source.id));
    assert!(!snapshot.image.is_empty());
    let request = NewSandbox {
        snapshot: Some(name()),
        ..named("second")
    };
    let second = create(&kit, request).await.unwrap();
    assert_eq!(second.image, snapshot.image);
    assert_eq!(second.user, snapshot.user);

    let taken = control.snapshot_sandbox(caller, "box", name(), false).await;
    assert_eq!(taken.unwrap_err().code(), "SNAPSHOT_NAME_TAKEN");
    assert_eq!(
        get(&kit, "box").await.unwrap().state(),
        SandboxState::Started
    );
    let memory = control
        .snapshot_sandbox(caller, "box", "other".to_owned(), true)
        .await;
    assert!(matches!(memory, Err(Error::Invalid { .. })));
    // What the runner keeps for one organization is no general snapshot after a restart.
    let kit = kit.restart().await;
    let list = kit
        .control
        .list_snapshots(&kit.caller, alcove_control::ListSnapshots::default())
        .await
        .unwrap();
    let mut names: Vec<_> = list.items.into_iter().map(|found| found.name).collect();
    names.sort();
    assert_eq!(names, ["default", "mine"]);
}

#[tokio::test]
async fn a_snapshot_that_fails_says_why_and_its_sandbox_is_as_it_was() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    kit.runner
        .fail_next_work(runner_api::FaultCode::HostDiskFull);
    let (control, caller) = (&kit.control, &kit.caller);
    let error = control
        .snapshot_sandbox(caller, "box", "mine".to_owned(), false)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "SANDBOX_SNAPSHOT_FAILED");
    let snapshot = control.get_snapshot(caller, "mine").await.unwrap();
    assert_eq!(snapshot.state, SnapshotState::Error);
    assert_eq!(snapshot.error_reason.as_deref(), Some("HostDiskFull"));
    assert_eq!(
        get(&kit, "box").await.unwrap().state(),
        SandboxState::Started
    );
}

#[tokio::test]
async fn a_fork_runs_with_its_parents_disk_and_knows_where_it_comes_from() {
    let kit = TestControl::open().await;
    let parent = make(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    let child = control
        .fork_sandbox(caller, "box", Some("child".to_owned()))
        .await
        .unwrap();
    assert_eq!(child.state(), SandboxState::Started);
    assert_eq!(child.parent_id.as_ref(), Some(&parent.id));
    assert_eq!(
        get(&kit, "box").await.unwrap().state(),
        SandboxState::Started
    );
    let spec = kit.runner.spec(&child.id).unwrap();
    assert_eq!(spec.disk, DiskOrigin::Existing);
    let grandchild = control.fork_sandbox(caller, "child", None).await.unwrap();
    assert_eq!(grandchild.name, grandchild.id.to_string());

    let forks = control.list_forks(caller, "box", false).await.unwrap();
    assert_eq!(forks.len(), 1);
    assert_eq!(forks[0].id, child.id);
    let line = control
        .list_ancestors(caller, grandchild.id.as_str())
        .await
        .unwrap();
    let line: Vec<_> = line.into_iter().map(|found| found.id).collect();
    assert_eq!(line, [parent.id.clone(), child.id.clone()]);
    let found = control.find_parent(caller, "child").unwrap();
    assert_eq!(found.id, parent.id);
    let none = control.find_parent(caller, "box");
    assert!(matches!(none, Err(Error::NotFound { .. })));
    let taken = control
        .fork_sandbox(caller, "box", Some("child".to_owned()))
        .await;
    assert_eq!(taken.unwrap_err().code(), "SANDBOX_NAME_TAKEN");

    control.delete_sandbox(caller, "child").await.unwrap();
    vanishes(&kit, &child.id).await;
    assert!(
        control
            .list_forks(caller, "box", false)
            .await
            .unwrap()
            .is_empty()
    );
    let forks = control.list_forks(caller, "box", true).await.unwrap();
    assert_eq!(forks[0].state(), SandboxState::Destroyed);
}

#[tokio::test]
async fn a_fork_whose_copy_fails_or_whose_parent_goes_ends_in_error_and_waits_for_nobody() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    kit.runner
        .fail_next_work(runner_api::FaultCode::HostDiskFull);
    let (control, caller) = (&kit.control, &kit.caller);
    let failed = control
        .fork_sandbox(caller, "box", Some("first".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(failed.fault(), Some(FaultCode::HostDiskFull));
    assert_eq!(
        get(&kit, "first").await.unwrap().state(),
        SandboxState::Error
    );
    assert_eq!(
        get(&kit, "box").await.unwrap().state(),
        SandboxState::Started
    );

    kit.runner.hold_work();
    let forking = {
        let (control, caller) = (control.clone(), caller.clone());
        let name = Some("second".to_owned());
        tokio::spawn(async move { control.fork_sandbox(&caller, "box", name).await })
    };
    eventually("the fork is there", async || {
        get(&kit, "second").await.is_ok()
    })
    .await;
    let second = get(&kit, "second").await.unwrap();
    assert_eq!(second.state(), SandboxState::Creating);
    control.delete_sandbox(caller, "box").await.unwrap();
    kit.runner.resume_work();
    forking.await.unwrap().unwrap_err();
    assert_eq!(state(&kit, &second.id).await, Some(SandboxState::Error));
    no_open_orders(&kit).await;
}

#[tokio::test]
async fn a_fork_that_a_kill_interrupts_is_finished_by_the_next_process() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    kit.runner.hold_work();
    let forking = {
        let (control, caller) = (kit.control.clone(), kit.caller.clone());
        let name = Some("child".to_owned());
        tokio::spawn(async move { control.fork_sandbox(&caller, "box", name).await })
    };
    eventually("the fork is there", async || {
        get(&kit, "child").await.is_ok()
    })
    .await;
    let child = get(&kit, "child").await.unwrap().id.clone();
    // Its caller goes first: nothing of this process may stay.
    forking.abort();
    assert!(forking.await.unwrap_err().is_cancelled());
    let store = kit.kill().await;
    store.runner.resume_work();
    let kit = store.open().await;
    becomes(&kit, &child, SandboxState::Started).await;
    assert_eq!(
        get(&kit, "box").await.unwrap().state(),
        SandboxState::Started
    );
    no_open_orders(&kit).await;
}

#[tokio::test]
async fn a_time_to_live_counts_from_when_it_was_set() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        auto_stop_interval: Some(0),
        ..named("box")
    };
    let id = create(&kit, request).await.unwrap().id.clone();
    kit.clock.advance_minutes(30);
    let (control, caller) = (&kit.control, &kit.caller);
    let set = control.set_ttl(caller, "box", 5).await.unwrap();
    let left = set
        .auto_destroy_at
        .unwrap()
        .duration_since(alcove_control::Clock::now(kit.clock.as_ref()));
    assert!(left <= jiff::SignedDuration::from_mins(5));
    assert!(left > jiff::SignedDuration::from_mins(4));
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Started));
    kit.clock.advance(Duration::from_secs(301));
    vanishes(&kit, &id).await;
}
