//! What goes over a link comes out as it went in.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{AgentConnection, DialError, RunnerClient};
use alcove_domain::{Port, SandboxId};
use alcove_runner_api::{
    DiskOrigin, Fetch, FetchError, Generation, Goal, ImageDigest, NetworkSpec, Observed, Order,
    OrderError, Pull, PullFaultCode, PullState, Resources, SandboxSpec, WarmKind, WarmWish,
};
use alcove_runner_link::RemoteRunner;
use alcove_testkit::{FakeRunner, within};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

struct Link {
    host: FakeRunner,
    remote: RemoteRunner,
    serving: JoinHandle<()>,
}

async fn link() -> Link {
    let host = FakeRunner::default();
    let (near, far) = tokio::io::duplex(64 << 10);
    let served: Arc<dyn RunnerClient> = Arc::new(host.clone());
    let serving = tokio::spawn(async move {
        let _ = alcove_runner_link::serve(far, served).await;
    });
    let remote = within("a link", RemoteRunner::over(near)).await.unwrap();
    Link {
        host,
        remote,
        serving,
    }
}

fn id(number: u128) -> SandboxId {
    SandboxId::from_uuid(uuid::Uuid::from_u128(number))
}

fn running(number: u128, generation: u64) -> Order {
    let spec = SandboxSpec {
        image: ImageDigest("sha256:default".to_owned()),
        resources: Resources {
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
            disk_bytes: 3 << 30,
            pids: 100,
        },
        user: "daytona".to_owned(),
        env: [("WORDS".to_owned(), "ä\n\"\\".to_owned())].into(),
        disk: DiskOrigin::New,
        entrypoint: vec!["sh".to_owned()],
        volumes: Vec::new(),
        network: NetworkSpec::default(),
    };
    Order {
        sandbox: id(number),
        generation: Generation(generation),
        goal: Goal::Running(spec),
    }
}

fn pull(name: &str) -> Pull {
    Pull {
        name: name.to_owned(),
        reference: "registry.example/a:1".to_owned(),
        owner: "org".to_owned(),
        credentials: None,
        is_plain: false,
        max_bytes: 1 << 30,
    }
}

#[tokio::test]
async fn an_order_reaches_the_runner_as_it_was_given_and_its_answer_comes_back() {
    let link = link().await;
    let order = running(1, 7);
    let report = within("an answer", link.remote.apply(order.clone())).await;
    let report = report.unwrap();
    assert_eq!(report.generation, Generation(7));
    assert!(matches!(report.observed, Observed::Running { .. }));
    assert_eq!(link.host.orders(), [order]);
    assert_eq!(link.remote.inventory().await.unwrap(), [report]);
}

#[tokio::test]
async fn a_refusal_comes_back_with_what_it_says() {
    let link = link().await;
    link.remote.apply(running(1, 7)).await.unwrap();
    let refused = link.remote.apply(running(1, 3)).await;
    let current = Generation(7);
    assert_eq!(refused, Err(OrderError::Stale { current }));
}

#[tokio::test]
async fn what_a_runner_says_of_itself_is_the_same_on_both_sides() {
    let link = link().await;
    let (near, far) = (&link.remote, &link.host);
    assert_eq!(near.images().await, far.images().await);
    assert_eq!(near.host_status().await, far.host_status().await);
    assert_eq!(near.samples().await, far.samples().await);
    let kind = WarmKind {
        pool: "pool".to_owned(),
        image: ImageDigest("sha256:default".to_owned()),
        resources: Resources {
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
            disk_bytes: 3 << 30,
            pids: 100,
        },
    };
    let wish = WarmWish {
        kind: kind.clone(),
        size: 1,
    };
    near.keep_warm(vec![wish]).await.unwrap();
    assert_eq!(near.warm_states().await, far.warm_states().await);
    let member = near.take_warm(&[kind]).await.unwrap();
    assert!(member.is_some());
}

#[tokio::test]
async fn orders_do_not_wait_for_each_other() {
    let link = link().await;
    link.host.hold_work();
    let slow = tokio::spawn({
        let remote = link.remote.clone();
        async move { remote.apply(running(1, 1)).await }
    });
    within("another answer", link.remote.images())
        .await
        .unwrap();
    assert!(!slow.is_finished());
    link.host.resume_work();
    within("the slow answer", slow).await.unwrap().unwrap();
}

#[tokio::test]
async fn reports_come_from_the_moment_that_the_stream_is_open() {
    let link = link().await;
    link.remote.apply(running(1, 1)).await.unwrap();
    let mut reports = link.remote.reports();
    let told = tokio::spawn(async move { reports.next().await });
    // The stream is opened when it is first asked.
    alcove_testkit::eventually("a report arrives", async || {
        link.host
            .set_observed(&id(1), Observed::Stopped { fault: None });
        link.host
            .say_of(&id(1), 1, Observed::Stopped { fault: None });
        told.is_finished()
    })
    .await;
    let report = told.await.unwrap().unwrap();
    assert_eq!(report.sandbox, id(1));
    assert_eq!(report.observed, Observed::Stopped { fault: None });
}

#[tokio::test]
async fn a_pull_is_followed_to_its_end_whichever_that_is() {
    let link = link().await;
    let states = link.remote.pull(pull("good")).await.unwrap();
    let states: Vec<PullState> = within("the end of a pull", states.collect()).await;
    assert!(matches!(states.last(), Some(PullState::Done { image }) if image.name == "good"));
    assert!(link.host.has_image("good"));
    link.host.fail_next_pull(PullFaultCode::NotFound);
    let states = link.remote.pull(pull("bad")).await.unwrap();
    let states: Vec<PullState> = within("the end of a pull", states.collect()).await;
    assert!(
        matches!(states.last(), Some(PullState::Failed { fault }) if fault.code == PullFaultCode::NotFound)
    );
}

fn fetch(url: &str) -> Fetch {
    Fetch {
        url: url.to_owned(),
        max_bytes: 1 << 20,
        within: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn a_file_from_outside_comes_in_pieces_and_tells_where_it_broke_off() {
    let link = link().await;
    link.host
        .put_outside("http://a/whole", &["one", "two"], None);
    link.host
        .put_outside("http://a/broken", &["one"], Some("gone"));
    let pieces = link.remote.fetch(fetch("http://a/whole")).await.unwrap();
    let pieces: Vec<_> = within("a file", pieces.collect()).await;
    assert_eq!(pieces, [Ok(b"one".to_vec()), Ok(b"two".to_vec())]);
    let pieces = link.remote.fetch(fetch("http://a/broken")).await.unwrap();
    let pieces: Vec<_> = within("a file", pieces.collect()).await;
    assert_eq!(pieces[0], Ok(b"one".to_vec()));
    assert!(matches!(&pieces[1], Err(FetchError::Broken { reason, .. }) if reason == "gone"));
    let missing = link.remote.fetch(fetch("http://a/none")).await;
    assert!(missing.is_err());
}

#[tokio::test]
async fn a_connection_into_a_sandbox_carries_bytes_both_ways_and_its_ends() {
    let link = link().await;
    link.remote.apply(running(1, 1)).await.unwrap();
    link.host.on_dial(|_| {
        let (near, far) = tokio::io::duplex(1 << 10);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(far);
            // Says back what it hears, and ends when that ends.
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
        Ok(AgentConnection {
            stream: Box::new(near),
            token: "secret".to_owned(),
        })
    });
    let AgentConnection { mut stream, token } = link.remote.dial_agent(&id(1)).await.unwrap();
    assert_eq!(token, "secret");
    // More than any buffer or window on the way.
    let sent: Vec<u8> = (0..4_000_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let reading = read.read_to_end(&mut heard);
    let ((), read) = within("all bytes", async { tokio::join!(writing, reading) }).await;
    read.unwrap();
    assert!(heard == sent);
}

#[tokio::test]
async fn a_connection_that_cannot_be_had_says_why() {
    let link = link().await;
    link.remote.apply(running(1, 1)).await.unwrap();
    for error in [
        DialError::NotRunning,
        DialError::NobodyListens,
        DialError::PortTaken,
        DialError::Unavailable,
    ] {
        link.host.on_dial(move |_| Err(error));
        assert_eq!(link.remote.dial_agent(&id(1)).await.err(), Some(error));
    }
}

#[tokio::test]
async fn what_listens_in_a_sandbox_is_given_each_connection() {
    let link = link().await;
    link.remote.apply(running(1, 1)).await.unwrap();
    let listening = link.remote.listen_port(&id(1), None).await;
    let (mut listener, port) = listening.unwrap();
    for word in ["one", "two"] {
        let mut visitor = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        let (mut stream, peer) = within("a connection", listener.accept()).await.unwrap();
        assert_eq!(peer, visitor.local_addr().unwrap());
        visitor.write_all(word.as_bytes()).await.unwrap();
        visitor.shutdown().await.unwrap();
        let mut heard = String::new();
        within("its bytes", stream.read_to_string(&mut heard))
            .await
            .unwrap();
        assert_eq!(heard, word);
    }
    let taken = link.remote.listen_port(&id(1), Port::new(port)).await;
    assert!(taken.is_err());
    drop(listener);
    alcove_testkit::eventually("the port is free again", async || {
        link.remote
            .listen_port(&id(1), Port::new(port))
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_link_that_ends_takes_what_waits_on_it_along() {
    let link = link().await;
    link.host.hold_work();
    let mut reports = link.remote.reports();
    let waiting = tokio::spawn({
        let remote = link.remote.clone();
        async move { remote.apply(running(1, 1)).await }
    });
    alcove_testkit::eventually("the order is there", async || {
        !link.host.orders().is_empty()
    })
    .await;
    link.serving.abort();
    within("the end of the link", link.remote.ended()).await;
    let outcome = within("the end of the order", waiting).await.unwrap();
    assert_eq!(outcome, Err(OrderError::Unavailable));
    assert!(
        within("the end of the stream", reports.next())
            .await
            .is_none()
    );
    assert_eq!(link.remote.images().await, Err(OrderError::Unavailable));
    let dialled = link.remote.dial_agent(&id(1)).await;
    assert_eq!(dialled.err(), Some(DialError::Unavailable));
}

#[tokio::test]
async fn what_is_no_link_is_told_from_one() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    tokio::spawn(async move { far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await });
    let remote = within("the end of it", async {
        match RemoteRunner::over(near).await {
            Ok(remote) => remote.images().await.is_err(),
            Err(_) => true,
        }
    });
    assert!(remote.await);
}
