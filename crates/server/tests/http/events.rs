//! The event socket, spoken by hand.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{Listening, Server, within};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a socket as the SDKs do, without an Authorization header.
pub async fn open(listening: &Listening) -> Socket {
    let url = format!(
        "ws://127.0.0.1:{}/api/socket.io/?EIO=4&transport=websocket&source=sdk-python\
         &sdkVersion=0.226.1&t=1",
        listening.port
    );
    let (mut socket, _) = within(connect_async(url)).await.unwrap();
    let hello = text(&mut socket).await;
    let hello: Value = serde_json::from_str(hello.strip_prefix('0').unwrap()).unwrap();
    assert_eq!(hello["pingInterval"], 25000);
    assert_eq!(hello["pingTimeout"], 20000);
    assert_eq!(hello["upgrades"], json!([]));
    socket
}

pub async fn text(socket: &mut Socket) -> String {
    loop {
        let message = within(socket.next()).await.unwrap().unwrap();
        match message {
            Message::Text(text) if text.as_str() == "2" => say(socket, "3").await,
            Message::Text(text) => return text.to_string(),
            _ => {}
        }
    }
}

pub async fn say(socket: &mut Socket, message: &str) {
    socket.send(Message::text(message)).await.unwrap();
}

/// The next event: its name and payload.
async fn event(socket: &mut Socket) -> (String, Value) {
    let text = text(socket).await;
    let event: Value = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
    (event[0].as_str().unwrap().to_owned(), event[1].clone())
}

pub async fn joined(server: &Server, listening: &Listening) -> Socket {
    let mut socket = open(listening).await;
    say(
        &mut socket,
        &format!(r#"40{{"token":"{}"}}"#, server.kit.key),
    )
    .await;
    let answer = text(&mut socket).await;
    assert!(answer.starts_with(r#"40{"sid":"#), "{answer}");
    socket
}

#[tokio::test]
async fn a_wrong_token_is_refused_politely() {
    let server = Server::start().await;
    let listening = server.listen().await;
    for packet in [r#"40{"token":"wrong"}"#, "40", r#"40{"token":7}"#] {
        let mut socket = open(&listening).await;
        say(&mut socket, packet).await;
        let answer = text(&mut socket).await;
        assert_eq!(answer, r#"44{"message":"Invalid credentials"}"#, "{packet}");
    }
}

#[tokio::test]
async fn the_life_of_a_sandbox_is_told_with_the_whole_object() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut first = joined(&server, &listening).await;
    let mut second = joined(&server, &listening).await;
    // The room is joined a moment after the answer to CONNECT.
    tokio::task::yield_now().await;

    let made = server.create(json!({"name": "a"})).await;
    for socket in [&mut first, &mut second] {
        let (name, payload) = event(socket).await;
        assert_eq!(name, "sandbox.created");
        assert_eq!(payload["id"], made["id"]);
        assert!(payload["toolboxProxyUrl"].is_string() && payload["env"].is_object());
        let (name, payload) = event(socket).await;
        assert_eq!(name, "sandbox.state.updated");
        assert_eq!(payload["oldState"], "creating");
        assert_eq!(payload["newState"], "started");
        assert_eq!(payload["sandbox"]["state"], "started");
        assert_eq!(payload["sandbox"]["id"], made["id"]);
    }
    drop(second);

    server.ask("DELETE", "/api/sandbox/a").await.ok();
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "destroyed") {
        let (name, payload) = event(&mut first).await;
        if name == "sandbox.state.updated" {
            states.push(payload["newState"].as_str().unwrap().to_owned());
        }
    }
}

#[tokio::test]
async fn a_state_that_lasts_is_told() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut socket = joined(&server, &listening).await;
    tokio::task::yield_now().await;

    server.kit.runner.hold_work();
    let create = server.create(json!({"name": "a"}));
    let watch = async {
        let (name, payload) = event(&mut socket).await;
        assert_eq!(
            (name.as_str(), &payload["state"]),
            ("sandbox.created", &json!("creating"))
        );
        server.kit.runner.resume_work();
        let (_, payload) = event(&mut socket).await;
        assert_eq!(payload["newState"], "started");
    };
    tokio::join!(create, watch);
}

#[tokio::test]
async fn polling_is_not_offered() {
    let server = Server::start().await;
    let answer = server
        .ask("GET", "/api/socket.io/?EIO=4&transport=polling")
        .await;
    assert!(answer.status.is_client_error(), "{answer:?}");
}

#[tokio::test]
async fn snapshots_and_volumes_are_told_of_with_the_whole_object() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut socket = joined(&server, &listening).await;
    tokio::task::yield_now().await;
    let answer = server
        .put("POST", "/api/volumes", json!({"name": "data"}))
        .await;
    let made = answer.ok();
    let (name, payload) = event(&mut socket).await;
    assert_eq!(
        (name.as_str(), &payload["id"]),
        ("volume.created", &made["id"])
    );
    let (name, payload) = event(&mut socket).await;
    assert_eq!(name, "volume.state.updated");
    assert_eq!(payload["oldState"], "pending_create");
    assert_eq!(payload["newState"], "creating");
    assert_eq!(payload["volume"]["id"], made["id"]);
    let (_, payload) = event(&mut socket).await;
    assert_eq!(payload["newState"], "ready");

    let body = json!({"name": "mine", "imageName": "host:5000/a/b:1"});
    let made = server.put("POST", "/api/snapshots", body).await.ok();
    let (name, payload) = event(&mut socket).await;
    assert_eq!(
        (name.as_str(), &payload["id"]),
        ("snapshot.created", &made["id"])
    );
    loop {
        let (name, payload) = event(&mut socket).await;
        assert_eq!(name, "snapshot.state.updated");
        assert_eq!(payload["snapshot"]["id"], made["id"]);
        if payload["newState"] == "active" {
            break;
        }
    }
    let gone = server.ask("DELETE", "/api/snapshots/mine").await;
    assert_eq!(gone.status, 200, "{gone:?}");
    let (_, payload) = event(&mut socket).await;
    assert_eq!(payload["newState"], "removing");
    let (name, payload) = event(&mut socket).await;
    assert_eq!(
        (name.as_str(), &payload["id"]),
        ("snapshot.removed", &made["id"])
    );
}
