//! Contexts and what runs in them.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::{PATIENCE, TestAgent, eventually, is_running};

const EXECUTE: &str = "/process/interpreter/execute";
const CONTEXT: &str = "/process/interpreter/context";

/// What an execution said, and how its connection was closed.
#[derive(Debug, Default)]
struct Heard {
    stdout: String,
    stderr: String,
    errors: Vec<Value>,
    control: Vec<String>,
    code: u16,
    reason: String,
}

impl Heard {
    /// Only output, and a normal end.
    #[track_caller]
    fn expect_stdout(&self, text: &str) {
        assert_eq!(
            (self.stdout.as_str(), self.stderr.as_str()),
            (text, ""),
            "{self:?}"
        );
        assert!(self.errors.is_empty(), "{self:?}");
        assert_eq!(
            (self.code, self.control.as_slice()),
            (1000, &["completed".to_owned()][..])
        );
    }

    #[track_caller]
    fn error(&self) -> &Value {
        assert_eq!(self.errors.len(), 1, "{self:?}");
        &self.errors[0]
    }
}

struct Running(WebSocketStream<UnixStream>);

impl Running {
    async fn start(agent: &TestAgent, request: &Value) -> Self {
        let (mut socket, _) = agent.connect(EXECUTE, &[]).await;
        socket
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
        Self(socket)
    }

    /// The next message that is not the protocol's own.
    async fn message(&mut self) -> Message {
        let next = async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    async fn until_stdout(&mut self, wanted: &str) {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let message: Value =
                serde_json::from_str(&self.message().await.into_text().unwrap()).unwrap();
            assert_eq!(message["type"], "stdout", "{message}");
            seen.push_str(message["text"].as_str().unwrap());
        }
    }

    async fn end(mut self) -> Heard {
        let mut heard = Heard::default();
        loop {
            let message = match self.message().await {
                Message::Close(frame) => {
                    let frame = frame.unwrap();
                    heard.code = frame.code.into();
                    heard.reason = frame.reason.to_string();
                    return heard;
                }
                message => message.into_text().unwrap(),
            };
            let message: Value = serde_json::from_str(&message).unwrap();
            assert_eq!(message.as_object().unwrap().len(), 5, "{message}");
            let text = message["text"].as_str().unwrap();
            match message["type"].as_str().unwrap() {
                "stdout" => heard.stdout.push_str(text),
                "stderr" => heard.stderr.push_str(text),
                "control" => heard.control.push(text.to_owned()),
                "error" => heard.errors.push(message),
                kind => panic!("{kind}"),
            }
        }
    }
}

async fn request(agent: &TestAgent, request: Value) -> Heard {
    Running::start(agent, &request).await.end().await
}

async fn run(agent: &TestAgent, code: &str) -> Heard {
    request(agent, json!({ "code": code })).await
}

async fn create(agent: &TestAgent, body: Value) -> String {
    let context = agent.post(CONTEXT, &body).await.expect(200).json();
    context["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn state_is_kept_from_run_to_run_and_last_values_are_not_shown() {
    let agent = TestAgent::start().await;
    run(&agent, "x = 20\nprint('set')")
        .await
        .expect_stdout("set\n");
    run(&agent, "x + 1").await.expect_stdout("");
    run(&agent, "print(x + 1, __name__)")
        .await
        .expect_stdout("21 __main__\n");
}

#[tokio::test]
async fn an_exception_is_an_error_and_still_completes() {
    let agent = TestAgent::start().await;
    let heard = run(&agent, "def f():\n    1/0\nprint('before')\nf()").await;
    assert_eq!(heard.stdout, "before\n");
    assert_eq!(
        (heard.code, heard.control.as_slice()),
        (1000, &["completed".to_owned()][..])
    );
    let traceback = "Traceback (most recent call last):\n  File \"<stdin>\", line 4, in <module>\n  \
                     File \"<stdin>\", line 2, in f\nZeroDivisionError: division by zero\n";
    assert_eq!(
        heard.error(),
        &json!({ "type": "error", "text": "", "name": "ZeroDivisionError",
                 "value": "division by zero", "traceback": traceback })
    );
    let heard = run(&agent, "x ===").await;
    assert_eq!(
        heard.error()["traceback"],
        "SyntaxError: invalid syntax (<stdin>, line 1)\n"
    );
    let heard = run(&agent, "import json\njson.loads('x')").await;
    let traceback = heard.error()["traceback"].as_str().unwrap();
    assert!(!traceback.contains("decoder.py"), "{traceback}");
    run(&agent, "import sys; sys.exit(3)")
        .await
        .expect_stdout("");
}

#[tokio::test]
async fn output_of_other_programs_comes_in_order_with_pythons_own() {
    let agent = TestAgent::start().await;
    let code = "import os, subprocess\nprint('a', end='')\nos.system('echo b')\nprint('c', end='')\n\
                subprocess.run(['echo', 'd'])\nos.write(1, b'e\\n')";
    run(&agent, code).await.expect_stdout("ab\ncd\ne\n");
    let heard = run(&agent, "import os; os.system('echo oops >&2')").await;
    assert_eq!(
        (heard.stdout.as_str(), heard.stderr.as_str()),
        ("", "oops\n")
    );
    // What a library in C holds back comes before the end.
    let code = "import ctypes; ctypes.CDLL(None).printf(b'from C')";
    run(&agent, code).await.expect_stdout("from C");
}

#[tokio::test]
async fn programs_do_not_inherit_what_leads_to_the_agent() {
    let agent = TestAgent::start().await;
    let heard = run(&agent, "import os; os.system('ls /proc/self/fd | wc -l')").await;
    // 0, 1, 2 and the folder itself.
    heard.expect_stdout("4\n");
    // A copy of the worker must not speak for it.
    let code = "import os\nif os.fork() == 0:\n    print('child')\nelse:\n    os.wait()\n    print('parent')";
    run(&agent, code).await.expect_stdout("child\nparent\n");
}

#[tokio::test]
async fn input_is_refused_and_does_not_eat_the_next_execution() {
    let agent = TestAgent::start().await;
    let first = Running::start(&agent, &json!({ "code": "input('name? ')" })).await;
    let second = Running::start(&agent, &json!({ "code": "print('next')" })).await;
    let heard = first.end().await;
    assert_eq!(heard.stdout, "name? ");
    assert_eq!(heard.error()["name"], "EOFError");
    assert!(
        heard.error()["value"]
            .as_str()
            .unwrap()
            .contains("no standard input")
    );
    second.end().await.expect_stdout("next\n");
}

#[tokio::test]
async fn a_line_of_five_megabytes_and_cut_characters_arrive_whole() {
    let agent = TestAgent::start().await;
    let heard = run(&agent, "print('ü€😀' * 600_000)").await;
    heard.expect_stdout(&format!("{}\n", "ü€😀".repeat(600_000)));
    let heard = run(&agent, "import os; os.write(1, b'a\\xffb\\xc3')").await;
    heard.expect_stdout("a\u{fffd}b\u{fffd}");
}

#[tokio::test]
async fn variables_of_a_request_hold_for_it_alone() {
    let agent = TestAgent::start().await;
    let code = "import os; print(os.environ.get('A'), os.environ['FROM_CONFIG'])";
    let asked = json!({ "code": code, "envs": { "A": "1 2", "FROM_CONFIG": "other" } });
    request(&agent, asked).await.expect_stdout("1 2 other\n");
    run(&agent, code).await.expect_stdout("None yes\n");
}

#[tokio::test]
async fn bad_requests_are_closed_with_a_reason() {
    let agent = TestAgent::start().await;
    for (asked, code) in [
        (json!({ "code": " " }), 1008),
        (json!({}), 1008),
        (json!({ "code": "1", "timeout": -1 }), 1008),
        (json!({ "code": "1", "contextId": "no such" }), 1008),
        (json!({ "code": "1", "envs": { "A-B": "1" } }), 1008),
        (json!({ "code": "1", "envs": { "A": "x\0y" } }), 1008),
        (json!({ "code": 1 }), 1002),
        (json!("code"), 1002),
    ] {
        let heard = request(&agent, asked.clone()).await;
        assert_eq!(heard.code, code, "{asked}");
        assert!(
            !heard.reason.is_empty() && heard.reason.len() <= 123,
            "{asked}"
        );
        assert!(heard.control.is_empty());
    }
    let (mut socket, _) = agent.connect(EXECUTE, &[]).await;
    socket.send(Message::text("no json")).await.unwrap();
    assert_eq!(Running(socket).end().await.code, 1002);
    agent.get(EXECUTE).await.expect(400);
}

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
    assert!(heard.control.is_empty(), "{heard:?}");
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
async fn executions_of_a_context_run_in_order_and_contexts_side_by_side() {
    let agent = TestAgent::start().await;
    let other = create(&agent, json!({})).await;
    let mut first = Running::start(
        &agent,
        &json!({ "code": "import time; print('on', flush=True); time.sleep(1); a = [1]" }),
    )
    .await;
    first.until_stdout("on").await;
    let second = Running::start(&agent, &json!({ "code": "a.append(2); print(a)" })).await;
    let start = Instant::now();
    request(
        &agent,
        json!({ "code": "print('free')", "contextId": other }),
    )
    .await
    .expect_stdout("free\n");
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    first.end().await;
    second.end().await.expect_stdout("[1, 2]\n");
}

#[tokio::test]
async fn a_client_that_waits_gets_its_pings_answered() {
    let agent = TestAgent::start().await;
    let mut first = Running::start(
        &agent,
        &json!({ "code": "import time; print('on', flush=True); time.sleep(2)" }),
    )
    .await;
    first.until_stdout("on").await;
    let mut second = Running::start(&agent, &json!({ "code": "print('done')" })).await;
    second
        .0
        .send(Message::Ping(Bytes::from_static(b"there?")))
        .await
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(1), second.0.next()).await;
    assert_eq!(
        answer.unwrap().unwrap().unwrap(),
        Message::Pong(Bytes::from_static(b"there?"))
    );
    second.end().await.expect_stdout("done\n");
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
async fn a_slow_client_holds_up_the_code_and_loses_nothing() {
    let agent = TestAgent::start().await;
    run(&agent, "1").await.expect_stdout("");
    let before = agent.private_kib();
    let mut running = Running::start(&agent, &json!({
        "code": "import sys\nfor i in range(4000): sys.stdout.write('%07d\\n' % i * 1000)\nopen('done', 'w')"
    })).await;
    running.until_stdout("0").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        !agent.dir.path().join("done").exists(),
        "32 MB have gone nowhere"
    );
    let heard = running.end().await;
    let grown = agent.private_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "grew by {grown} KiB");
    assert!(heard.stdout.ends_with("0003999\n"));
    assert_eq!(heard.code, 1000);
    assert!(agent.dir.path().join("done").exists());
}

#[tokio::test]
async fn time_runs_out_for_a_client_that_reads_nothing_too() {
    let agent = TestAgent::start().await;
    let code = "while True: print('y' * 1000)";
    let running = Running::start(&agent, &json!({ "code": code, "timeout": 1 })).await;
    run(&agent, "print('next')").await.expect_stdout("next\n");
    assert_eq!(running.end().await.code, 4008);
}

#[tokio::test]
async fn output_between_executions_belongs_to_none() {
    let agent = TestAgent::start().await;
    let code = "import subprocess\np = subprocess.Popen('sleep 0.2; head -c 300000 /dev/zero; echo >late', shell=True)";
    run(&agent, code).await.expect_stdout("");
    let late = agent.dir.path().join("late");
    eventually("the background process can write", || late.exists()).await;
    run(&agent, "print(p.wait())").await.expect_stdout("0\n");
}

#[tokio::test]
async fn contexts_have_folders_and_are_listed_and_deleted() {
    let agent = TestAgent::start().await;
    std::fs::create_dir(agent.dir.path().join("sub")).unwrap();
    run(&agent, "1").await.expect_stdout("");
    assert_eq!(
        agent.get(CONTEXT).await.expect(200).json(),
        json!({ "contexts": [] })
    );
    let made = agent
        .post(CONTEXT, &json!({ "cwd": "sub" }))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (made["cwd"].as_str(), &made["language"], &made["active"]),
        (
            Some(agent.path("sub").as_str()),
            &json!("python"),
            &json!(true)
        )
    );
    assert_eq!(
        agent.get(CONTEXT).await.expect(200).json(),
        json!({ "contexts": [made] })
    );
    let id = made["id"].as_str().unwrap();
    request(
        &agent,
        json!({ "code": "import os; print(os.getcwd())", "contextId": id }),
    )
    .await
    .expect_stdout(&format!("{}\n", agent.path("sub")));
    let answer = agent
        .delete(&format!("{CONTEXT}/{id}"))
        .await
        .expect(200)
        .json();
    assert!(answer["message"].is_string());
    agent.delete(&format!("{CONTEXT}/{id}")).await.expect(404);
    agent
        .delete(&format!("{CONTEXT}/default"))
        .await
        .expect(400);
    assert_eq!(
        request(&agent, json!({ "code": "1", "contextId": id }))
            .await
            .code,
        1008
    );
}

#[tokio::test]
async fn contexts_that_cannot_be_made_are_refused() {
    let agent = TestAgent::start().await;
    for body in [
        json!({ "language": "cobol" }),
        json!({ "cwd": "/nowhere" }),
        json!({ "cwd": 1 }),
    ] {
        agent.post(CONTEXT, &body).await.expect(400);
    }
    agent
        .call(http::Method::POST, CONTEXT, &[], "")
        .await
        .expect(400);
    let bare = TestAgent::start_with(json!({ "env": { "PATH": "/nowhere" } })).await;
    let answer = bare.post(CONTEXT, &json!({})).await.expect(500).json();
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("python3: not found"),
        "{answer}"
    );
    let heard = run(&bare, "1").await;
    assert_eq!(heard.code, 1011);
    assert!(heard.reason.contains("python3: not found"), "{heard:?}");
}

#[tokio::test]
async fn deleting_a_context_ends_what_runs_and_what_waits() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({})).await;
    let code =
        "import subprocess\nprint('on', flush=True)\nsubprocess.run(['setsid', 'sleep', '4713'])";
    let mut running = Running::start(&agent, &json!({ "code": code, "contextId": id })).await;
    running.until_stdout("on").await;
    let waiting = Running::start(&agent, &json!({ "code": "print(1)", "contextId": id })).await;
    agent.delete(&format!("{CONTEXT}/{id}")).await.expect(200);
    assert!(!is_running("4713"));
    for execution in [running, waiting] {
        let heard = execution.end().await;
        assert_eq!((heard.code, heard.control.len()), (1001, 0), "{heard:?}");
        assert_eq!(heard.error()["name"], "ContextDeleted");
    }
    run(&agent, "print('alive')").await.expect_stdout("alive\n");
}

#[tokio::test]
async fn a_queue_has_a_bound() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({})).await;
    let mut running = Running::start(
        &agent,
        &json!({ "code": "print('on', flush=True)\nimport time; time.sleep(60)", "contextId": id }),
    )
    .await;
    running.until_stdout("on").await;
    let mut waiting = Vec::new();
    for _ in 0..128 {
        waiting.push(Running::start(&agent, &json!({ "code": "1", "contextId": id })).await);
    }
    // The order in which requests are read is not that in which they were sent.
    let mut all: Vec<_> = waiting
        .into_iter()
        .map(Running::end)
        .map(Box::pin)
        .collect();
    let more = Running::start(&agent, &json!({ "code": "1", "contextId": id }))
        .await
        .end();
    all.push(Box::pin(more));
    let (heard, _, rest) = futures_util::future::select_all(all).await;
    assert_eq!(heard.code, 1008);
    assert!(heard.reason.contains("too many"), "{heard:?}");
    agent.delete(&format!("{CONTEXT}/{id}")).await.expect(200);
    for heard in futures_util::future::join_all(rest).await {
        assert_eq!(heard.code, 1001);
    }
    assert_eq!(agent.zombie_count(), 0);
}

#[tokio::test]
async fn a_stop_of_the_agent_ends_contexts() {
    let mut agent = TestAgent::start().await;
    let mut running = Running::start(
        &agent,
        &json!({ "code": "print('on', flush=True)\nimport time; time.sleep(4714)" }),
    )
    .await;
    running.until_stdout("on").await;
    let (ended, took) = agent.stop().await;
    assert_eq!(ended, Some(0));
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(running.end().await.code, 1001);
}

#[tokio::test]
async fn javascript_keeps_its_declarations_and_awaits_at_the_top() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({ "language": "javascript" })).await;
    let js = |code: &str| {
        request(
            &agent,
            json!({ "code": code, "contextId": id, "timeout": 20 }),
        )
    };
    js("const x = 1; let y = 2; class A { z = 3 }; console.log('set')")
        .await
        .expect_stdout("set\n");
    js("const x = await Promise.resolve(40); console.log(x + y, new A().z)")
        .await
        .expect_stdout("42 3\n");
    js("import { join as j } from 'node:path';\nimport fs, * as all from 'fs'\nconsole.log(j('a', 'b'), typeof fs.statSync, typeof all.statSync)")
        .await
        .expect_stdout("a/b function function\n");
    js("const os = await import('node:os'); console.log(typeof os.cpus, j('c', 'd'), require('path').sep)")
        .await
        .expect_stdout("function c/d /\n");
    let heard = js("function f() {\n  null.x\n}\n\nf()").await;
    assert_eq!(heard.error()["name"], "TypeError");
    let traceback = heard.error()["traceback"].as_str().unwrap();
    assert!(
        traceback.ends_with("    at f (<stdin>:2:8)\n    at <stdin>:5:1\n"),
        "{traceback}"
    );
    assert_eq!(js("x ===").await.error()["name"], "SyntaxError");
    js("process.exit(1)").await.expect_stdout("");
    let heard = request(
        &agent,
        json!({ "code": "console.log(process.env.Q)", "contextId": id, "envs": { "Q": "q" } }),
    )
    .await;
    heard.expect_stdout("q\n");
    js("console.log(process.env.Q, x)")
        .await
        .expect_stdout("undefined 40\n");
    js("require('child_process').execSync('echo child; ls /proc/self/fd | wc -l', { stdio: 'inherit' })")
        .await
        .expect_stdout("child\n4\n");
    js("console.log('y'.repeat(3 << 20))")
        .await
        .expect_stdout(&format!("{}\n", "y".repeat(3 << 20)));
    let heard = js("setTimeout(() => { throw new Error('late') }, 1); await new Promise((r) => setTimeout(r, 50))").await;
    assert!(
        heard.stderr.contains("late") && heard.control == ["completed"],
        "{heard:?}"
    );
}

#[tokio::test]
async fn javascript_without_end_is_interrupted_and_keeps_its_state() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({ "language": "javascript" })).await;
    for code in ["const x = 7; while (true);", "await new Promise(() => {})"] {
        let heard = request(
            &agent,
            json!({ "code": code, "contextId": id, "timeout": 1 }),
        )
        .await;
        assert_eq!((heard.code, heard.control.len()), (4008, 0), "{heard:?}");
    }
    request(&agent, json!({ "code": "console.log(x)", "contextId": id }))
        .await
        .expect_stdout("7\n");
    let heard = request(
        &agent,
        json!({ "code": "process.kill(process.pid, 'SIGKILL')", "contextId": id }),
    )
    .await;
    assert_eq!(heard.code, 1011);
    request(
        &agent,
        json!({ "code": "console.log(typeof x)", "contextId": id }),
    )
    .await
    .expect_stdout("undefined\n");
}
