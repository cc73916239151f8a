//! Users' own keys.

use serde_json::json;

use super::ends::{open, reason};
use super::*;

/// A way in by a key of this name in the folder, to a sandbox that is called so.
impl Access {
    fn by_key(&self, key: &str, sandbox: &str) -> Command {
        let mut command = Command::new("ssh");
        let options = self.options();
        let identity = format!("IdentityFile={}", self.path(key).display());
        let options = options.iter().map(|option| match option.as_str() {
            "IdentityFile=/dev/null" => identity.as_str(),
            other => other,
        });
        command
            .args(options)
            .arg(format!("{sandbox}@127.0.0.1"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// Makes a key of this kind, and gives its public half.
async fn make_key(access: &Access, name: &str, kind: &[&str]) -> String {
    let mut make = Command::new("ssh-keygen");
    make.args(["-q", "-N", "", "-C", "me@box", "-f"])
        .arg(access.path(name))
        .args(kind);
    said(make).await;
    std::fs::read_to_string(access.path(&format!("{name}.pub"))).unwrap()
}

async fn let_in(server: &TestServer, line: &str) -> serde_json::Value {
    let body = json!({ "publicKey": line }).to_string();
    let answer = server.raw().ask("POST", "/api/ssh-keys", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer.json()
}

#[tokio::test]
async fn keys_of_all_kinds_log_in_and_show_the_fingerprint_of_openssh() {
    let (server, access) = start().await;
    for (name, kind) in [
        ("ed25519", vec!["-t", "ed25519"]),
        ("p256", vec!["-t", "ecdsa", "-b", "256"]),
        ("p384", vec!["-t", "ecdsa", "-b", "384"]),
        ("p521", vec!["-t", "ecdsa", "-b", "521"]),
    ] {
        let line = make_key(&access, name, &kind).await;
        let mut before = access.by_key(name, "box");
        before.arg("echo in");
        let before = output(before).await;
        assert!(
            text(&before.stderr).contains("Permission denied"),
            "{before:?}"
        );
        let key = let_in(&server, &line).await;
        let mut after = access.by_key(name, "box");
        after.arg("echo in");
        assert_eq!(said(after).await, "in\n", "{name}");
        let mut show = Command::new("ssh-keygen");
        show.arg("-lf").arg(access.path(name));
        let shown = said(show).await;
        assert!(
            shown.contains(key["fingerprint"].as_str().unwrap()),
            "{shown}"
        );
    }
    let mut rsa = Command::new("ssh-keygen");
    rsa.args(["-q", "-N", "", "-t", "rsa", "-b", "2048", "-f"])
        .arg(access.path("rsa"));
    said(rsa).await;
    let line = std::fs::read_to_string(access.path("rsa.pub")).unwrap();
    let body = json!({ "publicKey": line }).to_string();
    let refused = server.raw().ask("POST", "/api/ssh-keys", body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_key_that_is_removed_ends_its_sessions_and_a_sandbox_that_is_not_there_is_told_of_like_a_key()
 {
    let (server, access) = start().await;
    let line = make_key(&access, "known", &["-t", "ed25519"]).await;
    make_key(&access, "unknown", &["-t", "ed25519"]).await;
    let key = let_in(&server, &line).await;

    // The host is new to the client once, and it says so.
    let mut first = access.by_key("known", "box");
    first.arg("true");
    said(first).await;
    // All a client can tell apart is whether it got in.
    let told = async |key: &str, sandbox: &str| {
        let mut command = access.by_key(key, sandbox);
        command.arg("true");
        let refused = output(command).await;
        assert_eq!(refused.status.code(), Some(255), "{refused:?}");
        text(&refused.stderr).replace(sandbox, "SANDBOX")
    };
    let unknown_key = told("unknown", "box").await;
    assert!(unknown_key.contains("Permission denied"), "{unknown_key}");
    assert_eq!(told("known", "no-such-box").await, unknown_key);
    assert_eq!(told("unknown", "no-such-box").await, unknown_key);

    let by_key = open(access.by_key("known", "box")).await;
    let by_token = open(access.ssh::<&str>([])).await;
    let path = format!("/api/ssh-keys/{}", key["id"].as_str().unwrap());
    let removed = server.raw().ask("DELETE", &path, "").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let told_at_end = reason(by_key).await;
    assert!(
        told_at_end.contains("the key of this session has been removed"),
        "{told_at_end}"
    );
    assert_eq!(told("known", "box").await, unknown_key);
    drop(by_token);

    let_in(&server, &line).await;
    server.client().stop("box", false).await.unwrap();
    let stopped = told("known", "box").await;
    assert!(stopped.contains("its state is stopped"), "{stopped}");
    assert_eq!(told("unknown", "box").await, unknown_key);
}
