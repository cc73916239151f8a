//! The gate with both of its sides on this host's loopback. That the kernel turns connections over is tested with real
//! sandboxes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::Ipv4Addr;

use alcove_domain::HostName;
use tokio::task::JoinHandle;

use super::hello::tests::hello_to;
use super::*;
use crate::net::config::SlotIndex;
use crate::net::names::tests::{Kernel, policy};

const SANDBOX: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 2);
/// Where nothing is waited for longer than this, it is taken for lost.
const DEADLINE: Duration = Duration::from_mins(1);

/// A server outside, and a sandbox that was told `a.example` has its address.
struct World {
    kernel: Kernel,
    rules: Arc<NameRules>,
    sightings: Arc<Sightings>,
    outside: TcpListener,
}

impl World {
    async fn new() -> Self {
        let world = Self {
            kernel: Kernel::default(),
            rules: Arc::default(),
            sightings: Arc::default(),
            outside: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        };
        world.hold_to(&["a.example", "b.example"]);
        let names = world.rules.listed(SANDBOX).unwrap();
        let name = HostName::parse("a.example").unwrap();
        let (ttl, address) = (Duration::from_mins(1), Ipv4Addr::LOCALHOST);
        names.open(&world.kernel, &name, &[address], ttl).unwrap();
        world
    }

    fn hold_to(&self, entries: &[&str]) {
        let policy = policy(entries);
        let applied = self
            .rules
            .apply(&self.kernel, SANDBOX, SlotIndex(1), &policy);
        applied.unwrap();
    }

    /// A connection of the sandbox to the server outside, through the gate.
    async fn dial(&self) -> (TcpStream, JoinHandle<io::Result<()>>) {
        let SocketAddr::V4(destination) = self.outside.local_addr().unwrap() else {
            panic!()
        };
        let way = Way {
            sandbox: SANDBOX,
            names: self.rules.listed(SANDBOX).unwrap(),
            destination,
            shared: Arc::new(Shared {
                names: Arc::clone(&self.rules),
                sightings: Arc::clone(&self.sightings),
                outside: Outside::everything(),
                connections: Shares::new(CONNECTIONS),
            }),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (inside, _) = listener.accept().await.unwrap();
        (client, tokio::spawn(way.pass(inside)))
    }

    async fn accept(&self) -> TcpStream {
        timeout(DEADLINE, self.outside.accept())
            .await
            .unwrap()
            .unwrap()
            .0
    }

    /// Whether nobody has come. Whoever would has been seen off before this is asked.
    async fn is_untouched(&self) -> bool {
        use std::future::poll_fn;
        use std::task::Poll;
        poll_fn(|context| Poll::Ready(self.outside.poll_accept(context).is_pending())).await
    }
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    // A reset is an end as well.
    let _ = read;
    bytes
}

/// What comes up to and with `end`.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let byte = timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap();
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn tls_to_a_name_goes_through_to_the_last_byte_both_ways() {
    let world = World::new().await;
    let (mut client, done) = world.dial().await;
    let hello = hello_to("a.example");
    // In pieces, with the rest right behind.
    client.write_all(&hello[..20]).await.unwrap();
    client.write_all(&hello[20..]).await.unwrap();
    let mut server = world.accept().await;
    let mut bytes = vec![0; hello.len()];
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, hello);
    client.write_all(b"in").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"in");
    // The other direction outlives the first.
    server.write_all(b"out").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"out");
    done.await.unwrap().unwrap();
}

#[tokio::test]
async fn tls_to_a_neighbour_on_the_same_address_is_refused_in_words_of_tls() {
    let world = World::new().await;
    // Not listed; listed, and not opened by this address; no name at all.
    for server in ["c.example", "b.example", "127.0.0.1"] {
        let (mut client, done) = world.dial().await;
        client.write_all(&hello_to(server)).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, TLS_ACCESS_DENIED, "{server}");
        done.await.unwrap().unwrap();
        assert!(world.is_untouched().await, "{server}");
    }
}

#[tokio::test]
async fn what_is_neither_tls_nor_a_request_gets_nowhere() {
    let world = World::new().await;
    for words in [
        &b"SSH-2.0-x\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[22, 3, 1, 0, 1, 9],
        b"\0",
        b"",
    ] {
        let (mut client, done) = world.dial().await;
        client.write_all(words).await.unwrap();
        client.shutdown().await.unwrap();
        rest(&mut client).await;
        let _ = done.await.unwrap();
        assert!(world.is_untouched().await, "{words:?}");
    }
}

#[tokio::test]
async fn each_request_of_a_kept_connection_is_looked_at() {
    let world = World::new().await;
    let (mut client, _done) = world.dial().await;
    client
        .write_all(b"GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    let mut server = world.accept().await;
    let request = read_to(&mut server, "\r\n\r\n").await;
    assert!(
        request.starts_with("GET /1 HTTP/1.1\r\n") && request.contains("Host: a.example"),
        "{request}"
    );
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
        .await
        .unwrap();
    assert!(
        read_to(&mut client, "one")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );

    client
        .write_all(b"GET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    read_to(&mut server, "\r\n\r\n").await;
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
        .await
        .unwrap();
    read_to(&mut client, "two").await;

    client
        .write_all(b"GET /3 HTTP/1.1\r\nHost: c.example\r\n\r\n")
        .await
        .unwrap();
    let refused = String::from_utf8(rest(&mut client).await).unwrap();
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("may not reach c.example"), "{refused}");
    assert_eq!(rest(&mut server).await, b"", "the third request went out");
}

#[tokio::test]
async fn a_body_in_chunks_that_hides_a_request_stays_a_body() {
    let world = World::new().await;
    let (mut client, _done) = world.dial().await;
    // Two readers of length and chunks would differ on where the second request begins.
    let words = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: c.example\r\n\r\n";
    client.write_all(words).await.unwrap();
    let mut server = world.accept().await;
    let request = read_to(&mut server, "\r\n\r\n").await.to_ascii_lowercase();
    let says = |header| request.contains(header);
    assert!(
        says("transfer-encoding: chunked") != says("content-length:"),
        "{request}"
    );
    server
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    let answers = String::from_utf8(rest(&mut client).await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 2").count(), 1, "{answers}");
    let sent = String::from_utf8(rest(&mut server).await).unwrap();
    assert!(!sent.contains("hidden"), "{sent}");
}

#[tokio::test]
async fn websockets_go_through() {
    let world = World::new().await;
    let (mut client, done) = world.dial().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst").await.unwrap();
    let mut server = world.accept().await;
    read_to(&mut server, "\r\n\r\n").await;
    server.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello").await.unwrap();
    assert!(
        read_to(&mut client, "hello")
            .await
            .starts_with("HTTP/1.1 101 ")
    );
    assert_eq!(read_to(&mut server, "first").await, "first");
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"");
    drop(server);
    rest(&mut client).await;
    done.await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_end_when_their_name_is_closed_and_others_go_on() {
    let world = World::new().await;
    let (mut tls, done_tls) = world.dial().await;
    tls.write_all(&hello_to("a.example")).await.unwrap();
    let mut tls_server = world.accept().await;
    let (mut plain, done_plain) = world.dial().await;
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    let mut plain_server = world.accept().await;
    read_to(&mut plain_server, "\r\n\r\n").await;

    // The control: another list that still has the name.
    world.hold_to(&["a.example"]);
    tls_server.write_all(b"still").await.unwrap();
    read_to(&mut tls, "still").await;

    world.hold_to(&["b.example"]);
    timeout(DEADLINE, done_tls).await.unwrap().unwrap().unwrap();
    timeout(DEADLINE, done_plain)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    rest(&mut tls).await;
    rest(&mut plain).await;
    rest(&mut plain_server).await;
}
