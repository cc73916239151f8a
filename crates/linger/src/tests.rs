use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Interval, interval_at};

use super::*;

/// More than a socket takes before it is read.
const LARGE: usize = 8 << 20;

/// A server that answers at once and never looks at a body, and a client's end of a connection to it.
fn refusing_server(lingers: bool) -> UnixStream {
    let (client, server) = UnixStream::pair().expect("a pair of sockets");
    tokio::spawn(async move {
        let service = service_fn(move |request: hyper::Request<Incoming>| async move {
            let (parts, body) = request.into_parts();
            if lingers {
                drop(Lingering::new(&parts.headers, body));
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"refused"))))
        });
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http.serve_connection(TokioIo::new(server), service).await;
    });
    client
}

/// Sends a whole request before it reads anything, as most clients do.
async fn send_then_read(mut client: UnixStream) -> std::io::Result<String> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(&vec![0; LARGE]).await?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_client_that_sends_everything_first_reads_an_early_answer() {
    let answer = send_then_read(refusing_server(true))
        .await
        .expect("an answer");
    assert!(answer.ends_with("refused"), "{answer}");
}

#[tokio::test]
async fn without_reading_on_that_client_sees_a_broken_connection() {
    // The positive control of the test above.
    let error = send_then_read(refusing_server(false)).await;
    assert!(error.is_err(), "{error:?}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_not_asked_for_what_nobody_wants() {
    let mut client = refusing_server(true);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A client that sends a piece now and then, for ever, and tells when it was given up.
struct Endless {
    dropped: Arc<Notify>,
    pieces: Interval,
}

impl Endless {
    fn every(pause: Duration) -> (Self, Arc<Notify>) {
        let dropped = Arc::new(Notify::new());
        let body = Self {
            dropped: dropped.clone(),
            pieces: interval_at(Instant::now() + pause, pause),
        };
        (body, dropped)
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces
            .poll_tick(context)
            .map(|_| Some(Ok(Frame::data(Bytes::from_static(b"more")))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.dropped.notify_one();
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_and_one_without_an_end_are_given_up() {
    for (pause, given_up_after) in [(SILENT_FOR * 2, SILENT_FOR), (SILENT_FOR / 2, READ_ON_FOR)] {
        let start = Instant::now();
        let (body, dropped) = Endless::every(pause);
        drop(Lingering::new(&HeaderMap::new(), body));
        dropped.notified().await;
        assert_eq!(start.elapsed().as_secs(), given_up_after.as_secs());
    }
}
