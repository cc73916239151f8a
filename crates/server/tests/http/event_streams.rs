//! Events as server-sent events: resumed where a client left off, and ended with the client's key.

use alcove_testkit::TestControl;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::events::{Socket, joined};
use crate::support::{Listening, Server, within};

/// A stream that is read event by event.
struct Stream {
    connection: TcpStream,
    text: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Stream {
    async fn open(server: &Server, listening: &Listening, head: &str) -> Self {
        let mut connection = listening.connect().await;
        let key = &server.kit.key;
        let request = format!(
            "GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{head}\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Self {
            connection,
            text: String::new(),
        };
        let answer = stream.until("\r\n\r\n").await.to_lowercase();
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert!(
            answer.contains("content-type: text/event-stream"),
            "{answer}"
        );
        stream
    }

    /// Takes what comes up to `end`, which goes too.
    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                let mut taken = std::mem::replace(&mut self.text, rest);
                taken.truncate(at);
                return taken;
            }
            assert!(self.read().await > 0, "ended after {:?}", self.text);
        }
    }

    async fn read(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let count = within(self.connection.read(&mut buffer)).await.unwrap();
        self.text
            .push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        count
    }

    /// The next block of lines that is no comment.
    async fn next(&mut self) -> Event {
        loop {
            let block = self.until("\n\n").await;
            let field = |name: &str| {
                let found = block.lines().find_map(|line| line.strip_prefix(name));
                found.unwrap_or_default().trim().to_owned()
            };
            let id = field("id:");
            if !id.is_empty() {
                let data = field("data:");
                let data = serde_json::from_str(&data).unwrap_or_default();
                return Event {
                    id,
                    name: field("event:"),
                    data,
                };
            }
        }
    }

    async fn ends(mut self) {
        // The last chunk of a body that ended as it should.
        while !self.text.ends_with("0\r\n\r\n") {
            assert!(self.read().await > 0, "cut after {:?}", self.text);
        }
    }
}

async fn until_state(stream: &mut Stream, state: &str) -> Event {
    loop {
        let event = stream.next().await;
        if event.data["newState"] == state {
            return event;
        }
    }
}

#[tokio::test]
async fn a_stream_that_comes_back_gets_what_it_has_missed() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut stream = Stream::open(&server, &listening, "").await;
    let place = stream.next().await;
    assert_eq!((place.name.as_str(), &place.data), ("", &Value::Null));

    let made = server.create(json!({"name": "a"})).await;
    let created = stream.next().await;
    assert_eq!(created.name, "sandbox.created");
    assert_eq!(created.data["id"], made["id"]);
    let started = until_state(&mut stream, "started").await;
    assert_eq!(started.name, "sandbox.state.updated");
    assert_eq!(started.data["oldState"], "creating");
    assert_eq!(started.data["sandbox"]["id"], made["id"]);
    drop(stream);

    server.ask("POST", "/api/sandbox/a/stop").await.ok();
    for head in [
        format!("Last-Event-ID: {}\r\n", created.id),
        // The header wins, as a browser that connects again keeps its address.
        format!("last-event-id: {}\r\nX: ?lastEventId=0\r\n", created.id),
    ] {
        let mut stream = Stream::open(&server, &listening, &head).await;
        assert_eq!(stream.next().await.id, created.id);
        let again = stream.next().await;
        assert_eq!(
            (again.id, again.data),
            (started.id.clone(), started.data.clone())
        );
        until_state(&mut stream, "stopped").await;
    }
    let by_query = format!("/api/events?lastEventId={}x", created.id);
    for (path, id) in [(by_query.as_str(), None), ("/api/events", Some("-1"))] {
        let head: Vec<_> = id.map(|id| ("last-event-id", id)).into_iter().collect();
        let answer = server.ask_with("GET", path, &head, "").await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}

#[tokio::test]
async fn a_client_is_told_when_the_past_that_it_asks_for_is_gone() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut stream = Stream::open(&server, &listening, "Last-Event-ID: 4000\r\n").await;
    let lost = stream.next().await;
    assert_eq!((lost.name.as_str(), lost.data), ("events.lost", json!({})));
    server.create(json!({"name": "a"})).await;
    assert_eq!(stream.next().await.name, "sandbox.created");
}

/// Waits for the packet by which the server lets a client of the socket go.
async fn is_let_go(socket: &mut Socket) {
    loop {
        let message = within(socket.next()).await.unwrap().unwrap();
        if message.to_text().is_ok_and(|text| text == "41") {
            return;
        }
    }
}

#[tokio::test]
async fn streams_and_sockets_end_with_the_key_that_they_came_with() {
    let server = Server::over(TestControl::open().await);
    let listening = server.listen().await;
    let mut stream = Stream::open(&server, &listening, "").await;
    stream.next().await;
    let mut socket = joined(&server, &listening).await;
    server.create(json!({"name": "a"})).await;
    assert_eq!(stream.next().await.name, "sandbox.created");
    // The first key of the same name goes.
    server.kit.control.bootstrap("dtn_another").await.unwrap();
    stream.ends().await;
    is_let_go(&mut socket).await;
}

#[tokio::test]
async fn a_server_that_closes_ends_its_streams() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut stream = Stream::open(&server, &listening, "").await;
    stream.next().await;
    listening.shutdown.cancel();
    stream.ends().await;
    within(listening.done).await.unwrap();
}
