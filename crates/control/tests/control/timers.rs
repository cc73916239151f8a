use std::time::Duration;

use alcove_domain::{NewSandbox, SandboxState};
use alcove_testkit::{TestControl, eventually};

use crate::support::*;

fn with_intervals(stop: i64, delete: i64) -> NewSandbox {
    NewSandbox {
        auto_stop_interval: Some(stop),
        auto_delete_interval: Some(delete),
        ..NewSandbox::default()
    }
}

#[tokio::test]
async fn an_idle_sandbox_is_stopped_and_then_deleted() {
    let kit = TestControl::open().await;
    let id = create(&kit, with_intervals(5, 3)).await.unwrap().id.clone();
    kit.clock.advance(Duration::from_secs(5 * 60 - 1));
    // A write of the driver comes after whatever the timers asked it before.
    kit.control
        .set_public(&kit.caller, id.as_str(), true)
        .await
        .unwrap();
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Started));
    kit.clock.advance(Duration::from_secs(1));
    becomes(&kit, &id, SandboxState::Stopped).await;
    kit.clock.advance_minutes(3);
    vanishes(&kit, &id).await;
}

#[tokio::test]
async fn activity_puts_the_stop_off_and_is_written_down() {
    let kit = TestControl::open().await;
    let id = create(&kit, with_intervals(5, -1))
        .await
        .unwrap()
        .id
        .clone();
    for _ in 0..4 {
        kit.clock.advance_minutes(4);
        kit.control.record_activity(&id);
    }
    let active = get(&kit, id.as_str()).await.unwrap().last_activity_at;
    eventually("it is written down", async || {
        kit.clock.advance(Duration::from_secs(1));
        row(&kit, &id).await.last_activity_at == active
    })
    .await;
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Started));
    kit.control
        .update_last_activity(&kit.caller, id.as_str())
        .await
        .unwrap();
    let told = get(&kit, id.as_str()).await.unwrap().last_activity_at;
    assert_eq!(row(&kit, &id).await.last_activity_at, told);
    kit.clock.advance_minutes(4);
    kit.control
        .set_public(&kit.caller, id.as_str(), true)
        .await
        .unwrap();
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Started));
    kit.clock.advance_minutes(1);
    becomes(&kit, &id, SandboxState::Stopped).await;
}

#[tokio::test]
async fn an_idle_ephemeral_sandbox_is_deleted_and_zero_never_stops() {
    let kit = TestControl::open().await;
    let ephemeral = create(&kit, with_intervals(5, 0)).await.unwrap().id.clone();
    let forever = create(&kit, with_intervals(0, 0)).await.unwrap().id.clone();
    kit.clock.advance_minutes(5);
    vanishes(&kit, &ephemeral).await;
    kit.clock.advance_minutes(60 * 24 * 365);
    kit.control
        .set_public(&kit.caller, forever.as_str(), true)
        .await
        .unwrap();
    assert_eq!(state(&kit, &forever).await, Some(SandboxState::Started));
}

#[tokio::test]
async fn a_shorter_interval_counts_at_once_and_a_longer_one_puts_off() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    let id = create(&kit, with_intervals(60, -1))
        .await
        .unwrap()
        .id
        .clone();
    control.set_auto_stop(caller, id.as_str(), 2).await.unwrap();
    control
        .set_auto_stop(caller, id.as_str(), 90)
        .await
        .unwrap();
    kit.clock.advance_minutes(61);
    control.set_public(caller, id.as_str(), true).await.unwrap();
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Started));
    control.set_auto_stop(caller, id.as_str(), 2).await.unwrap();
    becomes(&kit, &id, SandboxState::Stopped).await;
    control
        .set_auto_delete(caller, id.as_str(), 0)
        .await
        .unwrap();
    vanishes(&kit, &id).await;
}

#[tokio::test]
async fn a_time_to_live_ends_a_running_sandbox() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        ttl_minutes: Some(7),
        auto_stop_interval: Some(0),
        ..NewSandbox::default()
    };
    let sandbox = create(&kit, request).await.unwrap();
    assert!(sandbox.auto_destroy_at.is_some());
    kit.clock.advance_minutes(7);
    vanishes(&kit, &sandbox.id).await;
}

#[tokio::test]
async fn what_fell_due_while_no_server_ran_is_done_at_the_start() {
    let kit = TestControl::open().await;
    let id = create(&kit, with_intervals(5, -1))
        .await
        .unwrap()
        .id
        .clone();
    let store = kit.kill().await;
    store.clock.advance_minutes(10);
    let kit = store.open().await;
    becomes(&kit, &id, SandboxState::Stopped).await;
}
