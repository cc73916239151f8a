//! A host whose clock is set by hours while sandboxes live.

use std::time::Duration;

use alcove_control::Clock as _;
use alcove_domain::{NewSandbox, SandboxState};
use alcove_testkit::{TestControl, eventually};
use jiff::SignedDuration;

use crate::support::*;

const HOURS: i64 = 6;

fn with_intervals(name: &str, stop: i64, delete: i64) -> NewSandbox {
    NewSandbox {
        auto_stop_interval: Some(stop),
        auto_archive_interval: Some(60),
        auto_delete_interval: Some(delete),
        ..named(name)
    }
}

/// Lets the timers look again, and a caller come through after them.
async fn look_again(kit: &TestControl) {
    for _ in 0..5 {
        // The longest that the timers sleep.
        kit.clock.advance(Duration::from_secs(30));
        make(kit, "marker").await;
        let id = get(kit, "marker").await.unwrap().id.clone();
        kit.control
            .delete_sandbox(&kit.caller, "marker")
            .await
            .unwrap();
        vanishes(kit, &id).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_forward_by_hours_stops_archives_and_deletes_nothing() {
    let kit = TestControl::open().await;
    let running = create(&kit, with_intervals("running", 15, -1))
        .await
        .unwrap()
        .id
        .clone();
    let stopped = create(&kit, with_intervals("stopped", 15, 30))
        .await
        .unwrap()
        .id
        .clone();
    kit.control
        .stop_sandbox(&kit.caller, "stopped", false)
        .await
        .unwrap();
    let access = kit.control.registry_push_access(&kit.caller, None).unwrap();

    kit.clock.set(SignedDuration::from_hours(HOURS));
    look_again(&kit).await;
    assert_eq!(state(&kit, &running).await, Some(SandboxState::Started));
    assert_eq!(state(&kit, &stopped).await, Some(SandboxState::Stopped));
    assert!(kit.control.registry_visitor(&access.secret.0).is_some());
    // The control: idle as long as was asked for, they go, if sooner than by the old clock.
    kit.clock.advance_minutes(13);
    becomes(&kit, &running, SandboxState::Stopped).await;
    kit.clock.advance_minutes(30);
    vanishes(&kit, &stopped).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_hours_holds_nothing_up_for_as_long() {
    let kit = TestControl::open().await;
    let running = create(&kit, with_intervals("running", 15, -1))
        .await
        .unwrap()
        .id
        .clone();
    kit.clock.set(SignedDuration::from_hours(-HOURS));
    // New work is done.
    look_again(&kit).await;
    assert_eq!(state(&kit, &running).await, Some(SandboxState::Started));
    // Twice the interval at most.
    kit.clock.advance_minutes(30);
    becomes(&kit, &running, SandboxState::Stopped).await;
}

#[tokio::test]
async fn an_order_has_its_time_on_a_clock_that_is_set() {
    for hours in [HOURS, -HOURS] {
        let kit = TestControl::open().await;
        make(&kit, "other").await;
        kit.runner.hold_work();
        let creating = tokio::spawn({
            let (control, caller) = (kit.control.clone(), kit.caller.clone());
            async move { control.create_sandbox(&caller, named("slow")).await }
        });
        eventually("the order is under way", async || {
            kit.runner.orders().len() == 2
        })
        .await;
        let id = get(&kit, "slow").await.unwrap().id.clone();
        kit.clock.set(SignedDuration::from_hours(hours));
        kit.clock.advance(Duration::from_secs(1));
        // Written after whatever the clock has woken.
        kit.control
            .set_public(&kit.caller, "other", true)
            .await
            .unwrap();
        assert_eq!(state(&kit, &id).await, Some(SandboxState::Creating));
        // Given up when its time is over, and that is soon at either pace.
        let limit = kit.control.settings().order_timeout;
        let mut passed = Duration::ZERO;
        eventually("it is given up", async || {
            kit.clock.advance(limit / 20);
            passed += limit / 20;
            state(&kit, &id).await == Some(SandboxState::Error)
        })
        .await;
        assert!(passed >= limit / 2, "{passed:?}");
        creating.abort();
    }
}

#[tokio::test]
async fn a_server_that_starts_after_its_clock_was_set_back_goes_on_with_the_later_time() {
    let kit = TestControl::open().await;
    let running = create(&kit, with_intervals("running", 15, -1))
        .await
        .unwrap()
        .id
        .clone();
    let written = get(&kit, "running").await.unwrap().updated_at;
    let parts = kit.kill().await;
    parts.clock.set(SignedDuration::from_hours(-HOURS));
    parts.clock.start_anew();
    let kit = parts.open().await;
    assert!(kit.clock.now() >= written);
    kit.clock.advance_minutes(31);
    becomes(&kit, &running, SandboxState::Stopped).await;
}
