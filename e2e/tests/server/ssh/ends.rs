//! What ends a session that is open.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use alcove_e2e::server::Port;

use super::*;

/// A session that would last for ever, of a program that says who comes and where to.
pub async fn open(mut login: Command) -> Child {
    let mut child = login
        .arg("echo ready; cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let line = within("a session", IN_TIME, lines.next_line()).await;
    assert_eq!(line.unwrap().as_deref(), Some("ready"));
    child
}

/// Why the client says that it ended. Its input stays open.
pub async fn reason(mut child: Child) -> String {
    let _stdin = child.stdin.take();
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    text(&output.stderr)
}

#[tokio::test]
async fn a_revocation_a_stop_and_the_tokens_time_end_a_session_with_their_reason() {
    let (server, first) = start().await;
    let raw = server.raw();
    let of_first = open(first.ssh::<&str>([])).await;
    let second = grant(&server, "").await;
    let mut of_second = open(second.ssh::<&str>([])).await;
    let path = format!("/api/sandbox/box/ssh-access?token={}", first.token);
    assert_eq!(raw.ask("DELETE", &path, "").await.status, StatusCode::OK);
    let told = reason(of_first).await;
    assert!(
        told.contains("token of this session has been revoked"),
        "{told}"
    );
    // The other one goes on.
    let stdin = of_second.stdin.as_mut().unwrap();
    stdin.write_all(b"still\n").await.unwrap();
    let mut lines = BufReader::new(of_second.stdout.as_mut().unwrap()).lines();
    let line = within("an echo", IN_TIME, lines.next_line()).await;
    assert_eq!(line.unwrap().as_deref(), Some("still"));

    server.client().stop("box", false).await.unwrap();
    let told = reason(of_second).await;
    assert!(told.contains("the sandbox does not run any more"), "{told}");
    let refused = output(second.ssh(["true"])).await;
    assert!(
        text(&refused.stderr).contains("the sandbox is not started: its state is stopped"),
        "{refused:?}"
    );
    server.client().start("box").await.unwrap();

    let short = grant(&server, "?expiresInMinutes=0.1").await;
    let told = reason(open(short.ssh::<&str>([])).await).await;
    assert!(told.contains("token of this session has expired"), "{told}");
    let refused = output(short.ssh(["true"])).await;
    assert!(
        text(&refused.stderr).contains("this token has expired"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_servers_end_ends_a_session_and_the_next_server_is_the_same_to_its_clients() {
    let (mut server, access) = start().await;
    let session = open(access.ssh::<&str>([])).await;
    server.stop().await;
    let told = reason(session).await;
    assert!(told.contains("the server is shutting down"), "{told}");
    server.restart(Port::New).await;
    // Its key is known, and one that had changed would be refused; the token is good still, only the port is another.
    let raw = server.raw();
    let validate = format!("/api/sandbox/ssh-access/validate?token={}", access.token);
    assert_eq!(raw.ask("GET", &validate, "").await.json()["valid"], true);
    let next = grant(&server, "").await;
    let known = std::fs::read_to_string(access.path("known_hosts")).unwrap();
    let known = known.replace(&access.port.to_string(), &next.port.to_string());
    std::fs::write(next.path("known_hosts"), known).unwrap();
    let strict = next.ssh_with(&["-o", "StrictHostKeyChecking=yes"], &["echo again"]);
    assert_eq!(said(strict).await, "again\n");
}

#[tokio::test]
async fn a_session_with_traffic_counts_as_use_of_its_sandbox() {
    let (server, access) = start().await;
    let client = server.client();
    let last_use = async || client.get("box").await.unwrap().last_activity_at;
    let mut session = open(access.ssh::<&str>([])).await;
    // The login counts, and so does what was said until now, at the next turn of the clock.
    let stdin = session.stdin.as_mut().unwrap();
    for turn in 0..2 {
        let before = last_use().await;
        assert!(before.is_some());
        stdin.write_all(b"more\n").await.unwrap();
        alcove_e2e::wait::until(
            &format!("use {turn} to be noted"),
            async || match last_use().await {
                now if now > before => Ok(()),
                now => Err(format!("{now:?}")),
            },
        )
        .await;
    }
}
