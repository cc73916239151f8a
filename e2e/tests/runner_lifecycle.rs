//! A runner with real sandboxes: made, stopped, started, removed, and what is left behind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_e2e::runner::TestRunner;
use alcove_e2e::wait::patience;
use alcove_runner::faults::{Faults, Step};
use alcove_runner_api::{FaultCode, Generation, Goal, Observed, Order, OrderError, SandboxSpec};

#[tokio::test]
async fn a_sandbox_runs_a_command_as_its_user_and_leaves_nothing_when_removed() {
    let host = TestRunner::start().await;
    let sandbox = host.run("first").await;

    let (code, output) = host.execute(&sandbox, "echo $A; id -un; pwd").await;
    assert_eq!((code, output.as_str()), (0, "1\ndaytona\n/home/daytona\n"));
    assert!(
        !host.traces().processes.is_empty(),
        "the positive control of the traces"
    );

    let report = host.apply(&sandbox, 2, Goal::Absent).await;
    assert_eq!(report.observed, Observed::Absent);
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn files_outlive_a_stop_and_a_start() {
    let host = TestRunner::start().await;
    let sandbox = host.run("kept").await;
    host.execute(&sandbox, "echo kept > file; mkdir d; mv d e")
        .await;

    let report = host
        .apply(
            &sandbox,
            2,
            Goal::Stopped {
                grace: Duration::from_secs(5),
            },
        )
        .await;
    assert_eq!(report.observed, Observed::Stopped { fault: None });
    let report = host.apply(&sandbox, 3, Goal::Running(host.spec())).await;
    assert!(
        matches!(report.observed, Observed::Running { .. }),
        "{report:?}"
    );
    let (_, output) = host.execute(&sandbox, "cat file; ls").await;
    assert_eq!(output, "kept\ne\nfile\n");

    host.apply(&sandbox, 4, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn an_older_order_is_refused_and_a_repeated_one_changes_nothing() {
    let host = TestRunner::start().await;
    let sandbox = host.run("fenced").await;
    let again = host.apply(&sandbox, 1, Goal::Running(host.spec())).await;
    assert!(matches!(again.observed, Observed::Running { .. }));

    host.apply(&sandbox, 5, Goal::Absent).await;
    let goal = Goal::Running(host.spec());
    let late = Order {
        sandbox: sandbox.clone(),
        generation: Generation(2),
        goal,
    };
    let refused = host.runner.apply(late).await;
    assert_eq!(
        refused,
        Err(OrderError::Stale {
            current: Generation(5)
        })
    );
    host.expect_nothing_left().await;
    host.runner.close().await;
}

/// Fails one step, once armed.
#[derive(Debug, Default)]
struct FailAt(Mutex<Option<Step>>);

impl Faults for FailAt {
    fn at(&self, step: Step) -> io::Result<()> {
        if *self.0.lock().unwrap() == Some(step) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_create_that_fails_at_any_step_leaves_nothing_and_the_next_one_succeeds() {
    let faults = Arc::new(FailAt::default());
    let host = TestRunner::start_with_faults(faults.clone()).await;
    for (number, step) in Step::ALL.into_iter().enumerate() {
        let sandbox = format!("fails-{number}").parse().unwrap();
        *faults.0.lock().unwrap() = Some(step);
        let report = host.apply(&sandbox, 1, Goal::Running(host.spec())).await;
        let Observed::Failed {
            fault,
            has_disk: false,
        } = report.observed
        else {
            panic!("step {step:?} did not fail: {report:?}");
        };
        assert_eq!(fault.code, FaultCode::HostDiskFull, "{step:?}");
        host.expect_nothing_left().await;

        *faults.0.lock().unwrap() = None;
        let report = host.apply(&sandbox, 2, Goal::Running(host.spec())).await;
        assert!(
            matches!(report.observed, Observed::Running { .. }),
            "{step:?}: {report:?}"
        );
        host.apply(&sandbox, 3, Goal::Absent).await;
    }
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn a_start_that_fails_at_any_step_keeps_the_disk_and_the_next_one_succeeds() {
    let faults = Arc::new(FailAt::default());
    let host = TestRunner::start_with_faults(faults.clone()).await;
    let sandbox = host.run("kept").await;
    host.execute(&sandbox, "echo kept > file").await;
    let mut generation = 2;
    // The first three steps belong to a create alone.
    for step in Step::ALL
        .into_iter()
        .filter(|s| !matches!(s, Step::Range | Step::RecordMaking))
    {
        host.apply(
            &sandbox,
            generation,
            Goal::Stopped {
                grace: Duration::from_secs(5),
            },
        )
        .await;
        *faults.0.lock().unwrap() = Some(step);
        let report = host
            .apply(&sandbox, generation + 1, Goal::Running(host.spec()))
            .await;
        assert!(
            matches!(report.observed, Observed::Failed { has_disk: true, .. }),
            "{step:?}: {report:?}"
        );
        *faults.0.lock().unwrap() = None;
        let report = host
            .apply(&sandbox, generation + 2, Goal::Running(host.spec()))
            .await;
        assert!(
            matches!(report.observed, Observed::Running { .. }),
            "{step:?}: {report:?}"
        );
        assert_eq!(host.execute(&sandbox, "cat file").await.1, "kept\n");
        generation += 3;
    }
    host.apply(&sandbox, generation, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn a_user_that_the_image_does_not_have_is_named_in_the_refusal() {
    let host = TestRunner::start().await;
    let sandbox = "stranger".parse().unwrap();
    let spec = SandboxSpec {
        user: "nobody-knows".to_owned(),
        ..host.spec()
    };
    let report = host.apply(&sandbox, 1, Goal::Running(spec)).await;
    let Observed::Failed { fault, .. } = report.observed else {
        panic!("{report:?}")
    };
    assert_eq!(fault.code, FaultCode::UserMissing);
    assert!(fault.message.contains("nobody-knows"), "{fault:?}");
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn a_killed_agent_is_reported_and_the_sandbox_can_be_started_again() {
    let host = TestRunner::start().await;
    let mut reports = host.runner.take_reports().unwrap();
    let sandbox = host.run("killed").await;
    host.execute(&sandbox, "echo kept > file && sync").await;

    for pid in host.traces().processes {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        // Ends all others with it; those that are gone by then need no signal.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let report = tokio::time::timeout(patience(Duration::from_secs(20)), reports.recv())
        .await
        .unwrap()
        .unwrap();
    let Observed::Stopped { fault: Some(fault) } = report.observed else {
        panic!("{report:?}")
    };
    assert_eq!(fault.code, FaultCode::AgentExited);

    host.apply(&sandbox, 2, Goal::Running(host.spec())).await;
    assert_eq!(host.execute(&sandbox, "cat file").await.1, "kept\n");
    host.apply(&sandbox, 3, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn sandboxes_outlive_their_runner_and_the_spawner() {
    let host = TestRunner::start().await;
    let sandbox = host.run("survivor").await;
    host.execute(&sandbox, "sleep 1000 >/dev/null 2>&1 &").await;
    let spawner = host.runner.spawner_pid().await.unwrap();
    // A closed runner lets go of everything that it holds, as a killed one does.
    let host = host.reopen().await;
    assert_eq!(
        host.runner.spawner_pid().await,
        Some(spawner),
        "the spawner was found again"
    );
    let (_, output) = host
        .execute(&sandbox, "pidof sleep >/dev/null && echo runs")
        .await;
    assert_eq!(output, "runs\n");

    let pid = rustix::process::Pid::from_raw(spawner).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let other = host.run("after").await;
    assert_ne!(host.runner.spawner_pid().await, Some(spawner));
    let (_, output) = host
        .execute(&sandbox, "pidof sleep >/dev/null && echo runs")
        .await;
    assert_eq!(output, "runs\n");

    host.apply(&sandbox, 2, Goal::Absent).await;
    host.apply(&other, 2, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}
