//! Programs with somebody attached, as the SSH gateway runs them.

use std::time::Duration;

use alcove_agent_api::{
    RUN_PATH, RUN_PROTOCOL, RUN_WINDOW_BYTES, RunEnd, RunOrder, RunRequest, RunSaid, RunTerminal,
    SFTP_PATH, SFTP_PROTOCOL,
};
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::{PATIENCE, TestAgent};

struct Attached {
    stream: TokioIo<Upgraded>,
    said: Vec<u8>,
}

impl Attached {
    async fn connect(agent: &TestAgent, path: &str, protocol: &str) -> Self {
        let request = TestAgent::request(Method::GET, path)
            .header("connection", "upgrade")
            .header("upgrade", protocol)
            .body(Full::new(Bytes::new()))
            .unwrap();
        let response = agent.upgrade(request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let stream = hyper::upgrade::on(response).await.unwrap();
        Self {
            stream: TokioIo::new(stream),
            said: Vec::new(),
        }
    }

    async fn run(agent: &TestAgent, command: &str, terminal: Option<RunTerminal>) -> Self {
        let mut attached = Self::connect(agent, RUN_PATH, RUN_PROTOCOL).await;
        attached
            .order(&RunOrder::Command(command.as_bytes().to_vec()))
            .await;
        let env = [("WORD".to_owned(), "given".to_owned())].into();
        attached
            .order(&RunOrder::Start(RunRequest { env, terminal }))
            .await;
        attached
    }

    async fn order(&mut self, order: &RunOrder) {
        let mut piece = Vec::new();
        order.encode(&mut piece);
        self.stream.write_all(&piece).await.unwrap();
    }

    /// The next piece; none at the end.
    async fn next(&mut self) -> Option<RunSaid> {
        loop {
            if let Some(piece) = RunSaid::take(&mut self.said).unwrap() {
                return Some(piece);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.said)).await;
            if read.unwrap().unwrap() == 0 {
                return None;
            }
        }
    }

    /// Output, errors and end of the program.
    async fn rest(&mut self) -> (String, String, RunEnd) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        loop {
            match self.next().await.expect("an end") {
                RunSaid::Output(bytes) => output.extend(bytes),
                RunSaid::Errors(bytes) => errors.extend(bytes),
                RunSaid::Taken(_) => {}
                RunSaid::End(end) => {
                    let text = |bytes| String::from_utf8(bytes).unwrap();
                    return (text(output), text(errors), end);
                }
            }
        }
    }

    async fn until(&mut self, word: &str) {
        let mut output = Vec::new();
        while !String::from_utf8_lossy(&output).contains(word) {
            if let RunSaid::Output(bytes) = self.next().await.expect("the word") {
                output.extend(bytes);
            }
        }
    }
}

#[tokio::test]
async fn a_program_has_its_streams_apart_and_its_end_is_told() {
    let agent = TestAgent::start().await;
    let command = "read line; echo $WORD $line; echo oh >&2; exit 5";
    let mut run = Attached::run(&agent, command, None).await;
    run.order(&RunOrder::Input(b"in\n".to_vec())).await;
    run.order(&RunOrder::InputEnd).await;
    let (output, errors, end) = run.rest().await;
    assert_eq!((output.as_str(), errors.as_str()), ("given in\n", "oh\n"));
    assert_eq!(end, RunEnd::Code(5));
    assert_eq!(run.next().await, None);

    let mut killed = Attached::run(&agent, "kill -9 $$", None).await;
    assert_eq!(killed.rest().await.2, RunEnd::Signal(9));
}

#[tokio::test]
async fn input_that_is_not_read_holds_up_no_signal_and_has_a_window() {
    let agent = TestAgent::start().await;
    let command = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut deaf = Attached::run(&agent, command, None).await;
    deaf.until("ready").await;
    let piece = vec![0; 32 << 10];
    for _ in 0..RUN_WINDOW_BYTES / piece.len() {
        deaf.order(&RunOrder::Input(piece.clone())).await;
    }
    deaf.order(&RunOrder::Signal("TERM".to_owned())).await;
    let (output, _, end) = deaf.rest().await;
    assert_eq!((output.as_str(), end), ("caught\n", RunEnd::Code(3)));

    // More than the window ends it. The pipe takes some, so twice as much is surely too much.
    let mut greedy = Attached::run(&agent, "exec sleep 600", None).await;
    let flood = async {
        let mut bytes = Vec::new();
        for _ in 0..2 * RUN_WINDOW_BYTES / piece.len() {
            RunOrder::Input(piece.clone()).encode(&mut bytes);
        }
        // It may be over before all is sent.
        let _ = greedy.stream.write_all(&bytes).await;
    };
    timeout(PATIENCE, flood).await.unwrap();
    let over = async {
        let mut byte = [0; 4096];
        while !matches!(greedy.stream.read(&mut byte).await, Ok(0) | Err(_)) {}
    };
    timeout(PATIENCE, over).await.unwrap();
}

#[tokio::test]
async fn a_terminal_is_resized_and_its_programs_are_hung_up_on() {
    let agent = TestAgent::start().await;
    let terminal = RunTerminal {
        cols: 100,
        rows: 30,
        modes: vec![(53, 0)],
    };
    let trace = agent.path("trace");
    let command = format!(
        "trap 'echo size $(stty size)' WINCH; trap 'echo gone > {trace}; exit' HUP; echo ready $(stty size); \
         while :; do sleep 0.05; done"
    );
    let mut run = Attached::run(&agent, &command, Some(terminal)).await;
    run.until("ready 30 100").await;
    let size = alcove_agent_api::PtySize::new(120, 40).unwrap();
    run.order(&RunOrder::Resize(size)).await;
    run.until("size 40 120").await;
    drop(run);
    let start = std::time::Instant::now();
    while std::fs::read_to_string(&trace).unwrap_or_default() != "gone\n" {
        assert!(start.elapsed() < PATIENCE, "the program was not hung up on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_is_not_part_of_the_toolbox() {
    let agent = TestAgent::start().await;
    for path in [RUN_PATH, SFTP_PATH] {
        agent.get(path).await.expect(404);
        // A WebSocket, as it could come by the proxy.
        let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
        agent
            .call(Method::GET, path, &headers, "")
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn files_are_served_by_sftp() {
    let agent = TestAgent::start().await;
    let mut sftp = Attached::connect(&agent, SFTP_PATH, SFTP_PROTOCOL).await;
    // SSH_FXP_INIT of version 3, and then SSH_FXP_REALPATH of ".".
    let hello = [0, 0, 0, 5, 1, 0, 0, 0, 3];
    let real_path = [0, 0, 0, 10, 16, 0, 0, 0, 7, 0, 0, 0, 1, b'.'];
    sftp.stream.write_all(&hello).await.unwrap();
    sftp.stream.write_all(&real_path).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let length = timeout(PATIENCE, sftp.stream.read_u32()).await.unwrap();
        let mut packet = vec![0; length.unwrap() as usize];
        sftp.stream.read_exact(&mut packet).await.unwrap();
        answers.push(packet);
    }
    assert_eq!(answers[0][..5], [2, 0, 0, 0, 3], "SSH_FXP_VERSION");
    assert_eq!(answers[1][..5], [104, 0, 0, 0, 7], "SSH_FXP_NAME");
    let home = agent.dir.path().canonicalize().unwrap();
    let told = String::from_utf8_lossy(&answers[1]).into_owned();
    assert!(told.contains(home.to_str().unwrap()), "{told}");
}
