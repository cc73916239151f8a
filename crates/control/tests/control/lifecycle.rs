use alcove_control::Error;
use alcove_domain::{DesiredState, FaultCode, NewSandbox, SandboxState};
use alcove_runner_api as runner_api;
use alcove_testkit::{TestControl, eventually};

use crate::support::*;

#[tokio::test]
async fn a_create_answers_with_the_started_sandbox_and_its_defaults() {
    let kit = TestControl::open().await;
    let sandbox = create(&kit, NewSandbox::default()).await.unwrap();
    assert_eq!(sandbox.state(), SandboxState::Started);
    assert_eq!(sandbox.desired_state(), DesiredState::Started);
    assert_eq!(sandbox.name, sandbox.id.as_str());
    assert_eq!(sandbox.snapshot, "default");
    assert_eq!(sandbox.user, "daytona");
    assert_eq!(sandbox.region, "us");
    assert_eq!(sandbox.agent_version.as_deref(), Some("fake-1"));
    assert!(kit.runner.is_running(&sandbox.id));
    assert_eq!(row(&kit, &sandbox.id).await, *sandbox);
    no_open_orders(&kit).await;
}

#[tokio::test]
async fn the_sandbox_gets_the_callers_variables_and_the_platforms() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        env: [("A".to_owned(), "1".to_owned())].into(),
        user: Some("root".to_owned()),
        target: Some("US".to_owned()),
        ..NewSandbox::default()
    };
    let sandbox = create(&kit, request).await.unwrap();
    let spec = kit.runner.spec(&sandbox.id).unwrap();
    let expected = [
        ("A", "1"),
        ("DAYTONA_SANDBOX_ID", sandbox.id.as_str()),
        ("DAYTONA_SANDBOX_SNAPSHOT", "default"),
        ("DAYTONA_SANDBOX_USER", "root"),
        ("DAYTONA_ORGANIZATION_ID", sandbox.organization_id.as_str()),
        ("DAYTONA_REGION_ID", "us"),
    ];
    assert_eq!(spec.env.len(), expected.len());
    for (name, value) in expected {
        assert_eq!(spec.env[name], value, "{name}");
    }
    assert_eq!(spec.user, "root");
    assert_eq!(spec.resources.memory_bytes, 1 << 30);
    assert_eq!(sandbox.env.len(), 1, "the platform's are not shown");
}

#[tokio::test]
async fn stop_and_start_answer_with_the_finished_state_and_repeating_is_told_apart() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    make(&kit, "box").await;
    let stopped = control.stop_sandbox(caller, "box", false).await.unwrap();
    assert_eq!(stopped.state(), SandboxState::Stopped);
    assert_eq!(stopped.fault(), None);
    let again = control
        .stop_sandbox(caller, "box", false)
        .await
        .unwrap_err();
    assert!(matches!(again, Error::Invalid { .. }), "{again:?}");
    assert_eq!(again.code(), "ALREADY_IN_STATE");
    assert_eq!(again.state(), Some(SandboxState::Stopped));
    assert_eq!(
        again.public_message(),
        "Sandbox is not in a stoppable state"
    );
    let started = control.start_sandbox(caller, "box").await.unwrap();
    assert_eq!(started.state(), SandboxState::Started);
    let same = control.start_sandbox(caller, "box").await.unwrap();
    assert_eq!(same.version, started.version, "nothing was done");
}

#[tokio::test]
async fn a_forced_stop_leaves_no_time() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "box").await;
    let stop = kit.control.stop_sandbox(&kit.caller, "box", true);
    stop.await.unwrap();
    let order = kit.runner.orders().pop().unwrap();
    assert_eq!(order.sandbox, sandbox.id);
    let grace = std::time::Duration::ZERO;
    assert_eq!(order.goal, runner_api::Goal::Stopped { grace });
}

#[tokio::test]
async fn a_delete_frees_the_name_at_once_and_the_sandbox_goes() {
    let kit = TestControl::open().await;
    let first = make(&kit, "box").await;
    kit.runner.hold_work();
    let deleted = kit
        .control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    assert_eq!(deleted.state(), SandboxState::Destroying);
    assert_eq!(deleted.name, "box");
    assert!(matches!(
        get(&kit, "box").await,
        Err(Error::NotFound { .. })
    ));
    let by_id = get(&kit, first.id.as_str()).await.unwrap();
    assert_eq!(by_id.state(), SandboxState::Destroying);
    let again = kit.control.delete_sandbox(&kit.caller, first.id.as_str());
    assert_eq!(again.await.unwrap().state(), SandboxState::Destroying);
    kit.runner.resume_work();
    let second = make(&kit, "box").await;
    assert_ne!(first.id, second.id);
    vanishes(&kit, &first.id).await;
    let gone = kit.control.delete_sandbox(&kit.caller, first.id.as_str());
    assert!(matches!(gone.await, Err(Error::NotFound { .. })));
    assert_eq!(get(&kit, "box").await.unwrap().id, second.id);
}

#[tokio::test]
async fn a_delete_is_taken_while_the_sandbox_is_being_made() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let control = kit.control.clone();
    let caller = kit.caller.clone();
    let creating = tokio::spawn(async move { control.create_sandbox(&caller, named("box")).await });
    eventually("the order is out", async || !kit.runner.orders().is_empty()).await;
    let id = get(&kit, "box").await.unwrap().id.clone();
    let stop = kit.control.stop_sandbox(&kit.caller, "box", false).await;
    let refused = stop.unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused:?}");
    kit.control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    kit.runner.resume_work();
    let created = creating.await.unwrap().unwrap();
    assert_eq!(created.state(), SandboxState::Destroying);
    vanishes(&kit, &id).await;
}

#[tokio::test]
async fn a_stop_cuts_a_start_short() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let starting = tokio::spawn(async move { control.start_sandbox(&caller, "box").await });
    becomes(&kit, &id, SandboxState::Starting).await;
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let stopping = tokio::spawn(async move { control.stop_sandbox(&caller, "box", false).await });
    becomes(&kit, &id, SandboxState::Stopping).await;
    kit.runner.resume_work();
    assert_eq!(
        stopping.await.unwrap().unwrap().state(),
        SandboxState::Stopped
    );
    starting.await.unwrap().unwrap();
    eventually("the host stops it", async || !kit.runner.is_running(&id)).await;
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Stopped));
}

#[tokio::test]
async fn a_failed_create_names_the_reason_and_the_sandbox_that_stays() {
    let kit = TestControl::open().await;
    kit.runner
        .fail_next(runner_api::FaultCode::HostDiskFull, false);
    let error = create(&kit, named("box")).await.unwrap_err();
    assert_eq!(
        error.public_message(),
        "Sandbox failed to start: HostDiskFull"
    );
    assert_eq!(error.code(), "SANDBOX_START_FAILED");
    assert_eq!(error.fault(), Some(FaultCode::HostDiskFull));
    let id = error.sandbox().unwrap().clone();
    let sandbox = get(&kit, id.as_str()).await.unwrap();
    assert_eq!(sandbox.state(), SandboxState::Error);
    assert_eq!(sandbox.fault().unwrap().code, FaultCode::HostDiskFull);
    assert!(!sandbox.is_recoverable());
    let start = kit.control.start_sandbox(&kit.caller, "box").await;
    assert_eq!(start.unwrap_err().code(), "SANDBOX_ERRORED");
    assert_eq!(kit.runner.sandbox_count(), 0, "nothing is left behind");
    kit.control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    vanishes(&kit, &id).await;
}

#[tokio::test]
async fn a_sandbox_in_error_with_a_disk_can_be_started_again() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    kit.runner
        .fail_next(runner_api::FaultCode::AgentSilent, true);
    let error = kit
        .control
        .start_sandbox(&kit.caller, "box")
        .await
        .unwrap_err();
    assert_eq!(error.sandbox(), Some(&id));
    assert!(get(&kit, "box").await.unwrap().is_recoverable());
    let started = kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
    assert_eq!(started.state(), SandboxState::Started);
}

#[tokio::test]
async fn stopping_an_ephemeral_sandbox_deletes_it() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        auto_delete_interval: Some(0),
        ..NewSandbox::default()
    };
    let id = create(&kit, request).await.unwrap().id.clone();
    let stop = kit.control.stop_sandbox(&kit.caller, id.as_str(), false);
    assert_eq!(stop.await.unwrap().state(), SandboxState::Destroying);
    vanishes(&kit, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_creates_with_one_name_exactly_one_succeeds() {
    let kit = TestControl::open().await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (control, caller) = (kit.control.clone(), kit.caller.clone());
            tokio::spawn(async move { control.create_sandbox(&caller, named("box")).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => created += 1,
            Err(error) => {
                assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
                assert_eq!(
                    error.public_message(),
                    "Sandbox with name box already exists"
                );
            }
        }
    }
    assert_eq!(created, 1);
    assert_eq!(kit.runner.sandbox_count(), 1);
}

#[tokio::test]
async fn a_slow_start_is_no_error_and_the_sandbox_is_given_as_it_is() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let creating = tokio::spawn(async move { control.create_sandbox(&caller, named("box")).await });
    eventually("the order is out", async || !kit.runner.orders().is_empty()).await;
    // The call's own wait begins after the order is out, so move on until it has ended.
    eventually("the call ends", async || {
        kit.clock.advance(std::time::Duration::from_secs(1));
        creating.is_finished()
    })
    .await;
    let sandbox = creating.await.unwrap().unwrap();
    assert_eq!(sandbox.state(), SandboxState::Creating);
    kit.runner.resume_work();
    becomes(&kit, &sandbox.id, SandboxState::Started).await;
}

#[tokio::test]
async fn an_order_that_is_never_answered_ends_in_error() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let creating = tokio::spawn(async move { control.create_sandbox(&caller, named("box")).await });
    eventually("the order is out", async || !kit.runner.orders().is_empty()).await;
    eventually("the order is given up", async || {
        kit.clock.advance(std::time::Duration::from_secs(20));
        let sandbox = get(&kit, "box").await.unwrap();
        sandbox
            .fault()
            .is_some_and(|fault| fault.code == FaultCode::TimedOut)
    })
    .await;
    creating.abort();
    no_open_orders(&kit).await;
    // It came up after all: the next look at the inventory takes it as it is.
    kit.runner.resume_work();
    let id = get(&kit, "box").await.unwrap().id.clone();
    eventually("the host has it", async || kit.runner.is_running(&id)).await;
    eventually("it is adopted", async || {
        kit.clock.advance(std::time::Duration::from_mins(1));
        state(&kit, &id).await == Some(SandboxState::Started)
    })
    .await;
}

#[tokio::test]
async fn what_the_caller_gets_wrong_is_refused_with_every_reason_and_nothing_is_made() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        name: Some("<b>x</b>".to_owned()),
        snapshot: Some("nope".to_owned()),
        auto_stop_interval: Some(-1),
        cpu: Some(1),
        kvm: Some(true),
        ..NewSandbox::default()
    };
    let error = create(&kit, request).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { reasons, .. } if reasons.len() == 5));
    assert!(
        error
            .public_message()
            .contains(", Snapshot nope not found, ")
    );
    let unsupported = NewSandbox {
        secret_count: 1,
        ..NewSandbox::default()
    };
    let error = create(&kit, unsupported).await.unwrap_err();
    assert!(matches!(error, Error::Unprocessable { .. }));
    let elsewhere = NewSandbox {
        target: Some("mars".to_owned()),
        ..NewSandbox::default()
    };
    let error = create(&kit, elsewhere).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert_eq!(kit.runner.sandbox_count(), 0);
}
