use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{PATIENCE, TestAgent, children_of};

const EXIT_CONTROL: (&str, &str) = ("sec-websocket-protocol", "X-Daytona-Pty-Exit-Control");

/// A client that has been told that it is connected.
pub struct Client {
    pub socket: WebSocketStream<UnixStream>,
    headers: HeaderMap,
    /// All output so far.
    pub seen: Vec<u8>,
    /// Controls since `connected`.
    pub controls: Vec<Value>,
}

/// How a connection ended: the close code, and its reason as JSON.
#[derive(Debug, PartialEq)]
pub struct Closed(pub u16, pub Value);

impl Client {
    pub async fn connect(agent: &TestAgent, uri: &str, headers: &[(&str, &str)]) -> Self {
        let (socket, headers) = agent.connect(uri, headers).await;
        let mut client = Self {
            socket,
            headers,
            seen: Vec::new(),
            controls: Vec::new(),
        };
        let first = client.next().await;
        let text = first.to_text().unwrap();
        assert_eq!(text, r#"{"type":"control","status":"connected"}"#);
        client
    }

    /// As new clients do: made and watched in one step.
    pub async fn create(agent: &TestAgent, id: &str) -> Self {
        let uri = format!("/process/pty/create-connect?id={id}&cols=80&rows=24");
        Self::connect(agent, &uri, &[EXIT_CONTROL]).await
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        let seen = String::from_utf8_lossy(&self.seen).into_owned();
        next.unwrap_or_else(|_| panic!("nothing comes after {seen:?}"))
            .unwrap()
            .unwrap()
    }

    pub async fn type_in(&mut self, text: &str) {
        let message = Message::Binary(text.to_owned().into_bytes().into());
        self.socket.send(message).await.unwrap();
    }

    /// Reads one message; how the connection closed, if it did.
    async fn step(&mut self) -> Option<Closed> {
        match self.next().await {
            Message::Binary(bytes) => self.seen.extend_from_slice(&bytes),
            Message::Text(text) => self.controls.push(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => {
                let frame = frame.unwrap();
                let reason = serde_json::from_str(&frame.reason).unwrap_or(Value::Null);
                return Some(Closed(frame.code.into(), reason));
            }
            _ => {}
        }
        None
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    pub async fn until(&mut self, wanted: &str) {
        while !self.text().contains(wanted) {
            let closed = self.step().await;
            assert_eq!(
                closed,
                None,
                "instead of {wanted:?}; seen: {:?}",
                self.text()
            );
        }
    }

    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Some(closed) = self.step().await {
                return closed;
            }
        }
    }
}

pub async fn create(agent: &TestAgent, body: Value) {
    let answer = agent.post("/process/pty", &body).await.expect(201).json();
    assert_eq!(answer, json!({ "sessionId": body["id"] }));
}

pub fn connect_uri(id: &str) -> String {
    format!("/process/pty/{id}/connect")
}

/// An agent whose shell is the same on every machine, with a prompt that is easy to find.
pub async fn start() -> TestAgent {
    let agent = TestAgent::start_with(json!({})).await;
    std::fs::write(agent.dir.path().join(".profile"), "PS1='ready> '\n").unwrap();
    std::fs::write(agent.dir.path().join(".zprofile"), "PS1='ready> '\n").unwrap();
    agent
}

#[tokio::test]
async fn a_lazy_terminal_starts_with_its_first_client_who_sees_the_first_prompt() {
    let agent = start().await;
    create(&agent, json!({ "id": "t", "lazyStart": true })).await;
    let info = agent.get("/process/pty/t").await.expect(200).json();
    assert_eq!(
        (&info["active"], &info["lazyStart"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(children_of(agent.pid()), [0_u32; 0]);
    let mut client = Client::connect(&agent, &connect_uri("t"), &[]).await;
    client.until("ready> ").await;
    let info = agent.get("/process/pty/t").await.expect(200).json();
    assert_eq!(info["active"], true);
}

#[tokio::test]
async fn a_terminal_is_described_as_it_was_asked_for() {
    let agent = start().await;
    std::fs::create_dir(agent.dir.path().join("sub")).unwrap();
    let body = json!({ "id": "t", "cwd": "sub", "envs": { "A": "1 2" }, "cols": 100, "rows": 30 });
    create(&agent, body).await;
    let mut info = agent.get("/process/pty/t").await.expect(200).json();
    let created_at = info["createdAt"].take();
    assert!(created_at.as_str().unwrap().ends_with('Z'), "{created_at}");
    let wanted = json!({
        "id": "t", "cwd": agent.path("sub"), "envs": { "A": "1 2", "TERM": "xterm-256color" },
        "cols": 100, "rows": 30, "createdAt": null, "active": true, "lazyStart": false,
    });
    assert_eq!(info, wanted);
    create(&agent, json!({ "id": "a", "envs": { "TERM": "vt100" } })).await;
    let list = agent.get("/process/pty").await.expect(200).json();
    let ids: Vec<_> = list["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|info| &info["id"])
        .collect();
    assert_eq!(ids, ["t", "a"]);

    let mut client = Client::connect(&agent, &connect_uri("t"), &[]).await;
    client
        .type_in("echo \"<$A $FROM_CONFIG $TERM>\"; pwd; stty size\n")
        .await;
    client.until("<1 2 yes xterm-256color>").await;
    client.until(&agent.path("sub")).await;
    client.until("30 100").await;
}

#[tokio::test]
async fn what_cannot_be_a_terminal_is_refused() {
    let agent = start().await;
    create(&agent, json!({ "id": "t" })).await;
    let table = [
        (json!({ "id": "t" }), 409),
        (json!({ "id": "" }), 400),
        (json!({}), 400),
        (json!({ "id": 7 }), 400),
        (json!({ "id": "create-connect" }), 400),
        (json!({ "id": "x", "cols": 0 }), 400),
        (json!({ "id": "x", "rows": 0 }), 400),
        (json!({ "id": "x", "cols": 1001 }), 400),
        (json!({ "id": "x", "rows": 1001 }), 400),
        (json!({ "id": "x", "cols": -1 }), 400),
        (json!({ "id": "x", "envs": { "A-B": "1" } }), 400),
        (json!({ "id": "x", "envs": { "A": "x\0y" } }), 400),
        (json!({ "id": "x", "cwd": "/nowhere" }), 400),
        (
            json!({ "id": "x", "cwd": "/etc/passwd", "lazyStart": true }),
            400,
        ),
    ];
    for (body, status) in table {
        let answer = agent.post("/process/pty", &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_ne!(answer.json()["message"], "", "{body}");
    }
    for uri in ["/process/pty/x", "/process/pty/x/connect?scrollback=maybe"] {
        let status = agent.get(uri).await.status;
        assert!(status == 404 || status == 400, "{uri}: {status}");
    }
    agent.delete("/process/pty/x").await.expect(404);
    let list = agent.get("/process/pty").await.expect(200).json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn creating_and_watching_are_one_step_for_new_clients() {
    let agent = start().await;
    let envs = "X-Daytona-Pty-Envs~eyJOQU1FIjoiYSBiIn0";
    let uri = "/process/pty/create-connect?id=t&cols=90&rows=20&cwd=%2Fusr";
    let offered = format!("{envs}, X-Daytona-SDK-Version~0.226.1, X-Daytona-Pty-Exit-Control");
    let mut client = Client::connect(&agent, uri, &[("sec-websocket-protocol", &offered)]).await;
    assert_eq!(
        client.headers["sec-websocket-protocol"],
        "X-Daytona-Pty-Exit-Control"
    );
    client.type_in("echo \"<$NAME>\"; pwd; stty size\n").await;
    client.until("<a b>").await;
    client.until("/usr").await;
    client.until("20 90").await;
    let info = agent.get("/process/pty/t").await.expect(200).json();
    assert_eq!(
        (&info["envs"]["NAME"], &info["active"]),
        (&json!("a b"), &json!(true))
    );

    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (query, offered, status) in [
        ("id=t", "", 409),
        ("id=", "", 400),
        ("cols=80", "", 400),
        ("id=x&cols=0", "", 400),
        ("id=x&rows=1001", "", 400),
        ("id=x&rows=ten", "", 400),
        ("id=x&cwd=/nowhere", "", 400),
        ("id=x", "X-Daytona-Pty-Envs~%%%", 400),
        ("id=x", "X-Daytona-Pty-Envs~eyJBLUIiOiIxIn0", 400),
    ] {
        let uri = format!("/process/pty/create-connect?{query}");
        let mut headers = upgrade.to_vec();
        if !offered.is_empty() {
            headers.push(("sec-websocket-protocol", offered));
        }
        let answer = agent.call(Method::GET, &uri, &headers, "").await;
        assert_eq!(answer.status, status, "{query} {offered}");
        assert_eq!(answer.json()["statusCode"], status);
    }
    agent
        .get("/process/pty/create-connect?id=x")
        .await
        .expect(400);
    assert_eq!(agent.get("/process/pty/x").await.status, 404);
}

#[tokio::test]
async fn one_of_the_offered_protocols_is_chosen() {
    let agent = start().await;
    create(&agent, json!({ "id": "t" })).await;
    let version = "X-Daytona-SDK-Version~0.190.0";
    for (offered, chosen) in [
        (Some(version), Some(version)),
        (
            Some("chat, X-Daytona-Pty-Exit-Control"),
            Some(EXIT_CONTROL.1),
        ),
        (None, None),
    ] {
        let headers: Vec<_> = offered
            .map(|offered| ("sec-websocket-protocol", offered))
            .into_iter()
            .collect();
        let client = Client::connect(&agent, &connect_uri("t"), &headers).await;
        let answered = client.headers.get("sec-websocket-protocol");
        assert_eq!(answered.map(|value| value.to_str().unwrap()), chosen);
    }
}

#[tokio::test]
async fn an_unknown_terminal_says_so_on_the_socket() {
    let agent = start().await;
    let (mut socket, _) = agent.connect(&connect_uri("none"), &[EXIT_CONTROL]).await;
    let message = socket.next().await.unwrap().unwrap();
    let error = "PTY session 'none' not found";
    let wanted = json!({ "type": "control", "status": "error", "error": error });
    assert_eq!(
        serde_json::from_str::<Value>(message.to_text().unwrap()).unwrap(),
        wanted
    );
    let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else {
        panic!("no close frame");
    };
    assert_eq!(u16::from(frame.code), 1011);
    assert_eq!(
        serde_json::from_str::<Value>(&frame.reason).unwrap(),
        json!({ "error": error })
    );
}

#[tokio::test]
async fn a_resize_reaches_programs_and_terminals_that_have_not_started() {
    let agent = start().await;
    create(&agent, json!({ "id": "t", "lazyStart": true })).await;
    let resize = async |cols: Value, rows: Value| {
        let body = json!({ "cols": cols, "rows": rows });
        agent.post("/process/pty/t/resize", &body).await
    };
    let info = resize(json!(120), json!(40)).await.expect(200).json();
    assert_eq!(
        (&info["cols"], &info["rows"], &info["active"]),
        (&json!(120), &json!(40), &json!(false))
    );
    let mut client = Client::connect(&agent, &connect_uri("t"), &[]).await;
    client.type_in("stty size\n").await;
    client.until("40 120").await;
    client
        .type_in("sh -c 'trap \"stty size; exit\" WINCH; echo up; while :; do sleep 0.01; done'\n")
        .await;
    client.until("up\r\n").await;
    resize(json!(1000), json!(1)).await.expect(200);
    client.until("1 1000").await;
    for (cols, rows) in [
        (json!(0), json!(24)),
        (json!(80), json!(1001)),
        (json!("80"), json!(24)),
        (Value::Null, json!(24)),
    ] {
        resize(cols, rows).await.expect(400);
    }
    let body = json!({ "cols": 80, "rows": 24 });
    agent
        .post("/process/pty/none/resize", &body)
        .await
        .expect(410);
}
