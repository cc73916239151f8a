#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use alcove_domain::NewSandbox;
use alcove_testkit::TestControl;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_encoding::Decode as _;
use russh::{Channel, client::ChannelOpenHandle};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::{Gateway, HostKey, Limits};

/// Far more than anything here takes.
const IN_TIME: Duration = Duration::from_mins(1);

#[test]
fn only_the_loopback_is_reached() {
    for host in ["localhost", "127.0.0.1", "::1", "LOCALHOST", ""] {
        assert_eq!(on_loopback(host, 80).map(Port::get), Some(80), "{host}");
    }
    for (host, port) in [
        ("10.0.0.1", 80),
        ("example.com", 80),
        ("127.0.0.2", 80),
        ("localhost", 0),
        ("localhost", 65_536),
    ] {
        assert_eq!(on_loopback(host, port), None, "{host}:{port}");
    }
}

#[test]
fn ports_of_the_system_are_not_listened_on() {
    for (port, may) in [
        (0, true),
        (1, false),
        (1023, false),
        (1024, true),
        (65_535, true),
        (65_536, false),
    ] {
        assert_eq!(may_listen(port), may, "{port}");
    }
}

#[tokio::test]
async fn a_channel_that_was_closed_before_its_task_came_is_given_to_it_closed_and_counts_no_more() {
    let (inboxes, held) = (Inboxes::default(), Arc::default());
    let id = ChannelId::decode(&mut [0, 0, 0, 7].as_slice()).unwrap();
    let asked = inboxes.ask(1).unwrap();
    assert!(inboxes.ask(1).is_none());
    inboxes.confirm(id, &held);
    inboxes.get(id).unwrap().push(b"x").unwrap();
    inboxes.close(id);
    let inbox = inboxes.open(id, &held);
    drop(asked);
    timeout(IN_TIME, inbox.closed()).await.unwrap();
    assert_eq!(inboxes.count(), 0);
    // The task may come first as well.
    let inbox = inboxes.open(id, &held);
    inboxes.confirm(id, &held);
    assert_eq!(inboxes.count(), 1);
    inboxes.close(id);
    timeout(IN_TIME, inbox.closed()).await.unwrap();
    assert_eq!(inboxes.count(), 0);
}

/// A client that takes every channel and wants none.
struct Fickle;

impl client::Handler for Fickle {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        // Both go out in one packet of the network: the confirmation is queued before all else.
        reply.accept().await;
        channel.close().await
    }
}

#[tokio::test]
async fn a_client_that_closes_a_forwarded_channel_with_its_confirmation_leaves_nothing_open() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        name: Some("box".to_owned()),
        ..NewSandbox::default()
    };
    kit.control
        .create_sandbox(&kit.caller, request)
        .await
        .unwrap();
    let granted = kit.control.create_ssh_access(&kit.caller, "box", None);
    let token = granted.await.unwrap().token;
    let folder = tempfile::tempdir().unwrap();
    let key = HostKey::ensure(&folder.path().join("key")).unwrap();
    let gateway = Gateway::new(kit.control.clone(), &key, Limits::default());
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let address = SocketAddr::from(([192, 0, 2, 1], 1234));
    gateway.take(theirs, address, &CancellationToken::new());
    let config = Arc::new(client::Config::default());
    let mut session = client::connect_stream(config, ours, Fickle).await.unwrap();
    let login = session.authenticate_password("alcove", token).await;
    assert!(login.unwrap().success());
    let port = session.tcpip_forward("localhost", 0).await.unwrap();
    let port = u16::try_from(port).unwrap();
    for _ in 0..3 {
        let mut peer = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let read = timeout(IN_TIME, peer.read(&mut [0])).await;
        let read = read.expect("the connection in the sandbox stays open");
        assert_eq!(read.unwrap_or_default(), 0);
    }
    assert!(!session.is_closed(), "the control");
}
