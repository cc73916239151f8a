//! Runners in processes of their own: what is placed on them, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Error, NewRegion};
use alcove_domain::{
    NewRunner, NewSandbox, NewSnapshot, RunnerId, Sandbox, SandboxState as State, SnapshotState,
};
use alcove_runner_api::{Fault, FaultCode, Observed, PullFaultCode};
use alcove_testkit::{FakeRunner, TestControl, eventually, within};
use tokio::sync::oneshot;

use crate::support::*;

const REGION: &str = "Lab";

/// A runner that was registered, and plays a host.
pub struct Joined {
    pub host: FakeRunner,
    pub id: RunnerId,
    leave: Option<oneshot::Sender<()>>,
    attended: Option<tokio::task::JoinHandle<()>>,
}

impl Joined {
    /// Its connection ends.
    pub async fn leave(&mut self) {
        drop(self.leave.take());
        let attended = self.attended.take().expect("it is there");
        within("the runner has left", attended).await.unwrap();
    }

    pub async fn come(&mut self, kit: &TestControl, folder: &str) -> Result<(), Error> {
        self.connect(kit, folder).await?;
        eventually("the runner is ready", async || {
            let seen = kit.control.get_runner(&kit.caller, self.id.as_str()).await;
            seen.unwrap().state.as_str() == "ready"
        })
        .await;
        Ok(())
    }

    /// Comes, without waiting until it has said how it is.
    async fn connect(&mut self, kit: &TestControl, folder: &str) -> Result<(), Error> {
        kit.control.admit_runner(&self.id, folder).await?;
        let (leave, left) = oneshot::channel::<()>();
        let (control, id) = (kit.control.clone(), self.id.clone());
        let host = Arc::new(self.host.clone());
        self.attended = Some(tokio::spawn(async move {
            let ended = async {
                let _ = left.await;
            };
            control.attend_runner(&id, host, ended).await;
        }));
        self.leave = Some(leave);
        Ok(())
    }
}

pub async fn region(kit: &TestControl) -> String {
    let request = NewRegion {
        name: REGION.to_owned(),
        ..NewRegion::default()
    };
    let made = kit.control.create_region(&kit.caller, request).await;
    made.unwrap().0.id.to_string()
}

pub async fn register(kit: &TestControl, region: &str, name: &str) -> Joined {
    let request = NewRunner {
        region: region.to_owned(),
        name: name.to_owned(),
        ..NewRunner::default()
    };
    let made = kit.control.create_runner(&kit.caller, request).await;
    Joined {
        host: FakeRunner::default(),
        id: made.unwrap().runner.id.clone(),
        leave: None,
        attended: None,
    }
}

pub async fn with_runner() -> (TestControl, Joined) {
    let kit = TestControl::open().await;
    let region = region(&kit).await;
    let mut joined = register(&kit, &region, "one").await;
    joined.come(&kit, "folder").await.unwrap();
    (kit, joined)
}

pub fn there(name: &str) -> NewSandbox {
    NewSandbox {
        target: Some(REGION.to_owned()),
        ..named(name)
    }
}

pub async fn make_there(kit: &TestControl, name: &str) -> Arc<Sandbox> {
    create(kit, there(name)).await.unwrap()
}

#[track_caller]
pub fn refused(outcome: Result<Arc<Sandbox>, Error>, why: &str) {
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}

#[tokio::test]
async fn a_sandbox_of_a_region_is_made_on_the_runner_that_has_joined_it_and_others_are_not() {
    let (kit, joined) = with_runner().await;
    let there = make_there(&kit, "there").await;
    assert_eq!(there.state(), State::Started);
    assert_eq!(there.runner.as_ref(), Some(&joined.id));
    assert_eq!(row(&kit, &there.id).await.runner.as_ref(), Some(&joined.id));
    assert!(joined.host.is_running(&there.id));
    assert!(kit.runner.observed(&there.id).is_none());
    let here = make(&kit, "here").await;
    assert_eq!(here.runner, None);
    assert!(joined.host.observed(&here.id).is_none());
}

#[tokio::test]
async fn its_whole_life_is_on_that_runner() {
    let (kit, joined) = with_runner().await;
    let sandbox = make_there(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "box", false).await.unwrap();
    becomes(&kit, &sandbox.id, State::Stopped).await;
    let fork = control
        .fork_sandbox(caller, "box", Some("copy".to_owned()))
        .await;
    let fork = fork.unwrap();
    assert_eq!(fork.runner.as_ref(), Some(&joined.id));
    eventually("the copy is there", async || {
        joined.host.observed(&fork.id).is_some()
    })
    .await;
    control.start_sandbox(caller, "box").await.unwrap();
    assert!(joined.host.is_running(&sandbox.id));
    for name in ["box", "copy"] {
        control.delete_sandbox(caller, name).await.unwrap();
    }
    eventually("nothing is left", async || joined.host.sandbox_count() == 0).await;
    no_open_orders(&kit).await;
    assert_eq!(kit.runner.sandbox_count(), 0);
}

#[tokio::test]
async fn without_a_runner_that_is_there_a_region_takes_no_sandboxes_and_says_so() {
    let kit = TestControl::open().await;
    let region = region(&kit).await;
    refused(create(&kit, there("a")).await, "connected");
    let mut joined = register(&kit, &region, "one").await;
    refused(create(&kit, there("a")).await, "connected");
    joined.come(&kit, "folder").await.unwrap();
    make_there(&kit, "a").await;
    joined.leave().await;
    refused(create(&kit, there("b")).await, "connected");
    joined.come(&kit, "folder").await.unwrap();
    let closing = kit
        .control
        .set_unschedulable(&kit.caller, joined.id.as_str(), true);
    closing.await.unwrap();
    refused(create(&kit, there("b")).await, "no new sandboxes");
}

/// A snapshot of a registry's image, which the server's own runner has.
async fn of_registry(kit: &TestControl, name: &str) {
    let request = NewSnapshot {
        name: name.to_owned(),
        image_name: Some("host:5000/a/b:1".to_owned()),
        ..NewSnapshot::default()
    };
    let made = kit.control.create_snapshot(&kit.caller, request).await;
    made.unwrap();
    eventually("the snapshot is active", async || {
        let found = kit.control.get_snapshot(&kit.caller, name).await;
        found.unwrap().state == SnapshotState::Active
    })
    .await;
}

#[tokio::test]
async fn a_runner_gets_the_image_of_a_snapshot_by_itself_once() {
    let (kit, joined) = with_runner().await;
    of_registry(&kit, "mine").await;
    assert!(joined.host.pulls().is_empty());
    for name in ["first", "second"] {
        let request = NewSandbox {
            snapshot: Some("mine".to_owned()),
            ..there(name)
        };
        let sandbox = create(&kit, request).await.unwrap();
        assert_eq!(sandbox.state(), State::Started);
        assert!(joined.host.is_running(&sandbox.id));
    }
    let pulls = joined.host.pulls();
    assert_eq!(pulls.len(), 1);
    // The very image that the snapshot is of, whatever its tag says by now.
    assert!(pulls[0].reference.contains('@'), "{:?}", pulls[0]);
}

#[tokio::test]
async fn nothing_is_made_on_a_runner_before_it_has_said_which_images_it_has() {
    let (kit, mut joined) = with_runner().await;
    joined.host.hold_work();
    let making = tokio::spawn({
        let (control, caller) = (kit.control.clone(), kit.caller.clone());
        async move { control.create_sandbox(&caller, there("box")).await }
    });
    eventually("the order is there", async || {
        !joined.host.orders().is_empty()
    })
    .await;
    joined.leave().await;
    joined.host.kill();
    joined.host.revive();
    joined.host.hold_status();
    joined.host.resume_work();
    joined.connect(&kit, "folder").await.unwrap();
    let attempts = async || {
        let orders = kit.store.reader().command_list().await.unwrap();
        orders.first().expect("the order is open").attempt
    };
    let before = attempts().await;
    eventually("the order was tried again", async || {
        kit.clock.advance(Duration::from_millis(100));
        attempts().await > before + 1
    })
    .await;
    joined.host.resume_status();
    let made = within("the create", making).await.unwrap().unwrap();
    assert_eq!(made.state(), State::Started);
}

#[tokio::test]
async fn an_image_that_a_runner_cannot_get_is_told_as_the_reason() {
    let (kit, joined) = with_runner().await;
    of_registry(&kit, "mine").await;
    joined.host.fail_next_pull(PullFaultCode::Unauthorized);
    let request = NewSandbox {
        snapshot: Some("mine".to_owned()),
        ..there("box")
    };
    refused(create(&kit, request).await, "Unauthorized");
    assert_eq!(joined.host.sandbox_count(), 0);
}

#[tokio::test]
async fn an_order_waits_for_a_runner_that_is_away() {
    let (kit, mut joined) = with_runner().await;
    let sandbox = make_there(&kit, "box").await;
    joined.leave().await;
    let stopping = tokio::spawn({
        let (control, caller) = (kit.control.clone(), kit.caller.clone());
        async move { control.stop_sandbox(&caller, "box", false).await }
    });
    eventually("the order is open", async || {
        row(&kit, &sandbox.id).await.state() == State::Stopping
    })
    .await;
    assert!(joined.host.is_running(&sandbox.id));
    joined.come(&kit, "folder").await.unwrap();
    within("the stop", stopping).await.unwrap().unwrap();
    becomes(&kit, &sandbox.id, State::Stopped).await;
}

#[tokio::test]
async fn what_happened_while_a_runner_was_away_is_found_when_it_comes_back() {
    let (kit, mut joined) = with_runner().await;
    let (dead, lost) = (
        make_there(&kit, "dead").await,
        make_there(&kit, "lost").await,
    );
    joined.leave().await;
    joined.host.end_agent(&dead.id, FaultCode::AgentExited);
    joined.host.lose(&lost.id);
    let stray = alcove_domain::SandboxId::from_uuid(uuid::Uuid::from_u128(9));
    joined.host.plant(&stray, 1);
    joined.come(&kit, "folder").await.unwrap();
    becomes(&kit, &dead.id, State::Stopped).await;
    becomes(&kit, &lost.id, State::Error).await;
    eventually("the stray one is removed", async || {
        joined.host.observed(&stray).is_none()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_starts_anew_knows_where_its_sandboxes_are() {
    let (kit, mut joined) = with_runner().await;
    let sandbox = make_there(&kit, "box").await;
    let kit = kit.restart().await;
    // The runner is not there yet, and that says nothing about what is on it.
    assert_eq!(state(&kit, &sandbox.id).await, Some(State::Started));
    joined.come(&kit, "folder").await.unwrap();
    assert_eq!(state(&kit, &sandbox.id).await, Some(State::Started));
    assert!(joined.host.is_running(&sandbox.id));
}

#[tokio::test]
async fn a_runner_that_comes_back_is_ready_no_sooner_than_something_can_be_placed_on_it() {
    let (kit, mut joined) = with_runner().await;
    let kit = kit.restart().await;
    for round in 0..20 {
        joined.come(&kit, "folder").await.unwrap();
        make_there(&kit, &format!("box-{round}")).await;
        joined.leave().await;
    }
}

#[tokio::test]
async fn a_runner_is_not_believed_about_sandboxes_that_are_not_on_it() {
    let (kit, joined) = with_runner().await;
    let here = make(&kit, "here").await;
    let there = make_there(&kit, "there").await;
    let fault = Fault {
        code: FaultCode::AgentExited,
        message: "it died".to_owned(),
    };
    let dead = Observed::Stopped { fault: Some(fault) };
    joined.host.say_of(&here.id, 1, dead);
    // Its own is believed: by then the one before has been heard.
    joined.host.end_agent(&there.id, FaultCode::AgentExited);
    becomes(&kit, &there.id, State::Stopped).await;
    assert_eq!(state(&kit, &here.id).await, Some(State::Started));
}

#[tokio::test]
async fn another_data_folder_is_let_in_only_when_nothing_is_in_the_first() {
    let (kit, mut joined) = with_runner().await;
    make_there(&kit, "box").await;
    joined.leave().await;
    let elsewhere = kit.control.admit_runner(&joined.id, "elsewhere").await;
    assert!(
        matches!(elsewhere, Err(Error::Conflict { .. })),
        "{elsewhere:?}"
    );
    joined.come(&kit, "folder").await.unwrap();
    kit.control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    eventually("nothing is left", async || joined.host.sandbox_count() == 0).await;
    no_open_orders(&kit).await;
    let beside = kit.control.admit_runner(&joined.id, "elsewhere").await;
    assert!(matches!(beside, Err(Error::Conflict { .. })), "{beside:?}");
    joined.leave().await;
    joined.come(&kit, "elsewhere").await.unwrap();
}

#[tokio::test]
async fn a_runner_with_sandboxes_is_deleted_by_force_only_and_they_are_lost_then() {
    let (kit, mut joined) = with_runner().await;
    let sandbox = make_there(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    let id = &joined.id.to_string();
    control.set_unschedulable(caller, id, true).await.unwrap();
    let error = control.delete_runner(caller, id, false).await.unwrap_err();
    assert!(error.to_string().contains("sandboxes"), "{error}");
    joined.leave().await;
    control.delete_runner(caller, id, true).await.unwrap();
    let started = control.stop_sandbox(caller, "box", false).await;
    drop(started);
    becomes(&kit, &sandbox.id, State::Error).await;
    control.delete_sandbox(caller, "box").await.unwrap();
    eventually("it is gone", async || {
        state(&kit, &sandbox.id).await.is_none()
    })
    .await;
    no_open_orders(&kit).await;
}

#[tokio::test]
async fn of_several_runners_one_that_is_there_takes_the_sandbox() {
    let (kit, mut first) = with_runner().await;
    let region = first_region(&kit).await;
    let mut second = register(&kit, &region, "two").await;
    second.come(&kit, "second").await.unwrap();
    first.leave().await;
    let sandbox = make_there(&kit, "box").await;
    assert_eq!(sandbox.runner.as_ref(), Some(&second.id));
    assert!(second.host.is_running(&sandbox.id));
}

async fn first_region(kit: &TestControl) -> String {
    let listed = kit.control.list_runners(&kit.caller, None).await.unwrap();
    let mut joined = listed.iter().filter(|view| !view.runner.is_built_in);
    joined.next().unwrap().runner.region.clone()
}

#[tokio::test]
async fn a_runner_that_is_drained_puts_its_own_sandboxes_away_and_no_others() {
    let (kit, joined) = with_runner().await;
    let (here, there) = (make(&kit, "here").await, make_there(&kit, "there").await);
    for name in ["here", "there"] {
        kit.control
            .stop_sandbox(&kit.caller, name, false)
            .await
            .unwrap();
    }
    let draining = kit
        .control
        .set_draining(&kit.caller, joined.id.as_str(), true);
    draining.await.unwrap();
    eventually("it is in the archive", async || {
        kit.clock.advance(Duration::from_secs(10));
        state(&kit, &there.id).await == Some(State::Archived)
    })
    .await;
    assert_eq!(state(&kit, &here.id).await, Some(State::Stopped));
}
