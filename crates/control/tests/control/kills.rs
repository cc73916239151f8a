//! The control plane ends as by `kill -9` between any two steps; the next one settles everything.

use std::sync::Arc;

use alcove_control::Step;
use alcove_domain::{Command, SandboxId, SandboxState, SnapshotState};
use alcove_testkit::{HoldAt, TestControl, TestStore, eventually, within};

use crate::support::*;

async fn wish(kit: &TestControl, command: Command) -> Result<(), alcove_control::Error> {
    let (control, caller) = (&kit.control, &kit.caller);
    match command {
        Command::Start => control.start_sandbox(caller, "box").await,
        Command::Stop { force } => control.stop_sandbox(caller, "box", force).await,
        Command::Delete => control.delete_sandbox(caller, "box").await,
        Command::Pause => control.pause_sandbox(caller, "box").await,
        Command::Archive => control.archive_sandbox(caller, "box").await,
        other => panic!("{other:?} has a test of its own"),
    }
    .map(drop)
}

/// Runs `wished` against a control plane that is held at `step` and killed there, and gives back what
/// comes up next.
pub async fn killed_at(
    store: TestStore,
    step: Step,
    wished: impl AsyncFnOnce(&TestControl),
) -> TestControl {
    let probe = Arc::new(HoldAt::new(step, 0));
    let kit = store.open_probed(probe.clone()).await;
    tokio::select! {
        () = within("the step", probe.held()) => {}
        () = wished(&kit) => {
            // A delete answers before its outcome.
            within("the step", probe.held()).await;
        }
    }
    kit.restart().await
}

async fn only_id(kit: &TestControl) -> SandboxId {
    let live = kit.store.reader().sandbox_list_live().await.unwrap();
    assert_eq!(live.len(), 1, "{live:?}");
    live[0].id.clone()
}

#[tokio::test]
async fn a_create_that_was_killed_anywhere_ends_started_and_once() {
    for step in Step::ALL {
        let kit = killed_at(TestStore::default(), step, async |kit| {
            let _ = create(kit, named("box")).await;
        })
        .await;
        let id = only_id(&kit).await;
        becomes(&kit, &id, SandboxState::Started).await;
        no_open_orders(&kit).await;
        assert!(kit.runner.is_running(&id), "{step:?}");
        assert_eq!(kit.runner.sandbox_count(), 1, "{step:?}");
        let taken = create(&kit, named("box")).await.unwrap_err();
        assert_eq!(taken.code(), "SANDBOX_NAME_TAKEN", "{step:?}");
    }
}

#[tokio::test]
async fn a_stop_that_was_killed_anywhere_ends_stopped() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let id = make(&kit, "box").await.id.clone();
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let _ = wish(kit, Command::Stop { force: true }).await;
        })
        .await;
        becomes(&kit, &id, SandboxState::Stopped).await;
        no_open_orders(&kit).await;
        assert!(!kit.runner.is_running(&id), "{step:?}");
        let sandbox = get(&kit, "box").await.unwrap();
        assert_eq!(sandbox.fault(), None, "it was asked for");
    }
}

#[tokio::test]
async fn a_start_that_was_killed_anywhere_ends_started() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let id = make(&kit, "box").await.id.clone();
        wish(&kit, Command::Stop { force: false }).await.unwrap();
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let _ = wish(kit, Command::Start).await;
        })
        .await;
        becomes(&kit, &id, SandboxState::Started).await;
        no_open_orders(&kit).await;
        assert!(kit.runner.is_running(&id), "{step:?}");
    }
}

#[tokio::test]
async fn a_delete_that_was_killed_anywhere_is_not_lost() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let id = make(&kit, "box").await.id.clone();
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let _ = wish(kit, Command::Delete).await;
        })
        .await;
        vanishes(&kit, &id).await;
        assert_eq!(kit.runner.sandbox_count(), 0, "{step:?}");
        make(&kit, "box").await;
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_sandbox_that_is_driven() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    {
        let creating = create(&kit, named("box"));
        tokio::pin!(creating);
        eventually("the order is out", async || {
            tokio::select! {
                biased;
                _ = &mut creating => panic!("it cannot be done yet"),
                () = tokio::task::yield_now() => {}
            }
            !kit.runner.orders().is_empty()
        })
        .await;
    }
    kit.runner.resume_work();
    let id = only_id(&kit).await;
    becomes(&kit, &id, SandboxState::Started).await;
}

#[tokio::test]
async fn running_sandboxes_go_on_over_a_restart_and_their_settings_stay() {
    let kit = TestControl::open().await;
    let ids: Vec<SandboxId> = {
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(make(&kit, &format!("box-{number}")).await.id.clone());
        }
        ids
    };
    let before = get(&kit, "box-3").await.unwrap();
    let orders = kit.runner.orders().len();
    let kit = kit.restart().await;
    for id in &ids {
        assert_eq!(state(&kit, id).await, Some(SandboxState::Started));
    }
    assert_eq!(get(&kit, "box-3").await.unwrap(), before);
    assert_eq!(
        kit.runner.orders().len(),
        orders,
        "nothing was ordered anew"
    );
}

#[tokio::test]
async fn the_runner_may_die_at_any_time_and_the_order_is_given_again() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let creating = tokio::spawn(async move { control.create_sandbox(&caller, named("box")).await });
    eventually("the order is out", async || !kit.runner.orders().is_empty()).await;
    kit.runner.kill();
    kit.runner.resume_work();
    kit.runner.revive();
    eventually("the create ends", async || {
        kit.clock.advance(std::time::Duration::from_millis(100));
        creating.is_finished()
    })
    .await;
    let sandbox = creating.await.unwrap().unwrap();
    assert_eq!(sandbox.state(), SandboxState::Started);
    assert_eq!(kit.runner.sandbox_count(), 1);
}

#[tokio::test]
async fn a_lost_answer_makes_the_order_be_given_again_and_changes_nothing() {
    let kit = TestControl::open().await;
    kit.runner.lose_answers(3);
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let creating = tokio::spawn(async move { control.create_sandbox(&caller, named("box")).await });
    eventually("the create ends", async || {
        kit.clock.advance(std::time::Duration::from_millis(50));
        creating.is_finished()
    })
    .await;
    let sandbox = creating.await.unwrap().unwrap();
    assert_eq!(sandbox.state(), SandboxState::Started);
    assert_eq!(kit.runner.orders().len(), 4);
    assert_eq!(kit.runner.sandbox_count(), 1);
}

#[tokio::test]
async fn a_control_plane_without_a_runner_starts_and_takes_up_when_it_comes() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let store = kit.kill().await;
    store.runner.kill();
    let kit = store.open().await;
    assert!(!kit.control.readiness().await.runner);
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Started));
    let deleted = kit.control.delete_sandbox(&kit.caller, "box").await;
    assert_eq!(deleted.unwrap().state(), SandboxState::Destroying);
    kit.runner.revive();
    eventually("it goes", async || {
        kit.clock.advance(std::time::Duration::from_secs(1));
        kit.runner.observed(&id).is_none()
    })
    .await;
    vanishes(&kit, &id).await;
    eventually("the runner is known to answer", async || {
        kit.control.readiness().await.runner
    })
    .await;
}

#[tokio::test]
async fn a_pause_an_archive_and_a_restore_that_were_killed_anywhere_are_done() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let id = make(&kit, "box").await.id.clone();
        let mut kit = kit;
        for (command, state) in [
            (Command::Pause, SandboxState::Paused),
            (Command::Stop { force: false }, SandboxState::Stopped),
            (Command::Archive, SandboxState::Archived),
            (Command::Start, SandboxState::Started),
        ] {
            kit = killed_at(kit.kill().await, step, async |kit| {
                let _ = wish(kit, command.clone()).await;
            })
            .await;
            becomes(&kit, &id, state).await;
            no_open_orders(&kit).await;
        }
    }
}

#[tokio::test]
async fn a_fork_and_a_snapshot_that_were_killed_anywhere_are_there_once() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let id = make(&kit, "box").await.id.clone();
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let name = Some("child".to_owned());
            let _ = kit.control.fork_sandbox(&kit.caller, "box", name).await;
        })
        .await;
        let child = get(&kit, "child").await.unwrap().id.clone();
        becomes(&kit, &child, SandboxState::Started).await;
        becomes(&kit, &id, SandboxState::Started).await;
        no_open_orders(&kit).await;
        assert_eq!(kit.runner.sandbox_count(), 2, "{step:?}");
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let name = "mine".to_owned();
            let made = kit
                .control
                .snapshot_sandbox(&kit.caller, "box", name, false);
            let _ = made.await;
        })
        .await;
        becomes(&kit, &id, SandboxState::Started).await;
        no_open_orders(&kit).await;
        let snapshot = kit.control.get_snapshot(&kit.caller, "mine").await.unwrap();
        assert_eq!(snapshot.state, SnapshotState::Active, "{step:?}");
    }
}
