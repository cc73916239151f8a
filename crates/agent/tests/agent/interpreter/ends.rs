//! Executions that do not run to their end.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Running, request, run};
use crate::support::{TestAgent, eventually, is_running};

#[tokio::test]
async fn a_cooperative_interrupt_keeps_the_state() {
    let agent = TestAgent::start().await;
    run(&agent, "x = 1").await.expect_stdout("");
    let start = Instant::now();
    let code = "print('on', flush=True)\nwhile True: pass";
    let heard = request(&agent, json!({ "code": code, "timeout": 1 })).await;
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((heard.code, heard.stdout.as_str()), (4008, "on\n"));
    // The TypeScript client would take a control message for success.
    assert!(
        heard.control.is_empty() && heard.errors.is_empty(),
        "{heard:?}"
    );
    run(&agent, "print(x)").await.expect_stdout("1\n");
    // What the code waits for is interrupted with it.
    let code = "import subprocess; subprocess.run(['sleep', '4711'])";
    let heard = request(&agent, json!({ "code": code, "timeout": 1 })).await;
    assert_eq!(heard.code, 4008);
    eventually("the sleep ends", || !is_running("4711")).await;
    run(&agent, "print(x)").await.expect_stdout("1\n");
}

#[tokio::test]
async fn code_that_ignores_the_interrupt_is_killed_with_all_it_started() {
    let agent = TestAgent::start().await;
    run(&agent, "x = 1").await.expect_stdout("");
    let code = "import signal, subprocess, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n\
                subprocess.Popen(['setsid', 'sleep', '4712'])\nwhile True: time.sleep(1)";
    let start = Instant::now();
    let running = Running::start(&agent, &json!({ "code": code, "timeout": 1 })).await;
    let next = Running::start(&agent, &json!({ "code": "print('x' in globals())" })).await;
    let heard = running.end().await;
    assert_eq!(
        (heard.code, heard.control.len(), heard.errors.len()),
        (4008, 0, 0),
        "{heard:?}"
    );
    let elapsed = start.elapsed();
    assert!(
        elapsed > Duration::from_millis(2900) && elapsed < Duration::from_secs(8),
        "{elapsed:?}"
    );
    assert!(!is_running("4712"));
    next.end().await.expect_stdout("False\n");
}

#[tokio::test]
async fn an_interrupt_raised_by_the_code_itself_is_no_time_out() {
    let agent = TestAgent::start().await;
    let heard = run(&agent, "raise KeyboardInterrupt").await;
    assert_eq!(
        (heard.code, heard.error()["name"].as_str()),
        (1000, Some("KeyboardInterrupt"))
    );
    assert_eq!(heard.control, ["interrupted"]);
}

#[tokio::test]
async fn a_worker_that_dies_is_told_at_once_and_replaced() {
    let agent = TestAgent::start().await;
    for (code, how) in [
        (
            "import os; print('last', flush=True); os._exit(1)",
            "code 1",
        ),
        (
            "import os, signal; print('last', flush=True); os.kill(os.getpid(), 11)",
            "SIGSEGV",
        ),
        (
            "import os, signal; print('last', flush=True); os.kill(os.getpid(), 9)",
            "memory",
        ),
    ] {
        run(&agent, "x = 1").await.expect_stdout("");
        let start = Instant::now();
        let dying = Running::start(&agent, &json!({ "code": code, "timeout": 0 })).await;
        let waiting = Running::start(&agent, &json!({ "code": "print('x' in globals())" })).await;
        let heard = dying.end().await;
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (heard.code, heard.stdout.as_str()),
            (1011, "last\n"),
            "{heard:?}"
        );
        assert_eq!(heard.error()["name"], "WorkerDied");
        assert!(
            heard.error()["value"].as_str().unwrap().contains(how),
            "{heard:?}"
        );
        waiting.end().await.expect_stdout("False\n");
    }
}

#[tokio::test]
async fn code_outlives_its_client() {
    let agent = TestAgent::start().await;
    let mut running = Running::start(&agent, &json!({
        "code": "import time\nprint('on', flush=True)\ntime.sleep(0.3)\nfor i in range(20000): print('filler ' * 4)\nx = 5"
    })).await;
    running.until_stdout("on").await;
    drop(running);
    run(&agent, "print(x)").await.expect_stdout("5\n");
}

#[tokio::test]
async fn time_runs_out_for_a_client_that_reads_nothing_too() {
    let agent = TestAgent::start().await;
    let code = "while True: print('y' * 1000)";
    let running = Running::start(&agent, &json!({ "code": code, "timeout": 1 })).await;
    run(&agent, "print('next')").await.expect_stdout("next\n");
    assert_eq!(running.end().await.code, 4008);
}
