//! A runner that sends more than belongs to what it was asked is cut off, and the server says why.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::convert::Infallible;
use std::time::Duration;

use alcove_control::RunnerClient as _;
use alcove_domain::SandboxId;
use alcove_runner_api::{Fetch, Generation, Goal, Order, OrderError};
use alcove_runner_link::{CutOff, RemoteRunner};
use alcove_testkit::within;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A host that answers whatever it is asked with these bytes, and then with spaces without end.
async fn hostile(first: &'static [u8]) -> RemoteRunner {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let service = service_fn(move |_: Request<Incoming>| async move {
            let first = stream::iter([Bytes::from_static(first)]);
            let spaces = stream::repeat(Bytes::from_static(&[b' '; 16 << 10]));
            let body = first.chain(spaces);
            let body = body.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            Ok::<_, Infallible>(Response::new(StreamBody::new(body)))
        });
        let connection = http2::Builder::new(TokioExecutor::new());
        let _ = connection
            .serve_connection(TokioIo::new(far), service)
            .await;
    });
    within("a link", RemoteRunner::over(near)).await.unwrap()
}

async fn assert_cut(remote: &RemoteRunner, what: &str, limit: usize) {
    within("the end of the link", remote.ended()).await;
    match remote.cut_off() {
        Some(CutOff::TooMuch {
            what: found,
            limit: at,
        }) => {
            assert_eq!((found, at), (what, limit));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_at_what_fits_its_kind() {
    let remote = hostile(b"{").await;
    let status = within("an answer", remote.host_status()).await;
    assert_eq!(status.err(), Some(OrderError::Unavailable));
    assert_cut(&remote, "how the host is", 64 << 10).await;
    // Nothing is asked of it any more.
    let images = within("a refusal", remote.images()).await;
    assert_eq!(images.err(), Some(OrderError::Unavailable));

    let remote = hostile(b"{").await;
    let order = Order {
        sandbox: SandboxId::from_uuid(uuid::Uuid::from_u128(1)),
        generation: Generation(1),
        goal: Goal::Stopped {
            grace: Duration::ZERO,
        },
    };
    let report = within("an answer", remote.apply(order)).await;
    assert_eq!(report.err(), Some(OrderError::Unavailable));
    assert_cut(&remote, "the answer to an order", 1 << 20).await;
}

#[tokio::test]
async fn a_message_that_says_it_is_larger_than_its_kind_is_not_waited_for() {
    // 16 MiB and more are said to follow.
    let remote = hostile(b"\x01\x00\x00\x00\x00").await;
    let mut reports = remote.reports();
    assert!(within("the end", reports.next()).await.is_none());
    assert_cut(&remote, "a report", 1 << 20).await;
}

#[tokio::test]
async fn what_is_no_message_at_all_ends_the_link_too() {
    // One byte long, of a kind that there is not.
    let remote = hostile(b"\x00\x00\x00\x01\x09").await;
    let order = Fetch {
        url: "http://host.example/".to_owned(),
        max_bytes: 1 << 20,
        within: Duration::from_secs(10),
    };
    assert!(within("an answer", remote.fetch(order)).await.is_err());
    within("the end of the link", remote.ended()).await;
    assert!(matches!(remote.cut_off(), Some(CutOff::NoMessage { .. })));
}

#[tokio::test]
async fn a_link_that_ends_by_itself_was_not_cut_off() {
    let (near, far) = tokio::io::duplex(64 << 10);
    let remote = RemoteRunner::over(near).await;
    drop(far);
    if let Ok(remote) = remote {
        within("the end of the link", remote.ended()).await;
        assert_eq!(remote.cut_off(), None);
    }
}
