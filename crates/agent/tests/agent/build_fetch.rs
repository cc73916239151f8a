//! What a step of a build fetches: files from a web server, work trees from a real `git http-backend`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::git_server::GitServer;
use crate::support::{Answer, TestAgent};

const CONTENT: &str = "what is served";
const DIGEST: &str = "d551018ac3c0e4a24030334648622d04b94384de5bacf96c085e4033513a6661";

/// Serves [`CONTENT`] at `/file?version=1` to who has the password, and nothing else.
async fn web() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let (mut first, mut has_password) = (String::new(), false);
            stream.read_line(&mut first).await.unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                if line.trim().is_empty() {
                    break;
                }
                has_password |= line
                    .to_ascii_lowercase()
                    .starts_with("authorization: basic");
            }
            let is_there = first.starts_with("GET /file?version=1 ") && has_password;
            let status = if is_there { "200 OK" } else { "404 Not Found" };
            let answer = format!(
                "HTTP/1.1 {status}\r\nlast-modified: Sun, 09 Sep 2001 01:46:40 GMT\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{CONTENT}",
                CONTENT.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://me:secret@{address}")
}

async fn fetch(agent: &TestAgent, address: &str, path: &Path, what: &Value) -> Answer {
    let order = json!({ "address": address, "path": path, "what": what });
    agent.post("/build/fetch", &order).await
}

#[tokio::test]
async fn a_file_has_the_time_of_its_server_and_the_content_that_was_asked_for() {
    let agent = TestAgent::start_with(json!({ "build": true })).await;
    let (web, folder) = (web().await, tempfile::tempdir().unwrap());
    let address = format!("{web}/file?version=1");
    let path = folder.path().join("deep/file");
    let what = json!({ "kind": "file", "checksum": DIGEST });
    let answer = fetch(&agent, &address, &path, &what);
    answer.await.expect(204);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), CONTENT);
    let found = path.metadata().unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    let time = found.modified().unwrap();
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(time, Duration::from_secs(1_000_000_000));

    let what = json!({ "kind": "file", "checksum": DIGEST.replace('d', "e") });
    let path = folder.path().join("other");
    let answer = fetch(&agent, &address, &path, &what);
    let answer = answer.await.expect(422);
    assert!(answer.text().contains(DIGEST), "{}", answer.text());
}

#[tokio::test]
async fn what_a_server_does_not_have_is_told_without_the_password() {
    let agent = TestAgent::start_with(json!({ "build": true })).await;
    let (web, folder) = (web().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("none");
    let what = json!({ "kind": "file" });
    let address = format!("{web}/none");
    let answer = fetch(&agent, &address, &path, &what);
    let answer = answer.await.expect(404);
    assert!(answer.text().contains("HTTP 404"), "{}", answer.text());
    assert!(!answer.text().contains("secret"), "{}", answer.text());
    assert!(!path.exists());
    let answer = fetch(&agent, "file:///etc/passwd", &path, &what);
    answer.await.expect(400);
}

#[tokio::test]
async fn a_work_tree_is_that_of_the_branch_the_tag_or_the_commit() {
    let agent = TestAgent::start_with(json!({ "build": true })).await;
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let seed = server.create("a");
    seed.write("which", "first\n");
    let first = seed.commit("first");
    seed.git(&["tag", "v1"]);
    seed.write("which", "second\n");
    seed.commit("second");
    seed.push();
    let url = server.url("open/a");
    let rows = [
        (json!({}), "second\n", false),
        (
            json!({ "branch": "main", "keepsGitDir": true }),
            "second\n",
            true,
        ),
        (json!({ "branch": "v1" }), "first\n", false),
        (json!({ "commit": first }), "first\n", false),
    ];
    for (number, (more, content, has_git)) in rows.into_iter().enumerate() {
        let mut what = json!({ "kind": "repository", "keepsGitDir": false });
        for (key, value) in more.as_object().unwrap() {
            what[key] = value.clone();
        }
        let path = folder.path().join(number.to_string());
        let answer = fetch(&agent, &url, &path, &what);
        answer.await.expect(204);
        let found = std::fs::read_to_string(path.join("which")).unwrap();
        assert_eq!(found, content, "{what}");
        assert_eq!(path.join(".git").exists(), has_git, "{what}");
    }
    let path = folder.path().join("none");
    let what = json!({ "kind": "repository", "branch": "none", "keepsGitDir": false });
    let answer = fetch(&agent, &url, &path, &what);
    assert!(answer.await.expect(404).text().contains("none"));
    assert!(!path.exists());
}
