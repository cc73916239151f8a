//! What runs in interpreter contexts, and what is heard of it.

mod contexts;
mod ends;
mod javascript;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::{PATIENCE, TestAgent, eventually};

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

    /// Reads until the output holds a text; all of it so far.
    async fn until_stdout(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let message: Value =
                serde_json::from_str(&self.message().await.into_text().unwrap()).unwrap();
            assert_eq!(message["type"], "stdout", "{message}");
            seen.push_str(message["text"].as_str().unwrap());
        }
        seen
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
async fn a_slow_client_holds_up_the_code_and_loses_nothing() {
    let agent = TestAgent::start().await;
    run(&agent, "1").await.expect_stdout("");
    let before = agent.private_kib();
    let code = "import sys\nfor i in range(4000):\n    open('at', 'w').write(str(i))\n    \
                sys.stdout.write('%07d\\n' % i * 1000)";
    let mut running = Running::start(&agent, &json!({ "code": code })).await;
    let first = running.until_stdout("0").await;
    let at = agent.dir.path().join("at");
    let (mut last, mut unchanged) = (String::new(), 0);
    eventually("the code stands still", || {
        let now = std::fs::read_to_string(&at).unwrap();
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        unchanged == 40
    })
    .await;
    assert_ne!(last, "3999", "32 MB have gone nowhere");
    let heard = running.end().await;
    let grown = agent.private_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "grew by {grown} KiB");
    assert_eq!(first.len() + heard.stdout.len(), 4000 * 8 * 1000);
    assert!(heard.stdout.ends_with("0003999\n"));
    assert_eq!(heard.code, 1000);
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
