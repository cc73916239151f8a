use http::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::sessions::exit_code;
use crate::support::{TestAgent, eventually, is_running, read_stream, signal};

const COMMAND: &str = "/process/session/entrypoint/command/entrypoint_command";
const LOGS: &str = "/process/session/entrypoint/logs";

async fn start(program: &[&str]) -> TestAgent {
    let agent = TestAgent::start_with(json!({ "entrypoint": program })).await;
    let start = std::time::Instant::now();
    while agent.get("/process/session/entrypoint").await.status == 404 {
        assert!(start.elapsed() < crate::support::PATIENCE);
    }
    agent
}

#[tokio::test]
async fn without_an_entrypoint_there_is_no_such_session() {
    let agent = TestAgent::start().await;
    for uri in ["/process/session/entrypoint", LOGS, COMMAND] {
        assert_eq!(agent.get(uri).await.expect(404).json()["code"], "NOT_FOUND");
    }
}

#[tokio::test]
async fn an_entrypoint_can_be_watched_and_not_be_touched() {
    let script = "echo \"[$1]\"; sleep 0.05; printf err >&2; touch $HOME/up; cat; echo never";
    let agent = start(&["sh", "-c", script, "name", "a b'c $(x)"]).await;
    let up = agent.dir.path().join("up");
    eventually("it runs", || up.exists()).await;
    let command = json!({ "id": "entrypoint_command", "command": Value::Null });
    let mut session = agent
        .get("/process/session/entrypoint")
        .await
        .expect(200)
        .json();
    session["commands"][0]["command"] = Value::Null;
    assert_eq!(
        session,
        json!({ "sessionId": "entrypoint", "commands": [command] })
    );
    assert_eq!(agent.get("/process/session").await.json(), json!([]));
    assert_eq!(
        agent.get(COMMAND).await.expect(200).json()["exitCode"],
        Value::Null
    );

    let marked = "\u{1}\u{1}\u{1}[a b'c $(x)]\n\u{2}\u{2}\u{2}err";
    let version = |version| [("x-daytona-sdk-version", version)];
    let ordinary = format!("{COMMAND}/logs");
    for uri in [LOGS, &ordinary] {
        for headers in [&[][..], &version("0.26.0"), &version("0.150.0")] {
            let answer = agent.call(Method::GET, uri, headers, "").await.expect(200);
            assert_eq!(answer.text(), marked, "{uri} {headers:?}");
        }
        let answer = agent.call(Method::GET, uri, &version("0.226.1"), "").await;
        let wanted = json!({ "output": marked, "stdout": "[a b'c $(x)]\n", "stderr": "err" });
        assert_eq!(answer.expect(200).json(), wanted, "{uri}");
        let (mut socket, _) = agent.connect(uri, &version("0.26.0")).await;
        let wanted = (marked.as_bytes().to_vec(), Some(CloseCode::Normal));
        assert_eq!(read_stream(&mut socket).await, wanted);
    }

    let exec = json!({ "command": "true" });
    agent
        .post("/process/session/entrypoint/exec", &exec)
        .await
        .expect(400);
    agent
        .post(&format!("{COMMAND}/input"), &json!({ "data": "x" }))
        .await
        .expect(400);
    agent
        .delete("/process/session/entrypoint")
        .await
        .expect(400);
    agent
        .post("/process/session", &json!({ "sessionId": "entrypoint" }))
        .await
        .expect(400);
}

#[tokio::test]
async fn the_end_of_the_entrypoint_is_not_the_end_of_the_sandbox() {
    let agent = start(&["sh", "-c", "echo bye; exit 5"]).await;
    let (mut follower, _) = agent.connect(&format!("{LOGS}?follow=true"), &[]).await;
    let (bytes, code) = read_stream(&mut follower).await;
    assert_eq!(
        (bytes.as_slice(), code),
        (&b"\x01\x01\x01bye\n"[..], Some(CloseCode::Normal))
    );
    assert_eq!(exit_code(&agent, COMMAND).await, 5);
    assert_eq!(agent.execute("echo on").await.1, "on\n");
    let missing = start(&["/no/such/program"]).await;
    assert_eq!(exit_code(&missing, COMMAND).await, 127);
    let logs = missing.get(LOGS).await.expect(200);
    assert!(logs.text().contains("/no/such/program"), "{}", logs.text());
}

#[tokio::test]
async fn after_a_kill_no_exit_code_of_before_is_told() {
    let mut agent = start(&["sh", "-c", "echo before; exit 5"]).await;
    assert_eq!(exit_code(&agent, COMMAND).await, 5);
    signal(agent.pid(), rustix::process::Signal::KILL);
    agent.ended().await;
    // A second agent in the same home.
    let home = agent.dir.path().to_owned();
    let again = TestAgent::start_with(json!({
        "env": { "HOME": home }, "entrypoint": ["sh", "-c", "echo after; exec sleep 6301"],
    }))
    .await;
    eventually("it runs", || is_running("6301")).await;
    assert_eq!(
        again.get(COMMAND).await.expect(200).json()["exitCode"],
        Value::Null
    );
    assert_eq!(
        again.get(LOGS).await.expect(200).text(),
        "\u{1}\u{1}\u{1}after\n"
    );
    drop(again);
    assert!(!is_running("6301"));
}

#[tokio::test]
async fn the_entrypoint_is_asked_to_end_when_the_sandbox_stops() {
    let script =
        "trap 'echo asked >$HOME/asked; exit' TERM; touch $HOME/up; while :; do sleep 0.02; done";
    let mut agent = start(&["sh", "-c", script]).await;
    let up = agent.dir.path().join("up");
    eventually("it runs", || up.exists()).await;
    let (code, time) = agent.stop().await;
    assert_eq!(code, Some(0));
    assert!(time < std::time::Duration::from_secs(5), "{time:?}");
    assert!(agent.dir.path().join("asked").exists());
}

#[tokio::test]
async fn the_agent_takes_no_port_that_a_program_may_want() {
    let agent = start(&["true"]).await;
    agent.execute("true").await;
    let sockets: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.to_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    assert!(!sockets.is_empty());
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{}/net/{table}", agent.pid())).unwrap();
        for line in table.lines().skip(1) {
            let inode = line.split_ascii_whitespace().nth(9).unwrap();
            assert!(!sockets.iter().any(|socket| socket == inode), "{line}");
        }
    }
}
