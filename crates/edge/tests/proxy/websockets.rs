//! WebSockets through the proxy.

use crate::support::{Bench, KEY, read_until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: X-Daytona-Pty-Exit-Control\r\n\r\nhello";

async fn connected(bench: &mut Bench) -> (TcpStream, UnixStream, String, String) {
    let agent = bench.agent.take().unwrap();
    let mut client = bench.connect().await;
    let request = format!(
        "GET /toolbox/box/process/pty/a/connect HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {KEY}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: X-Daytona-SDK-Version~0.226.1, X-Daytona-Pty-Exit-Control\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = within(agent.accept()).await.unwrap();
    let seen = read_until(&mut stream, "\r\n\r\n").await;
    // Answer and first frame in one write: neither may wait for the other.
    stream.write_all(SWITCH).await.unwrap();
    let answer = read_until(&mut client, "hello").await;
    (client, stream, seen, answer)
}

#[tokio::test]
async fn a_handshake_passes_with_its_subprotocols_and_the_first_frame() {
    let mut bench = Bench::start().await;
    let (_client, _agent, seen, answer) = connected(&mut bench).await;
    let seen = seen.to_ascii_lowercase();
    assert!(seen.contains("connection: upgrade\r\n"), "{seen}");
    assert!(seen.contains("upgrade: websocket\r\n"), "{seen}");
    assert!(
        seen.contains("x-daytona-sdk-version~0.226.1, x-daytona-pty-exit-control"),
        "{seen}"
    );
    assert!(!seen.contains(KEY), "{seen}");
    let answer = answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(
        answer.contains("sec-websocket-protocol: x-daytona-pty-exit-control"),
        "{answer}"
    );
}

#[tokio::test]
async fn one_side_may_finish_while_the_other_goes_on() {
    let mut bench = Bench::start().await;
    let (mut client, mut agent, _, _) = connected(&mut bench).await;
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let mut seen = Vec::new();
    within(agent.read_to_end(&mut seen)).await.unwrap();
    assert_eq!(seen, b"last words");
    agent.write_all(b"still here").await.unwrap();
    drop(agent);
    let mut seen = Vec::new();
    within(client.read_to_end(&mut seen)).await.unwrap();
    assert_eq!(seen, b"still here");
}

#[tokio::test]
async fn a_refused_handshake_is_a_plain_answer() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let mut client = bench.connect().await;
    let request = format!(
        "GET /toolbox/box/process/pty/a/connect HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {KEY}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = within(agent.accept()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    stream
        .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    let answer = read_until(&mut client, "no").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn an_agent_cannot_switch_protocols_unasked() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let play = async {
        let (mut stream, _) = agent.accept().await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(SWITCH).await.unwrap();
        stream
    };
    let (answer, _stream) = tokio::join!(bench.get("/toolbox/box/x"), play);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn shutting_down_ends_open_sockets() {
    let mut bench = Bench::start().await;
    let (mut client, mut agent, _, _) = connected(&mut bench).await;
    within(bench.edge.shutdown()).await;
    let mut rest = Vec::new();
    let _ = within(client.read_to_end(&mut rest)).await;
    let _ = within(agent.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}
