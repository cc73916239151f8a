//! A repository larger than the memory that its clone may take.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::Repo;
use crate::git_server::{GitServer, git};
use crate::support::{TestAgent, children_of};

const BLOB_BYTES: u64 = 2 << 20;
const BLOBS: usize = 48;

/// Well below the blobs together; what libgit2 and the transport keep does not grow with them.
const MOST_KIB: u64 = 32 << 10;

/// Adds a commit of random files, which no compression makes smaller.
fn fill(bare: &Path) {
    // Or the server would look for likenesses for a minute.
    for setting in [
        ["core.compression", "0"],
        ["core.bigFileThreshold", "1m"],
        ["fastimport.unpackLimit", "1"],
    ] {
        git(bare, &[&["config"], &setting[..]].concat());
    }
    let mut process = Command::new("git")
        .current_dir(bare)
        .args(["fast-import", "--quiet", "--force"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut script = process.stdin.take().unwrap();
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    writeln!(
        script,
        "commit refs/heads/main\ncommitter A <a@x> 1 +0000\ndata 0"
    )
    .unwrap();
    for at in 0..BLOBS {
        writeln!(script, "M 100644 inline blob-{at}\ndata {BLOB_BYTES}").unwrap();
        std::io::copy(&mut (&mut random).take(BLOB_BYTES), &mut script).unwrap();
        writeln!(script).unwrap();
    }
    drop(script);
    assert!(process.wait().unwrap().success());
}

/// Memory of its own that a process has now, in KiB.
fn own_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[tokio::test]
async fn a_clone_takes_less_memory_than_the_repository_has_bytes() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    server.create("large");
    let bare = server.bare("large");
    fill(&bare);
    let clone = json!({ "url": server.url("open/large"), "path": "large" });
    let request = agent.post("/git/clone", &clone);
    tokio::pin!(request);
    let (mut answer, mut peak) = (None, 0);
    while answer.is_none() {
        tokio::select! {
            done = &mut request => answer = Some(done),
            () = tokio::time::sleep(Duration::from_millis(10)) => {
                let helpers = children_of(agent.pid());
                peak = helpers.into_iter().filter_map(own_kib).fold(peak, u64::max);
            }
        }
    }
    answer.unwrap().expect(200);
    assert!((1..MOST_KIB).contains(&peak), "{peak} KiB");
    let repo = Repo::at(&agent, "large");
    assert_eq!(
        repo.git(&["rev-parse", "HEAD"]),
        git(&bare, &["rev-parse", "main"])
    );
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
}
