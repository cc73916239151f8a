//! Vercel sandboxes that begin with a repository, cloned by their own agent from a machine of the outside.

use std::fs;
use std::path::Path;
use std::process::Command;

use alcove_e2e::server::{Answer, TestServer};
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

async fn begin(server: &TestServer, name: &str, more: Value) -> Answer {
    let mut source = json!({"type": "git", "url": format!("http://{THERE}/cgi-bin/git/a.git")});
    let (Value::Object(all), Value::Object(more)) = (&mut source, more) else {
        panic!("no objects");
    };
    all.extend(more);
    let body = json!({"projectId": "sources", "name": name, "ports": [], "source": source});
    let raw = server.raw();
    raw.ask("POST", "/api/v3/sandboxes", body.to_string()).await
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
