//! Vercel sandboxes that begin with a repository, cloned by their own agent from a machine of the outside.

use std::fs;
use std::path::Path;
use std::process::Command;

use alcove_e2e::server::{Answer, TestServer};
use alcove_e2e::wait;
use alcove_e2e::web::{Place, Web};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{run, state};

/// Of a network for documents, which no sandbox is kept from.
const THERE: &str = "198.51.100.82";

const PLACE: Place = Place {
    name: "alcove-src",
    interface: "alcv-src0",
    here: "198.51.100.81",
    there: THERE,
};

/// A machine of the outside that serves `a.git`: a `README` that says "first" in the first of two
/// commits and "second" in the other.
struct Forge {
    _web: Web,
    /// The first commit.
    first: String,
    _folder: tempfile::TempDir,
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git")
        .args(["-c", "user.name=forge", "-c", "user.email=forge@example"])
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "git {arguments:?}: {said}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

impl Forge {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        git(root, &["init", "-q", "-b", "main", "seed"]);
        let seed = root.join("seed");
        for text in ["first", "second"] {
            fs::write(seed.join("README"), text).unwrap();
            git(&seed, &["add", "."]);
            git(&seed, &["commit", "-q", "-m", text]);
        }
        let first = git(&seed, &["rev-parse", "HEAD~1"]);
        git(root, &["clone", "-q", "--bare", "seed", "a.git"]);
        let script = root.join("web/cgi-bin/git");
        fs::create_dir_all(script.parent().unwrap()).unwrap();
        let text = format!(
            "#!/bin/sh\nexport GIT_PROJECT_ROOT={} GIT_HTTP_EXPORT_ALL=1\nexec git http-backend\n",
            root.display()
        );
        fs::write(&script, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&script, mode).unwrap();

        Self {
            _web: Web::start(PLACE, &root.join("web")).await,
            first,
            _folder: folder,
        }
    }
}

fn begins_with(name: &str, more: Value) -> String {
    let mut source = json!({"type": "git", "url": format!("http://{THERE}/cgi-bin/git/a.git")});
    let (Value::Object(all), Value::Object(more)) = (&mut source, more) else {
        panic!("no objects");
    };
    all.extend(more);
    json!({"projectId": "sources", "name": name, "ports": [], "source": source}).to_string()
}

async fn begin(server: &TestServer, name: &str, more: Value) -> Answer {
    let raw = server.raw();
    let body = begins_with(name, more);
    raw.ask("POST", "/api/v3/sandboxes", body).await
}

#[tokio::test]
async fn a_sandbox_that_begins_with_a_repository_has_it_when_it_is_said_to_run() {
    let forge = Forge::start().await;
    let server = TestServer::start().await;
    let client = server.client();
    let cases = [
        ("newest", json!({}), "second"),
        ("shallow", json!({"depth": 1}), "second"),
        ("older", json!({"revision": forge.first}), "first"),
        ("branch", json!({"revision": "main"}), "second"),
    ];
    for (name, source, said) in cases {
        let made = begin(&server, name, source).await;
        assert!(made.status.is_success(), "{name}: {made:?}");
        assert_eq!(made.json()["session"]["status"], "running", "{name}");
        assert_eq!(run(&client, name, "cat a/README").await, said, "{name}");
    }
    let mark = "test -e a/.git/shallow && echo shallow || echo whole";
    assert_eq!(run(&client, "shallow", mark).await, "shallow\n");
    assert_eq!(run(&client, "newest", mark).await, "whole\n");
    server.finish().await;
}

#[tokio::test]
async fn a_repository_that_cannot_be_had_leaves_no_sandbox() {
    let _forge = Forge::start().await;
    let server = TestServer::start().await;
    let missing = json!({"url": format!("http://{THERE}/cgi-bin/git/b.git")});
    let unknown = json!({"revision": "no-such-branch"});
    for (name, source) in [("missing", missing), ("unknown", unknown)] {
        let refused = begin(&server, name, source).await;
        assert!(refused.status.is_client_error(), "{name}: {refused:?}");
        let path = format!("/api/v2/sandboxes/{name}?projectId=sources");
        let left = server.raw().ask("GET", &path, "").await;
        assert_eq!(left.status, StatusCode::NOT_FOUND, "{name}: {left:?}");
        assert_eq!(state(&server.client(), name).await, None, "{name}");
    }
    server.nothing_left().await;
    // The name is free again.
    let made = begin(&server, "missing", json!({})).await;
    assert!(made.status.is_success(), "{made:?}");
    server.finish().await;
}

/// Where a create comes by from the first write to its answer.
const PLACES: [&str; 8] = [
    "control:WishWritten",
    "control:OrderReady",
    "runner:Spawn",
    "runner:RecordRunning",
    "control:AnswerHeard",
    "control:OutcomeWritten",
    "control:BeginsEmpty",
    "control:BeginsWhole",
];

#[tokio::test]
async fn a_create_with_a_repository_that_a_kill_cuts_short_anywhere_leaves_nothing_and_goes_through_the_next_time()
 {
    let _forge = Forge::start().await;
    let mut server = TestServer::start().await;
    let path = "/api/v2/sandboxes/box?projectId=sources";
    for place in PLACES {
        server.doom(place).await;
        let body = begins_with("box", json!({}));
        let raw = server.raw();
        let (_, ()) = tokio::join!(
            raw.ask_if_alive("POST", "/api/v3/sandboxes", body),
            server.dies_and_restarts()
        );
        // What was never answered is nobody's, from the first moment on.
        let left = server.raw().ask("GET", path, "").await;
        assert_eq!(left.status, StatusCode::NOT_FOUND, "{place}: {left:?}");
        server.nothing_left().await;
        let made = begin(&server, "box", json!({})).await;
        assert!(made.status.is_success(), "{place}: {made:?}");
        assert_eq!(run(&server.client(), "box", "cat a/README").await, "second");
        // What was answered stays.
        server.kill_and_restart().await;
        assert_eq!(run(&server.client(), "box", "cat a/README").await, "second");
        // What is open comes first when another server takes over, and would be what a doomed one dies of.
        let client = server.client();
        let id = client.get("box").await.unwrap().id;
        client.delete(&id).await.unwrap();
        wait::until("the sandbox goes", async || {
            match state(&client, &id).await {
                None => Ok(()),
                state => Err(state),
            }
        })
        .await;
        server.nothing_left().await;
    }
    server.finish().await;
}
