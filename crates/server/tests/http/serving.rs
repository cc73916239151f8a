//! Connections: both protocols, the Rust client, and the end.

use std::time::Duration;

use alcove_api_types::daytona::CreateSandbox;
use alcove_client::{Client, ListFilter};
use alcove_testkit::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, within};

#[tokio::test]
async fn the_rust_client_and_the_server_understand_each_other() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let url = format!("http://127.0.0.1:{}/api/", listening.port);
    let client = Client::new(&url, &server.kit.key).unwrap();
    assert_eq!(client.health().await.unwrap().status, "ok");
    assert_eq!(client.config().await.unwrap().default_snapshot, "default");
    let create = CreateSandbox {
        name: Some("my box".to_owned()),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..CreateSandbox::default()
    };
    let made = client.create(&create).await.unwrap();
    assert_eq!(client.get("my box").await.unwrap(), made);
    let filter = ListFilter {
        labels: create.labels.clone(),
        states: vec!["started".to_owned()],
    };
    assert_eq!(client.list(&filter).await.unwrap()[0].id, made.id);
    assert_eq!(client.snapshots().await.unwrap().total, 1);
    client.stop(&made.id, false).await.unwrap();
    client.start(&made.id).await.unwrap();
    client.delete(&made.id).await.unwrap();
    eventually("the sandbox is gone", async || {
        client.get(&made.id).await.is_err()
    })
    .await;
    let gone = client.get(&made.id).await.unwrap_err();
    let refusal = gone.refusal().unwrap();
    assert_eq!(
        (refusal.status.as_u16(), refusal.code.as_str()),
        (404, "NOT_FOUND")
    );
}

#[tokio::test]
async fn http2_without_tls_is_understood() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let io = hyper_util::rt::TokioIo::new(listening.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://127.0.0.1:{}/api/health", listening.port))
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.version(), http::Version::HTTP_2);
}

#[tokio::test]
async fn a_refusal_says_how_long_it_is() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut stream = listening.connect().await;
    stream
        .write_all(b"GET /api/sandbox HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let length = format!("content-length: {}", body.len());
    assert!(head.lines().any(|line| line == length), "{head}");
}

#[tokio::test]
async fn a_shutdown_closes_idle_connections_and_ends() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut stream = listening.connect().await;
    stream
        .write_all(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut start = [0; 12];
    within(stream.read_exact(&mut start)).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    listening.shutdown.cancel();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    within(listening.done).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever_for_a_silent_client() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let mut stream = listening.connect().await;
    // Half a request: its end never comes.
    let request = format!(
        "POST /api/sandbox HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 10\r\n\r\n{{",
        server.kit.key
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(Duration::from_millis(50), stream.read_u8())
        .await
        .unwrap_err();
    listening.shutdown.cancel();
    within(listening.done).await.unwrap();
}

#[tokio::test]
async fn a_client_that_sends_everything_first_learns_why_it_was_refused() {
    let server = Server::start().await;
    let listening = server.listen().await;
    // More than the sockets of both sides take before anybody reads.
    let body = vec![0; 32 << 20];
    for path in [
        "/toolbox/nobody/files/upload",
        "/api/nothing",
        "/api/sandbox",
    ] {
        let mut connection = listening.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = within(async {
            connection.write_all(head.as_bytes()).await?;
            connection.write_all(&body).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        })
        .await
        .unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
}
