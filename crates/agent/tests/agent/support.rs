//! An agent for one test, and ways to talk to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

pub const TOKEN: &str = "secret";

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub struct TestAgent {
    pub dir: tempfile::TempDir,
    pub process: Child,
    is_ended: bool,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]);
        assert_eq!(self.status, status, "{text}");
        self
    }
}

impl TestAgent {
    pub async fn start() -> Self {
        Self::start_with(json!({})).await
    }

    /// Keys of `config` win over the usual ones.
    pub async fn start_with(config: Value) -> Self {
        Self::start_by(config, |dir| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_alcove-agent"));
            command.arg("--listen").arg(dir.join("socket"));
            command.arg("--git").arg(env!("CARGO_BIN_EXE_alcove-git"));
            command
                .arg("--config")
                .arg(dir.join("config"))
                .arg("--no-user-switch");
            command
        })
        .await
    }

    /// `command` starts the agent on `socket` with `config`, both in the folder it gets.
    pub async fn start_by(config: Value, command: impl FnOnce(&Path) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = json!({
            "sandboxId": "test",
            "token": TOKEN,
            "user": rustix::process::getuid().as_raw().to_string(),
            "env": { "HOME": dir.path(), "FROM_CONFIG": "yes" },
        });
        for (name, value) in config.as_object().unwrap() {
            whole[name] = value.clone();
        }
        std::fs::write(dir.path().join("config"), whole.to_string()).unwrap();
        let process = command(dir.path()).spawn().unwrap();
        let agent = Self {
            dir,
            process,
            is_ended: false,
        };
        let mut is_listening = UnixStream::connect(agent.socket()).await.is_ok();
        let start = Instant::now();
        while !is_listening {
            assert!(start.elapsed() < PATIENCE, "the agent does not listen");
            tokio::time::sleep(Duration::from_millis(2)).await;
            is_listening = UnixStream::connect(agent.socket()).await.is_ok();
        }
        // It listens before it has made its folders and catches signals; it answers after that.
        agent.get("/version").await.expect(200);
        agent
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a request on a connection of its own.
    pub async fn send<B>(&self, request: Request<B>) -> hyper::Result<hyper::Response<Incoming>>
    where
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await
    }

    /// Sends a request after which the connection may be something else.
    pub async fn upgrade(&self, request: Request<Full<Bytes>>) -> hyper::Response<Incoming> {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.unwrap()
    }

    pub fn request(method: Method, uri: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "agent")
            .header("x-alcove-agent-token", TOKEN)
    }

    pub async fn call(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Self::request(method, uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.send(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.call(Method::GET, uri, &[], "").await
    }

    pub async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.call(Method::POST, uri, &[], body.to_string()).await
    }

    pub async fn delete(&self, uri: &str) -> Answer {
        self.call(Method::DELETE, uri, &[], "").await
    }

    /// The result of a command that is expected to start.
    pub async fn execute(&self, command: &str) -> (i64, String) {
        let answer = self
            .post("/process/execute", &json!({ "command": command }))
            .await;
        let answer = answer.expect(200).json();
        let result = answer["result"].as_str().unwrap().to_owned();
        (answer["exitCode"].as_i64().unwrap(), result)
    }

    /// Opens a WebSocket.
    pub async fn connect(
        &self,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> (WebSocketStream<UnixStream>, HeaderMap) {
        let mut request = Self::request(Method::GET, &format!("ws://agent{uri}"))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let request = request.body(()).unwrap();
        let (socket, response) = tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap();
        (socket, response.headers().clone())
    }

    /// Physical memory that is the agent's alone, in KiB.
    pub fn private_kib(&self) -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap();
        let line = rollup
            .lines()
            .find(|line| line.starts_with("Private_Dirty:"))
            .unwrap();
        line.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn descriptor_count(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Children that have exited and were not reaped.
    pub fn zombie_count(&self) -> usize {
        children_of(self.pid())
            .iter()
            .filter(|pid| state_of(**pid) == Some('Z'))
            .count()
    }

    /// Asks the agent to end and waits for it.
    pub async fn stop(&mut self) -> (Option<i32>, Duration) {
        signal(self.pid(), rustix::process::Signal::TERM);
        self.ended().await
    }

    /// Waits for the end: the exit code and how long it took.
    pub async fn ended(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the agent does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.is_ended = true;
        (status.code(), start.elapsed())
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        if !self.is_ended {
            signal(self.pid(), rustix::process::Signal::TERM);
            let start = Instant::now();
            while self.process.try_wait().unwrap().is_none() {
                if start.elapsed() > PATIENCE {
                    let _ = self.process.kill();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process with this word among its arguments runs.
pub fn is_running(word: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return false;
    };
    entries.flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == word.as_bytes())
    })
}

pub fn children_of(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| stat_field(*pid, 1).as_deref() == Some(parent.to_string().as_str()))
        .collect()
}

fn state_of(pid: u32) -> Option<char> {
    stat_field(pid, 0)?.chars().next()
}

fn stat_field(pid: u32, at: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(at)
        .map(str::to_owned)
}

/// Reads a log stream to its end: the bytes and the close code.
pub async fn read_stream(socket: &mut WebSocketStream<UnixStream>) -> (Vec<u8>, Option<CloseCode>) {
    let mut bytes = Vec::new();
    let read = async {
        while let Some(message) = socket.next().await {
            match message.unwrap() {
                Message::Binary(piece) => bytes.extend_from_slice(&piece),
                Message::Close(frame) => return frame.map(|frame| frame.code),
                _ => {}
            }
        }
        None
    };
    let code = tokio::time::timeout(PATIENCE, read).await.unwrap();
    (bytes, code)
}
