//! What HTTP can do passes between a client and a program: versions, trailers, leave to send a body, who came how.

use std::sync::atomic::Ordering;

use alcove_edge::Previews;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use hyper::body::{Body as _, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::previews::{get, program, token_line};
use crate::support::{Bench, TOKEN, read_until, within};

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

const TRAILED: &str = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                       4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n";

#[tokio::test]
async fn trailers_of_a_program_reach_a_client_that_takes_them() {
    let bench = Bench::start().await;
    let (listener, port) = listener().await;
    let mut client = bench.connect().await;
    let token = token_line();
    let request =
        format!("GET / HTTP/1.1\r\nHost: {port}-box.localhost\r\n{token}\r\nTE: trailers\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut program, _) = within(listener.accept()).await.unwrap();
    let seen = read_until(&mut program, "\r\n\r\n").await;
    assert!(seen.to_lowercase().contains("te: trailers\r\n"), "{seen}");
    program.write_all(TRAILED.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "x-sum: 7\r\n").await;
    assert!(answer.contains("body"), "{answer}");
}

/// A body that is said piece by piece.
struct Pieces(mpsc::Receiver<Frame<Bytes>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// The next frame of a body.
async fn frame(body: &mut hyper::body::Incoming) -> Frame<Bytes> {
    let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
    within(next).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_client_of_http2_streams_both_ways_to_a_program_of_http1() {
    let bench = Bench::start().await;
    let (listener, port) = listener().await;
    let io = TokioIo::new(bench.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let (pieces, body) = mpsc::channel(4);
    let request = Request::post(format!("http://{port}-box.localhost/up?x=1"))
        .header("x-daytona-preview-token", TOKEN)
        .header("te", "trailers")
        .body(Body::new(Pieces(body)))
        .unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    let piece = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    pieces.send(piece("first")).await.unwrap();
    let (mut program, _) = within(listener.accept()).await.unwrap();
    // The first piece is there before the second was said, and the answer begins before the body ends.
    let seen = read_until(&mut program, "first").await;
    assert!(seen.starts_with("POST /up?x=1 HTTP/1.1\r\n"), "{seen}");
    let host = format!("x-forwarded-host: {port}-box.localhost\r\n");
    assert!(seen.to_lowercase().contains(&host), "{seen}");
    program
        .write_all(&TRAILED.as_bytes()[..TRAILED.find("0\r\n").unwrap()])
        .await
        .unwrap();
    let answer = within(answer).await.unwrap().unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, Version::HTTP_2)
    );
    let mut answer = answer.into_body();
    assert_eq!(frame(&mut answer).await.into_data().unwrap(), "body");
    pieces.send(piece("second")).await.unwrap();
    read_until(&mut program, "second").await;
    drop(pieces);
    read_until(&mut program, "0\r\n\r\n").await;
    program.write_all(b"0\r\nx-sum: 7\r\n\r\n").await.unwrap();
    let trailers: HeaderMap = frame(&mut answer).await.into_trailers().unwrap();
    assert_eq!(trailers["x-sum"], "7");
    assert!(answer.is_end_stream());
}

#[tokio::test]
async fn a_body_is_sent_once_leave_is_given_and_never_where_the_visitor_is_refused() {
    let bench = Bench::start().await;
    let port = program().await;
    let ask = async |token: &str| -> TcpStream {
        let mut client = bench.connect().await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {port}-box.localhost\r\nX-Daytona-Preview-Token: {token}\r\n\
             Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client
    };
    let mut refused = ask("guess").await;
    let answer = read_until(&mut refused, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let mut client = ask(TOKEN).await;
    let answer = read_until(&mut client, "\r\n\r\n").await;
    if answer.starts_with("HTTP/1.1 100 ") {
        client.write_all(b"body").await.unwrap();
        let answer = read_until(&mut client, "POST /\n").await;
        assert!(!answer.contains("expect="), "{answer}");
    } else {
        // This program answers without reading.
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn a_visit_counts_as_activity_unless_the_visitor_asks_not_to() {
    let bench = Bench::start().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    let activity = || bench.gate.activity.load(Ordering::SeqCst);
    let skip = "X-Daytona-Skip-Last-Activity-Update: true";
    let answer = get(&bench, &host, "/", &[&token_line(), skip]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("skip-last-activity"), "{answer}");
    assert_eq!(activity(), 0);
    get(&bench, &host, "/", &[]).await;
    assert_eq!(activity(), 0, "who is refused keeps nothing awake");
    get(&bench, &host, "/", &[&token_line()]).await;
    assert_eq!(activity(), 1);
}

#[tokio::test]
async fn a_program_is_told_how_a_client_came_by_whom_the_operator_trusts() {
    let port = program().await;
    let host = format!("{port}-box.localhost");
    let token = token_line();
    let head = [
        &token[..],
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Proto: https",
    ];
    for (trusted, chain, scheme) in [
        ("10.0.0.0/8", "127.0.0.1", "http"),
        ("127.0.0.0/8", "1.2.3.4, 127.0.0.1", "https"),
    ] {
        let bench = Bench::with_previews(Previews {
            trusted_proxies: vec![trusted.parse().unwrap()],
            ..Previews::default()
        })
        .await;
        let answer = get(&bench, &host, "/", &head).await;
        for line in [
            format!("x-forwarded-for={chain}\n"),
            format!("x-forwarded-proto={scheme}\n"),
        ] {
            assert!(answer.contains(&line), "{line} in {answer}");
        }
    }
}
