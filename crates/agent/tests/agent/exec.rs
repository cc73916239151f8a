//! Programs run as they are named.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{PATIENCE, TestAgent, eventually, is_running};

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn said(lines: &[Value], stream: &str) -> String {
    let of_stream = lines.iter().filter(|line| line["stream"] == stream);
    of_stream
        .map(|line| line["data"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_followed_program_begins_speaks_and_ends() {
    let agent = TestAgent::start().await;
    let request = json!({
        "command": "sh", "args": ["-c", "echo $0 $1 $A; echo err >&2; pwd; exit 7", "a b", "c"],
        "env": { "A": "x y" }, "cwd": agent.dir.path(), "wait": true, "logs": true, "sessionId": "s1",
    });
    let answer = agent.post("/exec", &request).await.expect(200);
    let lines = lines(answer.text());
    let (first, last) = (&lines[0]["command"], &lines.last().unwrap()["command"]);
    assert_eq!(first["exitCode"], Value::Null);
    assert!(first["id"].as_str().unwrap().starts_with("cmd_"));
    assert_eq!(first["name"], "sh");
    assert_eq!(first["sessionId"], "s1");
    assert_eq!(first["args"][2], "a b");
    assert!(first["startedAt"].as_i64().unwrap() > 1_600_000_000_000);
    assert_eq!((&last["id"], &last["exitCode"]), (&first["id"], &json!(7)));
    assert!(last["durationMs"].is_u64());
    let wanted = format!("a b c x y\n{}\n", agent.dir.path().display());
    assert_eq!(said(&lines, "stdout"), wanted);
    assert_eq!(said(&lines, "stderr"), "err\n");
}

#[tokio::test]
async fn without_logs_there_are_two_lines_and_the_log_is_kept() {
    let agent = TestAgent::start().await;
    let request = json!({ "command": "echo", "args": ["kept"], "wait": true });
    let answer = agent.post("/exec", &request).await.expect(200);
    let two = lines(answer.text());
    assert_eq!(two.len(), 2, "{two:?}");
    let id = two[1]["command"]["id"].as_str().unwrap();
    for _ in 0..2 {
        let logs = agent.get(&format!("/exec/{id}/logs")).await.expect(200);
        assert_eq!(
            lines(logs.text()),
            [json!({ "stream": "stdout", "data": "kept\n" })]
        );
    }
    let listed = agent.get("/exec").await.expect(200).json();
    assert_eq!(listed["commands"][0], two[1]["command"]);
}

#[tokio::test]
async fn a_stream_says_what_it_is_and_speaks_before_the_program_ends() {
    let agent = TestAgent::start().await;
    let request = json!({
        "command": "sh", "args": ["-c", "echo first; read line < go; echo $line"],
        "wait": true, "logs": true, "cwd": agent.dir.path(),
    });
    let go = agent.path("go");
    agent.execute(&format!("mkfifo {go}")).await;
    let request =
        TestAgent::request(Method::POST, "/exec").body(Full::new(Bytes::from(request.to_string())));
    let mut answer = agent.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let mut text = String::new();
    while !text.contains("first") {
        let frame = answer.body_mut().frame().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    std::fs::write(go, "second\n").unwrap();
    let rest = answer.into_body().collect().await.unwrap().to_bytes();
    text.push_str(std::str::from_utf8(&rest).unwrap());
    let lines = lines(&text);
    assert_eq!(said(&lines, "stdout"), "first\nsecond\n");
    assert_eq!(lines.last().unwrap()["command"]["exitCode"], 0);
}

/// Starts a program that reads what it is sent; gives its path.
async fn reading(agent: &TestAgent, script: &str) -> String {
    let request = json!({ "command": "sh", "args": ["-c", script], "attachStdin": true });
    let answer = agent.post("/exec", &request).await.expect(200).json();
    format!("/exec/{}", answer["command"]["id"].as_str().unwrap())
}

async fn fed(agent: &TestAgent, path: &str, query: &str, data: &'static str) -> (u16, Value) {
    let uri = format!("{path}/stdin?{query}");
    let request = TestAgent::request(Method::POST, &uri).body(Full::new(Bytes::from(data)));
    let answer = agent.send(request.unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn told(agent: &TestAgent, path: &str) -> (String, Value) {
    let ended = agent.get(&format!("{path}?wait=true")).await.expect(200);
    let logs = agent.get(&format!("{path}/logs")).await.expect(200);
    let said = said(&lines(logs.text()), "stdout");
    (said, ended.json()["command"]["exitCode"].clone())
}

#[tokio::test]
async fn a_program_reads_each_piece_once_however_often_it_is_sent() {
    let agent = TestAgent::start().await;
    let path = reading(&agent, "cat; echo end").await;
    for (query, data, written) in [
        ("", "", 0),
        ("offset=0", "one ", 4),
        ("offset=0", "one ", 4),
        ("offset=2", "e two ", 8),
        ("", "three ", 14),
        ("offset=14&close=true", "four\n", 19),
    ] {
        let (status, answer) = fed(&agent, &path, query, data).await;
        assert_eq!((status, &answer["bytesWritten"]), (200, &json!(written)));
        assert_eq!(answer["command"]["exitCode"], Value::Null, "{answer}");
    }
    let (said, code) = told(&agent, &path).await;
    assert_eq!(said, "one two three four\nend\n");
    assert_eq!(code, 0);
    let (status, refused) = fed(&agent, &path, "", "more").await;
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("COMMAND_STDIN_UNAVAILABLE"))
    );
}

#[tokio::test]
async fn only_a_program_with_an_input_that_it_reads_can_be_sent_one() {
    let agent = TestAgent::start().await;
    let plain = json!({ "command": "sh", "args": ["-c", "cat; sleep 60"] });
    let answer = agent.post("/exec", &plain).await.expect(200).json();
    let plain = format!("/exec/{}", answer["command"]["id"].as_str().unwrap());
    let closed = agent.path("closed");
    let deaf = reading(&agent, &format!("exec 0<&-; touch {closed}; sleep 60")).await;
    let gap = reading(&agent, "cat").await;
    let (status, refused) = fed(&agent, &plain, "", "x").await;
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("COMMAND_STDIN_UNAVAILABLE"))
    );
    eventually("it has closed its input", || {
        std::path::Path::new(&closed).exists()
    })
    .await;
    assert_eq!(fed(&agent, &deaf, "", "x").await.0, 400);
    let (status, refused) = fed(&agent, &gap, "offset=1", "x").await;
    assert_eq!((status, &refused["code"]), (400, &json!("BAD_REQUEST")));
    assert_eq!(fed(&agent, "/exec/none", "", "x").await.0, 404);
}

#[tokio::test]
async fn a_cut_character_waits_for_its_rest_and_no_text_is_replaced() {
    let agent = TestAgent::start().await;
    let script = r"printf '\303'; printf x >&2; sleep 0.1; printf '\251|\377|\342\202'";
    let request = json!({ "command": "sh", "args": ["-c", script], "wait": true, "logs": true });
    let answer = agent.post("/exec", &request).await.expect(200);
    let lines = lines(answer.text());
    assert_eq!(said(&lines, "stdout"), "\u{e9}|\u{fffd}|\u{fffd}");
    assert_eq!(said(&lines, "stderr"), "x");
}

#[tokio::test]
async fn a_signal_ends_all_of_a_program_and_is_its_exit_code() {
    let agent = TestAgent::start().await;
    for (signal, code) in [(None, 143), (Some(9), 137)] {
        let word = format!("71{code}");
        let script = format!("sleep {word} & sleep {word}; true");
        let request = json!({ "command": "sh", "args": ["-c", script] });
        let answer = agent.post("/exec", &request).await.expect(200).json();
        assert_eq!(answer["command"]["exitCode"], Value::Null);
        let id = answer["command"]["id"].as_str().unwrap();
        eventually("it runs", || is_running(&word)).await;
        let kill = signal.map_or(json!({}), |signal| json!({ "signal": signal }));
        agent
            .post(&format!("/exec/{id}/kill"), &kill)
            .await
            .expect(200);
        let over = agent
            .get(&format!("/exec/{id}?wait=true"))
            .await
            .expect(200);
        assert_eq!(over.json()["command"]["exitCode"], code);
        eventually("all of it is gone", || !is_running(&word)).await;
        // Once more does no harm.
        agent
            .post(&format!("/exec/{id}/kill"), &kill)
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn time_that_is_up_kills_whether_or_not_somebody_waits() {
    let agent = TestAgent::start().await;
    let request = json!({ "command": "sleep", "args": ["72001"], "timeout": 100 });
    let answer = agent.post("/exec", &request).await.expect(200).json();
    let id = answer["command"]["id"].as_str().unwrap();
    let over = agent
        .get(&format!("/exec/{id}?wait=true"))
        .await
        .expect(200);
    assert_eq!(over.json()["command"]["exitCode"], 137);
    assert!(!is_running("72001"));
}

#[tokio::test]
async fn a_caller_that_leaves_ends_nothing() {
    let agent = TestAgent::start().await;
    let done = agent.dir.path().join("done");
    let script = format!("echo on; read x < go; echo y > {}", done.display());
    agent.execute(&format!("mkfifo {}", agent.path("go"))).await;
    let request = json!({
        "command": "sh", "args": ["-c", script], "wait": true, "logs": true, "cwd": agent.dir.path(),
    });
    let request =
        TestAgent::request(Method::POST, "/exec").body(Full::new(Bytes::from(request.to_string())));
    let mut answer = agent.send(request.unwrap()).await.unwrap();
    answer.body_mut().frame().await.unwrap().unwrap();
    drop(answer);
    std::fs::write(agent.path("go"), "x\n").unwrap();
    eventually("it goes on", || done.exists()).await;
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_its_reason() {
    let agent = TestAgent::start().await;
    for (request, code) in [
        (
            json!({ "command": "no-such-program" }),
            "EXECUTABLE_NOT_FOUND",
        ),
        (json!({ "command": "./nothing" }), "EXECUTABLE_NOT_FOUND"),
        (
            json!({ "command": "true", "cwd": "/nowhere" }),
            "BAD_REQUEST",
        ),
        (json!({ "command": "true", "args": ["\0"] }), "BAD_REQUEST"),
        (
            json!({ "command": "true", "env": { "A=B": "" } }),
            "BAD_REQUEST",
        ),
        (json!({ "command": "true", "timeout": 0 }), "BAD_REQUEST"),
    ] {
        let answer = agent.post("/exec", &request).await.expect(400).json();
        assert_eq!(answer["code"], code, "{request}");
    }
    assert_eq!(agent.get("/exec").await.json(), json!({ "commands": [] }));
}

#[tokio::test]
async fn an_archive_is_unpacked_as_it_comes() {
    let agent = TestAgent::start().await;
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    header.set_mode(0o755);
    let zip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut archive = tar::Builder::new(zip);
    archive
        .append_data(&mut header, "a/b.sh", &b"hi"[..])
        .unwrap();
    let archive = archive.into_inner().unwrap().finish().unwrap();
    let uri = format!("/files/unpack?path={}", agent.dir.path().display());
    let send = |body: Vec<u8>| {
        let request = TestAgent::request(Method::POST, &uri)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        agent.send(request)
    };
    assert_eq!(send(archive.clone()).await.unwrap().status(), 201);
    let made = agent.dir.path().join("a/b.sh");
    assert_eq!(std::fs::read(&made).unwrap(), b"hi");
    std::fs::remove_file(&made).unwrap();
    let half = archive[..archive.len() / 2].to_vec();
    assert_eq!(send(half).await.unwrap().status(), 400);
    let mut none = Vec::new();
    none.write_all(b"no archive").unwrap();
    assert_eq!(send(none).await.unwrap().status(), 400);
    assert!(!made.exists());
}

#[tokio::test]
async fn a_new_folder_needs_the_one_around_it_and_a_free_name() {
    let agent = TestAgent::start().await;
    let make = |path: &str, status| {
        let uri = format!("/files/folder?path={}&parents=false", agent.path(path));
        let agent = &agent;
        async move { agent.post(&uri, &json!({})).await.expect(status) }
    };
    make("new", 201).await;
    make("new", 409).await;
    make("none/new", 404).await;
    make("new/inner", 201).await;
}

/// A client of sessions at a terminal.
struct Typist {
    socket: WebSocketStream<UnixStream>,
    seen: String,
    exit_code: Option<i64>,
}

impl Typist {
    async fn start(agent: &TestAgent, first: Value) -> Self {
        let (mut socket, _) = agent.connect("/exec/interactive", &[]).await;
        let first = Message::Text(first.to_string().into());
        socket.send(first).await.unwrap();
        Self {
            socket,
            seen: String::new(),
            exit_code: None,
        }
    }

    async fn say(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Reads until this was shown, or to the close.
    async fn until(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            let goes_on = self.step().await;
            assert!(goes_on, "closed without {wanted:?}: {:?}", self.seen);
        }
    }

    /// Reads one message; whether more can come.
    async fn step(&mut self) -> bool {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing comes after {:?}", self.seen));
        match next {
            Some(Ok(Message::Binary(bytes))) => self.seen += &String::from_utf8_lossy(&bytes),
            Some(Ok(Message::Text(text))) => match serde_json::from_str::<Value>(&text) {
                Ok(said) if said["type"] == "exit" => self.exit_code = said["code"].as_i64(),
                _ => self.seen += &text,
            },
            Some(Ok(Message::Close(_)) | Err(_)) | None => return false,
            Some(Ok(_)) => {}
        }
        true
    }

    async fn end(mut self) -> (String, Option<i64>) {
        while self.step().await {}
        (self.seen, self.exit_code)
    }
}

#[tokio::test]
async fn a_program_on_a_terminal_is_typed_to_resized_and_says_how_it_ended() {
    let agent = TestAgent::start().await;
    let script = "echo $0 $A $TERM; pwd; stty size; read line; echo got $line; stty size; exit 5";
    let mut typist = Typist::start(
        &agent,
        json!({
            "type": "start", "command": "sh", "args": ["-c", script, "a b"], "env": ["A=x=y", "TERM=dumb"],
            "cwd": agent.dir.path(), "cols": 91, "rows": 33,
        }),
    )
    .await;
    typist.until("33 91").await;
    let folder = agent.dir.path().display().to_string();
    assert!(
        typist.seen.contains("a b x=y dumb\r\n"),
        "{:?}",
        typist.seen
    );
    assert!(typist.seen.contains(&folder), "{:?}", typist.seen);
    let resize = json!({"type": "resize", "cols": 40, "rows": 12}).to_string();
    typist.say(Message::Text(resize.into())).await;
    typist
        .say(Message::Binary(Bytes::from_static(b"hello\r")))
        .await;
    let (seen, exit_code) = typist.end().await;
    assert!(
        seen.contains("got hello") && seen.contains("12 40"),
        "{seen:?}"
    );
    assert_eq!(exit_code, Some(5));
}

#[tokio::test]
async fn a_program_on_a_terminal_ends_with_its_client() {
    let agent = TestAgent::start().await;
    let start = json!({"type": "start", "command": "sh", "args": ["-c", "echo at $$; trap '' HUP; sleep 1000"]});
    let mut typist = Typist::start(&agent, start).await;
    typist.until("\r\n").await;
    let pid = typist.seen.trim().trim_start_matches("at ").to_owned();
    let runs = || std::path::Path::new("/proc").join(&pid).exists();
    assert!(!pid.is_empty() && runs(), "{pid:?}");
    drop(typist);
    eventually("it has ended", || !runs()).await;
}

#[tokio::test]
async fn what_cannot_start_on_a_terminal_says_why() {
    let agent = TestAgent::start().await;
    for (first, why) in [
        (
            json!({"type": "start", "command": "no-such-program"}),
            "no such executable",
        ),
        (
            json!({"type": "start", "command": "sh", "cwd": "/none"}),
            "/none",
        ),
        (
            json!({"type": "start", "command": "sh", "env": ["x"]}),
            "no variable",
        ),
        (
            json!({"type": "resize", "cols": 1, "rows": 1}),
            "no order to start",
        ),
    ] {
        let (seen, exit_code) = Typist::start(&agent, first.clone()).await.end().await;
        assert!(seen.contains(why), "{first} {seen:?}");
        assert_eq!(exit_code, Some(127), "{first}");
    }
}
