use std::sync::Arc;
use std::time::Duration;

use alcove_control::Error;
use alcove_domain::{NetworkPolicy, NetworkSettings, NewSandbox, Sandbox, SandboxState};
use alcove_runner_api::{FaultCode, Goal};
use alcove_store::Store;
use alcove_testkit::{TestControl, eventually};

use crate::support::*;

fn block(block_all: bool) -> NetworkSettings {
    NetworkSettings {
        block_all: Some(block_all),
        ..NetworkSettings::default()
    }
}

fn list(networks: &str) -> NetworkSettings {
    NetworkSettings {
        allow_list: Some(networks.to_owned()),
        ..NetworkSettings::default()
    }
}

async fn set(kit: &TestControl, settings: NetworkSettings) -> Result<Arc<Sandbox>, Error> {
    kit.control.set_network(&kit.caller, "box", settings).await
}

/// What the host holds the sandbox to.
fn held(kit: &TestControl, sandbox: &Sandbox) -> NetworkPolicy {
    kit.runner.spec(&sandbox.id).unwrap().network.policy
}

fn live_orders(kit: &TestControl) -> usize {
    let orders = kit.runner.orders();
    let is_live = |goal: &Goal| matches!(goal, Goal::Networked(_));
    orders.iter().filter(|order| is_live(&order.goal)).count()
}

#[tokio::test]
async fn a_policy_goes_with_the_order_that_makes_the_sandbox() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        network: list("10.0.0.0/8,1.1.1.1/32"),
        ..named("box")
    };
    let sandbox = create(&kit, request).await.unwrap();
    assert_eq!(sandbox.network.policy.allow_networks.len(), 2);
    assert!(sandbox.network.is_applied());
    assert_eq!(held(&kit, &sandbox), sandbox.network.policy);
    assert_eq!(live_orders(&kit), 0, "there was nothing to change");
    let kit = kit.restart().await;
    let again = get(&kit, "box").await.unwrap();
    assert_eq!(again.network, sandbox.network);
}

#[tokio::test]
async fn a_change_is_in_force_when_the_call_returns() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let sandbox = set(&kit, block(true)).await.unwrap();
    assert!(sandbox.network.policy.block_all && sandbox.network.is_applied());
    assert!(held(&kit, &sandbox).block_all);
    assert_eq!((sandbox.network.version, sandbox.error_reason()), (2, None));
    let sandbox = set(&kit, list("1.0.0.0/8")).await.unwrap();
    assert!(!sandbox.network.policy.block_all);
    assert_eq!(held(&kit, &sandbox), sandbox.network.policy);
    assert_eq!(live_orders(&kit), 2);
    set(&kit, list("1.0.0.0/8")).await.unwrap();
    assert_eq!(live_orders(&kit), 2, "the same again is no change");
}

#[tokio::test]
async fn what_is_wrong_changes_nothing() {
    let kit = TestControl::open().await;
    let before = make(&kit, "box").await;
    let names = NetworkSettings {
        domain_allow_list: Some("a..b".to_owned()),
        ..NetworkSettings::default()
    };
    for wrong in [NetworkSettings::default(), list("x"), list("::/0"), names] {
        let refused = set(&kit, wrong).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    let after = get(&kit, "box").await.unwrap();
    assert_eq!(after.network, before.network);
}

#[tokio::test]
async fn a_policy_that_lags_behind_says_so_until_it_is_in_force() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let setting =
        tokio::spawn(async move { control.set_network(&caller, "box", block(true)).await });
    eventually("the change is seen", async || {
        get(&kit, "box").await.unwrap().network.version == 2
    })
    .await;
    let lagging = get(&kit, "box").await.unwrap();
    assert!(lagging.error_reason().unwrap().contains("version 2"));
    assert_eq!(lagging.error_code(), Some("network_policy_not_applied"));
    assert_eq!(lagging.state(), SandboxState::Started);
    kit.runner.resume_work();
    let done = setting.await.unwrap().unwrap();
    assert_eq!((done.error_reason(), done.network.applied), (None, Some(2)));
}

#[tokio::test]
async fn a_host_that_cannot_do_it_is_asked_again() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "box").await;
    kit.runner.fail_next_work(FaultCode::Internal);
    kit.runner.lose_answers(1);
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let setting =
        tokio::spawn(async move { control.set_network(&caller, "box", block(true)).await });
    eventually("it is asked until it is done", async || {
        kit.clock.advance(Duration::from_millis(100));
        let network = row(&kit, &sandbox.id).await.network;
        network.version == 2 && network.is_applied()
    })
    .await;
    setting.await.unwrap().unwrap();
    assert!(held(&kit, &sandbox).block_all);
    assert!(live_orders(&kit) >= 2);
}

#[tokio::test]
async fn a_server_that_was_killed_before_the_order_finds_it_again() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "box").await;
    kit.runner.kill();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let setting =
        tokio::spawn(async move { control.set_network(&caller, "box", block(true)).await });
    eventually("the change is written", async || {
        row(&kit, &sandbox.id).await.network.version == 2
    })
    .await;
    setting.abort();
    let _ = setting.await;
    kit.runner.revive();
    let kit = kit.restart().await;
    eventually("the policy is in force", async || {
        held(&kit, &sandbox).block_all && row(&kit, &sandbox.id).await.network.is_applied()
    })
    .await;
}

#[tokio::test]
async fn a_stopped_sandbox_gets_its_policy_with_the_next_start() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "box", false).await.unwrap();
    let stopped = set(&kit, block(true)).await.unwrap();
    assert_eq!((stopped.error_reason(), live_orders(&kit)), (None, 0));
    let started = control.start_sandbox(caller, "box").await.unwrap();
    assert!(started.network.is_applied());
    assert!(held(&kit, &sandbox).block_all);
    assert_eq!(live_orders(&kit), 0);
}

#[tokio::test]
async fn a_paused_sandbox_is_held_to_a_new_policy_before_it_goes_on() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "box").await;
    kit.control.pause_sandbox(&kit.caller, "box").await.unwrap();
    let paused = set(&kit, block(true)).await.unwrap();
    assert_eq!(paused.state(), SandboxState::Paused);
    assert!(paused.network.is_applied());
    assert!(held(&kit, &sandbox).block_all);
}

#[tokio::test]
async fn a_fork_is_held_to_what_its_parent_is() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    set(&kit, list("1.0.0.0/8")).await.unwrap();
    let fork = kit
        .control
        .fork_sandbox(&kit.caller, "box", Some("child".to_owned()))
        .await
        .unwrap();
    assert_eq!(held(&kit, &fork).networks_text().unwrap(), "1.0.0.0/8");
    assert!(fork.network.is_applied());
}

#[tokio::test]
async fn a_runner_that_knows_a_newer_policy_than_the_database_is_overruled() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "box").await;
    for block_all in [true, false, true] {
        set(&kit, block(block_all)).await.unwrap();
    }
    let mut old = row(&kit, &sandbox.id).await;
    let parts = kit.kill().await;
    // As if the database came from a backup.
    let store = Store::open(&parts.path()).await.unwrap();
    old.network = sandbox.network.clone();
    old.version += 1;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&old).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    drop(store);
    let kit = parts.open().await;
    eventually("the database's policy is in force", async || {
        let row = row(&kit, &sandbox.id).await;
        row.network.is_applied() && !held(&kit, &sandbox).block_all
    })
    .await;
}
