//! Who is not let in, and what that one is told.

use std::os::unix::fs::PermissionsExt as _;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn a_wrong_token_is_refused_in_words_and_no_token_is_in_the_log() {
    let (server, access) = start().await;
    assert_eq!(said(access.ssh(["echo in"])).await, "in\n");
    let wrong = Access {
        folder: tempfile::tempdir().unwrap(),
        token: "a".repeat(32),
        port: access.port,
    };
    let refused = output(wrong.ssh(["echo in"])).await;
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    assert_eq!(refused.stdout, b"");
    assert!(
        text(&refused.stderr).contains("this token is not known"),
        "{refused:?}"
    );
    // What has no token's form is asked for a password, which nobody gives here.
    let nobody = Access {
        token: "daytona".to_owned(),
        ..wrong
    };
    let refused = output(nobody.ssh(["echo in"])).await;
    assert!(
        text(&refused.stderr).contains("Permission denied"),
        "{refused:?}"
    );

    let newer = grant(&server, "").await;
    let replaced = output(access.ssh(["echo in"])).await;
    let told = text(&replaced.stderr);
    assert!(
        told.contains("a newer token of the sandbox has replaced this one"),
        "{told}"
    );
    assert_eq!(said(newer.ssh(["echo in"])).await, "in\n");
    let log = server.log();
    assert!(log.contains("an SSH session of sandbox"), "the control");
    for token in [&access.token, &newer.token] {
        assert!(!log.contains(token.as_str()), "the log has a token");
    }
}

#[tokio::test]
async fn a_token_is_good_as_a_password_too() {
    let (_server, access) = start().await;
    let answer = access.path("answer");
    std::fs::write(&answer, format!("#!/bin/sh\necho {}\n", access.token)).unwrap();
    std::fs::set_permissions(&answer, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut plain = Command::new("ssh");
    let options = access.options();
    let options = options
        .iter()
        .map(|option| option.replace("BatchMode=yes", "BatchMode=no"));
    plain
        .args(options)
        .args([
            "-o",
            "NumberOfPasswordPrompts=1",
            "anybody@127.0.0.1",
            "echo in",
        ])
        .env("SSH_ASKPASS", &answer)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    assert_eq!(said(plain).await, "in\n");
}

#[tokio::test]
async fn too_many_that_have_not_logged_in_are_turned_away_in_words() {
    let (_server, access) = start().await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(("127.0.0.1", access.port))
            .await
            .unwrap();
        // It is counted once it is greeted.
        let mut greeting = [0; 8];
        within("a greeting", IN_TIME, stream.read_exact(&mut greeting))
            .await
            .unwrap();
        assert_eq!(&greeting, b"SSH-2.0-");
        silent.push(stream);
    }
    let refused = output(access.ssh(["echo in"])).await;
    let told = text(&refused.stderr);
    assert!(
        told.contains("too many SSH connections from your address"),
        "{told}"
    );
    silent.pop();
    alcove_e2e::wait::until("room for another", async || {
        let tried = output(access.ssh(["echo in"])).await;
        if tried.stdout == b"in\n" {
            Ok(())
        } else {
            Err(text(&tried.stderr))
        }
    })
    .await;
}
