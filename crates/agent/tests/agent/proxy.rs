use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use http::Method;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::errors::assert_standard;
use crate::support::{PATIENCE, TestAgent};

/// A server that speaks bytes: what it got, request by request, and how many connections there were.
struct Upstream {
    port: u16,
    requests: mpsc::Receiver<String>,
    connections: Arc<AtomicUsize>,
}

/// `answer` is called for each request with its number; without an answer the connection ends.
async fn upstream(
    address: &str,
    answer: impl Fn(usize) -> Option<String> + Send + Sync + 'static,
) -> Upstream {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = mpsc::channel(100);
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, count) = (connections.clone(), Arc::new(AtomicUsize::new(0)));
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let (seen, count, answer) = (seen.clone(), count.clone(), answer.clone());
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    seen.send(request).await.unwrap();
                    match answer(number) {
                        Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                        None => return,
                    }
                }
            });
        }
    });
    Upstream {
        port,
        requests,
        connections,
    }
}

/// One request with its body, which has a length or is chunked.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let head = memchr::memmem::find(&text, b"\r\n\r\n");
        if let Some(end) = head {
            let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            let is_whole = if head.contains("transfer-encoding: chunked") {
                text.ends_with(b"0\r\n\r\n")
            } else {
                text.len() >= end + 4 + length
            };
            if is_whole {
                return Some(String::from_utf8(text).unwrap());
            }
        }
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
}

async fn next(upstream: &mut Upstream) -> String {
    timeout(PATIENCE, upstream.requests.recv())
        .await
        .unwrap()
        .unwrap()
}

async fn open(agent: &TestAgent, uri: &str, headers: &[(&str, &str)]) -> hyper::Response<Incoming> {
    let mut request = TestAgent::request(Method::GET, uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    agent
        .send(request.body(Empty::<Bytes>::new()).unwrap())
        .await
        .unwrap()
}

/// The next piece of a body as text.
async fn piece(body: &mut Incoming) -> String {
    let frame = timeout(PATIENCE, body.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_except_for_what_is_of_the_hop() {
    let agent = TestAgent::start().await;
    let mut upstream = upstream("127.0.0.1", |_| Some(ok("fine"))).await;
    let uri = format!("/proxy/{}/a%2Fb//%C3%A9/../c;d?x=%20&y=1+2", upstream.port);
    let headers = [
        ("x-own", "1"),
        ("x-forwarded-for", "10.1.2.3"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("cookie", "c=d"),
    ];
    let answer = agent
        .call(Method::PUT, &uri, &headers, "the body")
        .await
        .expect(200);
    assert_eq!(answer.text(), "fine");
    let request = next(&mut upstream).await;
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "the body");
    assert!(
        head.starts_with("PUT /a%2Fb//%C3%A9/../c;d?x=%20&y=1+2 HTTP/1.1\r\n"),
        "{head}"
    );
    let head = head.to_lowercase();
    for line in [
        format!("host: localhost:{}", upstream.port),
        "x-own: 1".into(),
        "x-forwarded-for: 10.1.2.3".into(),
        "cookie: c=d".into(),
    ] {
        assert!(head.contains(&line), "{line} in {head}");
    }
    assert!(
        !head.contains("x-alcove") && !head.contains("x-hop") && !head.contains("secret"),
        "{head}"
    );
}

#[tokio::test]
async fn answers_of_the_server_stay_its_own_whatever_their_status() {
    let agent = TestAgent::start().await;
    let upstream = upstream("127.0.0.1", |_| {
        Some("HTTP/1.1 503 Own Words\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nSet-Cookie: a=b\r\nX-Hop: 1\r\nConnection: x-hop\r\n\r\nbusy".into())
    })
    .await;
    let answer = agent
        .get(&format!("/proxy/{}/", upstream.port))
        .await
        .expect(503);
    assert_eq!(answer.text(), "busy");
    assert_eq!(answer.headers["content-type"], "text/plain");
    assert_eq!(answer.headers["set-cookie"], "a=b");
    assert!(!answer.headers.contains_key("x-hop"));
}

#[tokio::test]
async fn a_server_on_ipv6_alone_is_reached() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let agent = TestAgent::start().await;
    let upstream = upstream("::1", |_| Some(ok("six"))).await;
    let answer = agent
        .get(&format!("/proxy/{}/", upstream.port))
        .await
        .expect(200);
    assert_eq!(answer.text(), "six");
}

#[tokio::test]
async fn connections_are_used_again_and_a_closed_one_is_not() {
    let agent = TestAgent::start().await;
    let open = upstream("127.0.0.1", |_| Some(ok(""))).await;
    for _ in 0..5 {
        agent
            .call(Method::POST, &format!("/proxy/{}/", open.port), &[], "x")
            .await
            .expect(200);
    }
    assert_eq!(open.connections.load(Ordering::SeqCst), 1);

    let closing = upstream("127.0.0.1", |_| {
        Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into())
    })
    .await;
    for _ in 0..5 {
        agent
            .call(Method::POST, &format!("/proxy/{}/", closing.port), &[], "x")
            .await
            .expect(200);
    }
    assert_eq!(closing.connections.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_never_sent_twice() {
    let agent = TestAgent::start().await;
    // Takes a second request on a kept connection, and ends it without a word.
    let mut upstream = upstream("127.0.0.1", |number| (number == 0).then(|| ok(""))).await;
    let uri = format!("/proxy/{}/pay", upstream.port);
    agent.call(Method::POST, &uri, &[], "1").await.expect(200);
    next(&mut upstream).await;
    for method in [Method::POST, Method::GET, Method::POST] {
        let answer = agent.call(method.clone(), &uri, &[], "2").await.expect(502);
        assert_standard(&answer, &method, &uri);
        assert_eq!(answer.json()["code"], "BAD_GATEWAY");
        next(&mut upstream).await;
        assert!(upstream.requests.try_recv().is_err());
    }
}

#[tokio::test]
async fn where_nobody_listens_the_answer_says_so() {
    let agent = TestAgent::start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let path = format!("/proxy/{port}/x");
    let answer = agent.get(&path).await.expect(502);
    assert_standard(&answer, &Method::GET, &path);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains(&port.to_string())
    );
}

#[tokio::test]
async fn a_path_without_its_slash_leads_to_the_one_with_it() {
    let agent = TestAgent::start().await;
    for (method, status) in [(Method::GET, 301), (Method::POST, 307)] {
        let answer = agent
            .call(method, "/proxy/3000?a=b", &[], "")
            .await
            .expect(status);
        assert_eq!(answer.headers["location"], "3000/?a=b");
    }
}

#[tokio::test]
async fn events_arrive_one_by_one_and_a_client_that_leaves_is_noticed() {
    let agent = TestAgent::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, mut waits) = mpsc::channel::<()>(1);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(b"6\r\none\n\n\n\r\n").await.unwrap();
        waits.recv().await.unwrap();
        stream.write_all(b"6\r\ntwo\n\n\n\r\n").await.unwrap();
        // The end of the client is the end of this read.
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap()
            .ok();
    });
    let response = open(&agent, &format!("/proxy/{port}/events"), &[]).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    assert_eq!(piece(&mut body).await, "one\n\n\n");
    go.send(()).await.unwrap();
    assert_eq!(piece(&mut body).await, "two\n\n\n");
    drop(body);
    timeout(PATIENCE, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn trailers_reach_a_client_that_takes_them() {
    let agent = TestAgent::start().await;
    let mut upstream = upstream("127.0.0.1", |_| {
        Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n".into())
    })
    .await;
    let response = open(
        &agent,
        &format!("/proxy/{}/", upstream.port),
        &[("te", "trailers")],
    )
    .await;
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
    assert_eq!(collected.to_bytes(), "ok");
    assert!(
        next(&mut upstream)
            .await
            .to_lowercase()
            .contains("te: trailers")
    );
}

#[tokio::test]
async fn a_large_body_streams_both_ways_in_little_memory() {
    const CHUNKS: usize = 1600;
    let agent = TestAgent::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let echo = hyper::service::service_fn(|request: http::Request<Incoming>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(request.into_body()))
        });
        let io = hyper_util::rt::TokioIo::new(stream);
        hyper::server::conn::http1::Builder::new()
            .serve_connection(io, echo)
            .await
            .ok();
    });
    agent.get("/version").await.expect(200);
    let before = agent.private_kib();
    let chunk = Bytes::from(vec![7; 64 << 10]);
    let frames = futures_util::stream::iter(
        (0..CHUNKS).map(move |_| Ok::<_, std::io::Error>(hyper::body::Frame::data(chunk.clone()))),
    );
    let request = TestAgent::request(Method::POST, &format!("/proxy/{port}/echo"));
    let request = request
        .body(http_body_util::StreamBody::new(frames))
        .unwrap();
    let mut body = agent.send(request).await.unwrap().into_body();
    let (mut length, mut peak) = (0, 0);
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().map_or(0, |data| data.len());
        peak = peak.max(agent.private_kib());
    }
    assert_eq!(length, CHUNKS * (64 << 10));
    let grown = peak.saturating_sub(before);
    assert!(grown < 8 << 10, "grew by {grown} KiB");
}

#[tokio::test]
async fn a_web_socket_passes_with_its_protocol_and_its_end() {
    let mut agent = TestAgent::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    let uri = format!("/proxy/{port}/ws?x=1");
    let (mut socket, headers) = agent.connect(&uri, &[]).await;
    assert_eq!(headers["upgrade"], "websocket");
    for text in ["hello", &"long".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        let answer = timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(answer.to_text().unwrap(), text);
    }
    socket.close(None).await.unwrap();
    let end = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(matches!(end, Some(Ok(Message::Close(_))) | None), "{end:?}");

    // One that stays open does not hold up the agent's end.
    let (_open, _) = agent.connect(&uri, &[]).await;
    assert_eq!(agent.stop().await.0, Some(0));
    server.await.unwrap();
}

#[tokio::test]
async fn a_refused_web_socket_is_an_answer() {
    let agent = TestAgent::start().await;
    let upstream = upstream("127.0.0.1", |_| {
        Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into())
    })
    .await;
    let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
    let response = open(&agent, &format!("/proxy/{}/ws", upstream.port), &headers).await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "no"
    );
}

#[tokio::test]
async fn many_requests_side_by_side_are_answered() {
    let agent = TestAgent::start().await;
    let upstream = upstream("127.0.0.1", |number| Some(ok(&number.to_string()))).await;
    let uri = format!("/proxy/{}/", upstream.port);
    let descriptors = agent.descriptor_count();
    let all = (0..50).map(|_| agent.call(Method::POST, &uri, &[], "x"));
    for answer in futures_util::future::join_all(all).await {
        answer.expect(200);
    }
    assert!(upstream.connections.load(Ordering::SeqCst) <= 50);
    // As many are kept as are worth keeping.
    crate::support::eventually("connections are closed", || {
        agent.descriptor_count() <= descriptors + 34
    })
    .await;
}
