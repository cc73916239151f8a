//! Linked sandboxes: who may be linked with whom, and that followers go with their owners.

use std::sync::Arc;

use alcove_control::{Error, Probe, Step};
use alcove_domain::{NewSandbox, Sandbox, SandboxState, link};
use alcove_testkit::{HoldAt, TestControl, eventually, within};
use tokio::sync::watch;

use crate::support::*;

fn linked(name: &str, owner: &str) -> NewSandbox {
    NewSandbox {
        linked_sandbox: Some(owner.to_owned()),
        auto_delete_interval: Some(0),
        ..named(name)
    }
}

async fn follow(kit: &TestControl, name: &str, owner: &str) -> Arc<Sandbox> {
    create(kit, linked(name, owner)).await.unwrap()
}

fn words(error: &Error) -> String {
    error.to_string()
}

#[tokio::test]
async fn a_sandbox_is_linked_by_id_or_name_and_the_runner_is_told() {
    let kit = TestControl::open().await;
    let owner = make(&kit, "box").await;
    for (name, asked) in [("one", "box"), ("two", owner.id.as_str())] {
        let follower = follow(&kit, name, asked).await;
        assert_eq!(follower.linked_to.as_ref(), Some(&owner.id));
        assert_eq!(row(&kit, &follower.id).await.linked_to, follower.linked_to);
        let network = kit.runner.spec(&follower.id).unwrap().network;
        assert_eq!(network.linked_to.as_ref(), Some(&owner.id));
        assert_eq!(network.peer.unwrap().name, name);
    }
    let network = kit.runner.spec(&owner.id).unwrap().network;
    assert_eq!(network.linked_to, None);
    assert_eq!(network.peer.unwrap().sandbox, owner.id);
    let kit = kit.restart().await;
    let again = get(&kit, "one").await.unwrap();
    assert_eq!(again.linked_to.as_ref(), Some(&owner.id));
}

#[tokio::test]
async fn what_stands_against_a_link_is_said_and_nothing_is_made() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let lasting = NewSandbox {
        auto_delete_interval: None,
        ..linked("x", "box")
    };
    let error = create(&kit, lasting).await.unwrap_err();
    assert!(words(&error).contains("ephemeral"), "{error}");
    let error = create(&kit, linked("x", "nobody")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    follow(&kit, "one", "box").await;
    let error = create(&kit, linked("x", "one")).await.unwrap_err();
    assert!(words(&error).contains("linked with another one"), "{error}");
    let (control, caller) = (&kit.control, &kit.caller);
    control.pause_sandbox(caller, "box").await.unwrap();
    let error = create(&kit, linked("x", "box")).await.unwrap_err();
    assert!(words(&error).contains("started or stopped"), "{error}");
    assert!(get(&kit, "x").await.is_err());
}

#[tokio::test]
async fn a_stopped_owner_can_be_followed_and_too_many_do_not_fit() {
    let kit = TestControl::open().await;
    let owner = make(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "box", true).await.unwrap();
    assert_eq!(state(&kit, &owner.id).await, Some(SandboxState::Stopped));
    let mut asked = Vec::new();
    let names: Vec<String> = (0..link::FOLLOWERS_MAX + 3)
        .map(|number| format!("f{number}"))
        .collect();
    for name in &names {
        asked.push(create(&kit, linked(name, "box")));
    }
    // At once, so that most of them look while there is room.
    let made = futures_util::future::join_all(asked).await;
    let refused: Vec<String> = made
        .iter()
        .filter_map(|made| made.as_ref().err().map(words))
        .collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused.iter().all(|words| words.contains("16 sandboxes")));
    // One that goes makes room.
    let gone = made.iter().flatten().next().unwrap();
    control
        .delete_sandbox(caller, gone.id.as_str())
        .await
        .unwrap();
    follow(&kit, "late", "box").await;
}

#[tokio::test]
async fn a_fork_of_either_end_is_linked_with_nobody() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    follow(&kit, "one", "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    for (parent, name) in [("box", "fork"), ("one", "twin")] {
        let name = Some(name.to_owned());
        let child = control.fork_sandbox(caller, parent, name).await.unwrap();
        assert_eq!(child.linked_to, None);
        let network = kit.runner.spec(&child.id).unwrap().network;
        assert_eq!(network.linked_to, None);
    }
    let id = get(&kit, "box").await.unwrap().id.clone();
    control.delete_sandbox(caller, "box").await.unwrap();
    vanishes(&kit, &id).await;
    for stays in ["fork", "twin"] {
        assert!(get(&kit, stays).await.is_ok());
    }
}

#[tokio::test]
async fn followers_go_with_their_owner_and_not_before() {
    let kit = TestControl::open().await;
    let owner = make(&kit, "box").await;
    let first = follow(&kit, "one", "box").await;
    let second = follow(&kit, "two", "box").await;
    let other = make(&kit, "other").await;
    let (control, caller) = (&kit.control, &kit.caller);
    control.delete_sandbox(caller, "one").await.unwrap();
    vanishes(&kit, &first.id).await;
    assert_eq!(state(&kit, &owner.id).await, Some(SandboxState::Started));
    control.delete_sandbox(caller, "box").await.unwrap();
    vanishes(&kit, &second.id).await;
    vanishes(&kit, &owner.id).await;
    assert_eq!(state(&kit, &other.id).await, Some(SandboxState::Started));
}

#[tokio::test]
async fn a_delete_of_an_owner_that_was_killed_anywhere_takes_its_followers_along() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let owner = make(&kit, "box").await.id.clone();
        let follower = follow(&kit, "one", "box").await.id.clone();
        let probe = Arc::new(HoldAt::new(step, 0));
        let kit = kit.kill().await.open_probed(probe.clone()).await;
        tokio::select! {
            () = within("the step", probe.held()) => {}
            _ = kit.control.delete_sandbox(&kit.caller, "box") => {
                within("the step", probe.held()).await;
            }
        }
        let kit = kit.restart().await;
        vanishes(&kit, &owner).await;
        vanishes(&kit, &follower).await;
        assert_eq!(kit.runner.sandbox_count(), 0, "{step:?}");
    }
}

/// Holds the first that comes to a step until it is let go.
struct Gate {
    step: Step,
    is_reached: watch::Sender<bool>,
    go: watch::Sender<bool>,
}

#[async_trait::async_trait]
impl Probe for Gate {
    async fn reached(&self, step: Step) {
        if step == self.step && !self.is_reached.send_replace(true) {
            let _ = self.go.subscribe().wait_for(|go| *go).await;
        }
    }
}

#[tokio::test]
async fn an_owner_that_is_deleted_while_a_follower_is_made_takes_it_along() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let owner = make(&kit, "box").await.id.clone();
        let gate = Arc::new(Gate {
            step,
            is_reached: watch::Sender::new(false),
            go: watch::Sender::new(false),
        });
        let kit = kit.kill().await.open_probed(gate.clone()).await;
        let (control, caller) = (&kit.control, &kit.caller);
        let making = control.create_sandbox(caller, linked("one", "box"));
        let deleting = async {
            let mut reached = gate.is_reached.subscribe();
            let _ = within("the step", reached.wait_for(|reached| *reached)).await;
            control.delete_sandbox(caller, "box").await.unwrap();
            gate.go.send_replace(true);
        };
        let (made, ()) = within("both", async { tokio::join!(making, deleting) }).await;
        vanishes(&kit, &owner).await;
        if let Ok(made) = made {
            vanishes(&kit, &made.id).await;
        }
        eventually("the follower is gone", async || {
            kit.runner.sandbox_count() == 0
        })
        .await;
    }
}
