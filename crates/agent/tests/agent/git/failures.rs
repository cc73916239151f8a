//! Bad requests, images without git, and bounds.

use http::Method;
use serde_json::json;

use super::{Repo, assert_code};
use crate::git_server::{GitServer, git};
use crate::support::TestAgent;

#[tokio::test]
async fn every_operation_refuses_what_it_cannot_use() {
    let agent = TestAgent::start().await;
    std::fs::create_dir(agent.path("plain")).unwrap();
    let posts = [
        "clone",
        "branches",
        "checkout",
        "add",
        "commit",
        "push",
        "pull",
        "init",
        "reset",
        "restore",
        "remotes",
        "config",
        "config/user",
        "credentials",
    ];
    for operation in posts {
        let uri = format!("/git/{operation}");
        for body in ["", "{", "[]", "7", r#"{"path":7}"#, "{}"] {
            let answer = agent.call(Method::POST, &uri, &[], body).await;
            assert_eq!(answer.status, 400, "{uri} {body}: {}", answer.text());
        }
    }
    agent
        .call(Method::DELETE, "/git/branches", &[], "{}")
        .await
        .expect(400);
    for operation in ["status", "branches", "history", "remotes"] {
        agent.get(&format!("/git/{operation}")).await.expect(400);
        agent
            .get(&format!("/git/{operation}?path="))
            .await
            .expect(400);
        for path in ["plain", "missing", "config", "plain/../plain"] {
            let answer = agent.get(&format!("/git/{operation}?path={path}")).await;
            assert_code(&answer, 404, "GIT_REPO_NOT_FOUND");
        }
    }
    // A folder of a repository is none itself.
    let repo = Repo::new(&agent).await;
    repo.write("dir/a", "x");
    let answer = agent.get("/git/status?path=repo/dir").await;
    assert_code(&answer, 404, "GIT_REPO_NOT_FOUND");
    for (operation, body) in [
        ("add", json!({ "files": ["."] })),
        (
            "commit",
            json!({ "message": "m", "author": "a", "email": "e" }),
        ),
        ("checkout", json!({ "branch": "main" })),
        ("branches", json!({ "name": "x" })),
        ("push", json!({})),
        ("pull", json!({})),
        ("reset", json!({})),
        ("restore", json!({ "files": ["."] })),
        ("remotes", json!({ "name": "a", "url": "http://x/y" })),
    ] {
        let answer = Repo::at(&agent, "plain").post(operation, body).await;
        assert_code(&answer, 404, "GIT_REPO_NOT_FOUND");
    }
}

#[tokio::test]
async fn addresses_with_ssh_need_the_image_s_git() {
    let agent = TestAgent::start_with(json!({ "env": { "PATH": "/nonexistent" } })).await;
    let agent_home = json!({ "url": "git@127.0.0.1:x/y.git", "path": "a" });
    let answer = agent.post("/git/clone", &agent_home).await;
    assert_code(&answer, 422, "UNPROCESSABLE_ENTITY");
    assert!(
        answer.text().contains("no git program"),
        "{}",
        answer.text()
    );
    let with_password =
        json!({ "url": "ssh://127.0.0.1/x", "path": "a", "username": "a", "password": "b" });
    agent.post("/git/clone", &with_password).await.expect(400);
}

/// In the place of ssh stands a program that runs what it is asked to on this machine.
#[tokio::test]
async fn addresses_with_ssh_work_by_the_image_s_git() {
    let server = GitServer::start().await;
    let seed = server.create("a");
    let ssh = server.dir.path().join("ssh");
    std::fs::write(&ssh, "#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexport GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'\nexec sh -c \"$1\"\n").unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let agent = TestAgent::start_with(json!({
        "env": { "HOME": home.path(), "GIT_SSH_COMMAND": ssh, "GIT_SSH_VARIANT": "simple" },
    }))
    .await;
    let url = format!("git@host:{}", server.bare("a").display());
    let path = agent.path("a");
    agent
        .post("/git/clone", &json!({ "url": url, "path": path }))
        .await
        .expect(200);
    let repo = Repo::at(&agent, "a");
    seed.write("new", "x\n");
    let new = seed.commit("new");
    seed.push();
    repo.post("pull", json!({})).await.expect(200);
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), new);
    repo.post("branches", json!({ "name": "topic" }))
        .await
        .expect(201);
    repo.post("push", json!({ "set_upstream": true }))
        .await
        .expect(200);
    assert_eq!(git(&server.bare("a"), &["rev-parse", "topic"]), new);
    let missing = json!({ "url": "git@host:/nonexistent", "path": agent.path("b") });
    assert_code(
        &agent.post("/git/clone", &missing).await,
        404,
        "GIT_REPO_NOT_FOUND",
    );
}

#[tokio::test]
async fn without_any_git_program_everything_over_http_works() {
    let server = GitServer::start().await;
    server.create("a");
    let home = tempfile::tempdir().unwrap();
    let env = json!({ "HOME": home.path(), "PATH": "/nonexistent" });
    let agent = TestAgent::start_with(json!({ "env": env })).await;
    let path = agent.path("a");
    agent
        .post(
            "/git/clone",
            &json!({ "url": server.url("open/a"), "path": path }),
        )
        .await
        .expect(200);
    let repo = Repo::at(&agent, "a");
    repo.write("new", "x\n");
    repo.add(&["."]).await;
    repo.commit("new").await;
    repo.post("push", json!({})).await.expect(200);
    repo.post("pull", json!({})).await.expect(200);
}

/// Somebody else's repository, such as one that root cloned into the image.
#[tokio::test]
async fn who_owns_a_repository_does_not_matter() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    let (user, group) = (
        rustix::fs::Uid::from_raw(1234),
        rustix::fs::Gid::from_raw(1234),
    );
    for path in [repo.path.clone(), repo.path.join(".git")] {
        rustix::fs::chown(&path, Some(user), Some(group)).unwrap();
    }
    assert_eq!(repo.status().await["currentBranch"], "main");
    assert!(!std::path::Path::new(&agent.path(".gitconfig")).exists());
}
