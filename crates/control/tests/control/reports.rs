//! What runners see by themselves, late, twice, in any order; and what is found on comparison.

use alcove_domain::{FaultCode, SandboxId, SandboxState};
use alcove_runner_api::{self as runner_api, Fault, Observed};
use alcove_testkit::{TestControl, eventually};

use crate::support::*;

fn running() -> Observed {
    Observed::Running {
        agent_version: "late".to_owned(),
    }
}

fn stopped_by(code: runner_api::FaultCode) -> Observed {
    Observed::Stopped {
        fault: Some(Fault {
            code,
            message: "late".to_owned(),
        }),
    }
}

#[tokio::test]
async fn a_sandbox_whose_agent_ends_is_stopped_with_the_reason_and_can_be_started() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    for (theirs, ours) in [
        (runner_api::FaultCode::OutOfMemory, FaultCode::OutOfMemory),
        (runner_api::FaultCode::AgentExited, FaultCode::AgentExited),
    ] {
        kit.runner.end_agent(&id, theirs);
        becomes(&kit, &id, SandboxState::Stopped).await;
        let sandbox = get(&kit, "box").await.unwrap();
        assert_eq!(sandbox.fault().unwrap().code, ours);
        let started = kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
        assert_eq!(started.state(), SandboxState::Started);
        assert_eq!(started.fault(), None);
    }
}

#[tokio::test]
async fn late_doubled_and_reordered_reports_change_nothing() {
    let kit = TestControl::open().await;
    kit.runner.say_twice();
    let id = make(&kit, "box").await.id.clone();
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "box", false).await.unwrap();
    control.start_sandbox(caller, "box").await.unwrap();
    let generation = kit.runner.generation(&id).unwrap();
    let before = row(&kit, &id).await;
    // Everything that could ever have been said about an older generation, and what says nothing new.
    for older in 0..generation {
        for observed in [
            running(),
            stopped_by(runner_api::FaultCode::OutOfMemory),
            Observed::Stopped { fault: None },
            Observed::Absent,
        ] {
            kit.runner.say_of(&id, older, observed);
        }
    }
    kit.runner.say_of(&id, generation, running());
    kit.runner.say_of(&id, generation, Observed::Absent);
    kit.runner.say_of(&id, generation + 7, Observed::Absent);
    // The stream is worked off in order, so a report that counts tells that the others were heard.
    let other = make(&kit, "other").await.id.clone();
    kit.runner
        .end_agent(&other, runner_api::FaultCode::AgentExited);
    becomes(&kit, &other, SandboxState::Stopped).await;
    kit.control.set_public(caller, "box", false).await.unwrap();
    let after = row(&kit, &id).await;
    assert_eq!(after.lifecycle, before.lifecycle);
    assert_eq!(
        after.version,
        before.version + 1,
        "only the setting was written"
    );
}

#[tokio::test]
async fn a_death_that_is_told_before_the_start_is_answered_counts() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    kit.runner.hold_answers();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let starting = tokio::spawn(async move { control.start_sandbox(&caller, "box").await });
    eventually("it runs", async || kit.runner.is_running(&id)).await;
    kit.runner
        .end_agent(&id, runner_api::FaultCode::OutOfMemory);
    let error = starting.await.unwrap().unwrap_err();
    assert_eq!(
        error.public_message(),
        "Sandbox failed to start: OutOfMemory"
    );
    kit.runner.resume_answers();
    kit.control
        .set_public(&kit.caller, "box", true)
        .await
        .unwrap();
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Error));
}

#[tokio::test]
async fn a_restart_finds_out_what_died_meanwhile() {
    let kit = TestControl::open().await;
    let dead = make(&kit, "dead").await.id.clone();
    let lost = make(&kit, "lost").await.id.clone();
    let fine = make(&kit, "fine").await.id.clone();
    let raised = make(&kit, "raised").await.id.clone();
    kit.control
        .stop_sandbox(&kit.caller, "raised", false)
        .await
        .unwrap();
    let store = kit.kill().await;
    store
        .runner
        .end_agent(&dead, runner_api::FaultCode::HostRebooted);
    store.runner.lose(&lost);
    store.runner.set_observed(&raised, running());
    let kit = store.open().await;
    becomes(&kit, &dead, SandboxState::Stopped).await;
    let sandbox = get(&kit, "dead").await.unwrap();
    assert_eq!(sandbox.fault().unwrap().code, FaultCode::HostRebooted);
    becomes(&kit, &lost, SandboxState::Error).await;
    let sandbox = get(&kit, "lost").await.unwrap();
    assert_eq!(sandbox.fault().unwrap().code, FaultCode::Lost);
    assert_eq!(state(&kit, &fine).await, Some(SandboxState::Started));
    eventually("what should be stopped is stopped", async || {
        !kit.runner.is_running(&raised)
    })
    .await;
    becomes(&kit, &raised, SandboxState::Stopped).await;
}

#[tokio::test]
async fn what_the_store_does_not_know_is_removed_from_the_host() {
    let kit = TestControl::open().await;
    let known = make(&kit, "known").await.id.clone();
    let store = kit.kill().await;
    let unknown: SandboxId = "left-over".parse().unwrap();
    store.runner.plant(&unknown, 9);
    let kit = store.open().await;
    eventually("it is removed", async || {
        kit.runner.observed(&unknown).is_none()
    })
    .await;
    assert!(kit.runner.is_running(&known));
}

#[tokio::test]
async fn the_safety_net_finds_what_no_report_told() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    kit.runner.lose(&id);
    eventually("it is found out", async || {
        kit.clock.advance(std::time::Duration::from_mins(1));
        state(&kit, &id).await == Some(SandboxState::Error)
    })
    .await;
}

#[tokio::test]
async fn a_store_put_back_to_an_older_copy_outranks_the_host() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    kit.runner.plant(&id, 40);
    let stopped = kit
        .control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    assert_eq!(stopped.state(), SandboxState::Stopped);
    assert!(stopped.lifecycle.generation > 40);
    assert!(!kit.runner.is_running(&id));
}

#[tokio::test]
async fn reports_are_heard_again_after_the_runner_died() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    kit.runner.kill();
    kit.runner
        .end_agent(&id, runner_api::FaultCode::AgentExited);
    kit.runner.revive();
    eventually("what was missed is found", async || {
        kit.clock.advance(std::time::Duration::from_secs(1));
        state(&kit, &id).await == Some(SandboxState::Stopped)
    })
    .await;
    kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
    kit.runner
        .end_agent(&id, runner_api::FaultCode::AgentExited);
    becomes(&kit, &id, SandboxState::Stopped).await;
}
