//! Ports of real sandboxes, reached through the real server.

use std::time::Duration;

use alcove_client::Client;
use alcove_e2e::server::{Port, Raw, TestServer};
use alcove_e2e::wait;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{make, run, within};

/// A server that only the sandbox's own loopback reaches.
const SERVE: &str =
    "mkdir -p www && echo inside > www/x && httpd -p 127.0.0.1:3456 -h www && echo started";
const IN_TIME: Duration = Duration::from_mins(1);

/// Waits until the sandbox has a socket of port 3456 in this state.
async fn seen(client: &Client, state: &str) {
    wait::until("a socket in that state", async || {
        let sockets = run(client, "box", "cat /proc/net/tcp /proc/net/tcp6").await;
        let is_there = sockets
            .lines()
            .any(|line| line.contains(":0D80 ") && line.contains(&format!(" {state} ")));
        if is_there { Ok(()) } else { Err(sockets) }
    })
    .await;
}

/// What a visitor sees who brings nothing but the address.
async fn look(raw: &Raw, host: &str, path: &str) -> String {
    let mut stream = raw.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", IN_TIME, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn url_of(raw: &Raw, path: &str) -> (String, String) {
    let answer = raw.ask("GET", path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let answer = answer.json();
    let url = answer["url"].as_str().unwrap();
    let host = url.strip_prefix("http://").unwrap().to_owned();
    (host, answer["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_port_of_the_sandboxs_loopback_is_reached_and_none_of_the_hosts() {
    let mut server = TestServer::start().await;
    let client = server.client();
    make(&client, "box").await;
    let raw = server.raw();
    let (host, token) = url_of(&raw, "/api/sandbox/box/ports/3456/preview-url").await;
    let with_token = format!("/x?DAYTONA_SANDBOX_AUTH_KEY={token}");
    let early = look(&raw, &host, &with_token).await;
    assert!(early.contains("PORT_NOT_LISTENING"), "{early}");
    run(&client, "box", SERVE).await;
    let private = look(&raw, &host, "/x").await;
    assert!(private.starts_with("HTTP/1.1 401 "), "{private}");
    let page = look(&raw, &host, &with_token).await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(page.ends_with("inside\n"), "{page}");
    let by_path = raw.ask("GET", "/p/box/3456/x", "").await;
    assert_eq!(&by_path.body[..], b"inside\n");

    // The host's own loopback is another. The control: it is reached from here.
    let foreign = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = foreign.local_addr().unwrap().port();
    let refused = raw.ask("GET", &format!("/p/box/{port}/"), "").await;
    assert_eq!(refused.json()["code"], "PORT_NOT_LISTENING");
    drop(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap(),
    );

    // Token and signed URL outlive the server, and so does what listens.
    let signed = "/api/sandbox/box/ports/3456/signed-preview-url?expiresInSeconds=3600";
    let (signed_host, label) = url_of(&raw, signed).await;
    let (ended_host, ended) = url_of(&raw, &signed.replace("3600", "3599")).await;
    assert_ne!(label, ended);
    let expire = format!("/api/sandbox/box/ports/3456/signed-preview-url/{ended}/expire");
    assert_eq!(raw.ask("POST", &expire, "").await.status, StatusCode::OK);
    server.kill();
    server.restart(Port::Same).await;
    let raw = server.raw();
    for (host, path) in [(&host, with_token.as_str()), (&signed_host, "/x")] {
        let page = look(&raw, host, path).await;
        assert!(page.ends_with("inside\n"), "{page}");
    }
    let refused = look(&raw, &ended_host, "/x").await;
    assert!(refused.contains("PREVIEW_URL_EXPIRED"), "{refused}");
    server.finish().await;
}

#[tokio::test]
async fn a_stopped_sandbox_is_named_and_a_started_one_is_a_new_one() {
    let server = TestServer::start().await;
    let client = server.client();
    make(&client, "box").await;
    let raw = server.raw();
    run(&client, "box", SERVE).await;
    let ask = async || raw.ask("GET", "/p/box/3456/x", "").await;
    assert_eq!(&ask().await.body[..], b"inside\n");
    client.stop("box", false).await.unwrap();
    assert_eq!(ask().await.json()["code"], "SANDBOX_NOT_STARTED");
    client.start("box").await.unwrap();
    // The connection that was kept led to the one before.
    assert_eq!(ask().await.json()["code"], "PORT_NOT_LISTENING");
    run(&client, "box", SERVE).await;
    assert_eq!(&ask().await.body[..], b"inside\n");
    client.pause("box").await.unwrap();
    assert_eq!(ask().await.json()["code"], "SANDBOX_NOT_STARTED");
    server.finish().await;
}

#[tokio::test]
async fn a_visitor_who_holds_a_connection_holds_nothing_of_a_sandbox_that_is_gone() {
    let server = TestServer::start().await;
    let client = server.client();
    make(&client, "box").await;
    // One that takes a connection and never says a word.
    run(
        &client,
        "box",
        "(sleep 1000 | nc -l -p 3456) </dev/null >/dev/null 2>&1 & echo started",
    )
    .await;
    // Netcat listens some time after its shell has ended. State 0A listens, 01 is open; 0D80 is the port.
    seen(&client, "0A").await;
    let raw = server.raw();
    let mut visitor = raw.connect().await;
    let head = raw.head("GET", "/p/box/3456/", "text/plain", 0);
    visitor.write_all(head.as_bytes()).await.unwrap();
    seen(&client, "01").await;
    client.delete("box").await.unwrap();
    server.delete_all().await;
    server.nothing_left().await;
    drop(visitor);
    server.finish().await;
}
