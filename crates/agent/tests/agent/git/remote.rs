//! Clone, pull and push against a real `git http-backend`.

use serde_json::{Value, json};

use super::{Repo, assert_code};
use crate::git_server::{GitServer, PASSWORD, USER, git};
use crate::support::{TestAgent, eventually};

#[tokio::test]
async fn a_clone_has_one_branch_with_all_history_and_all_tags() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    let seed = server.create("a");
    let first = seed.git(&["rev-parse", "HEAD"]);
    seed.git(&["checkout", "-q", "-b", "side"]);
    seed.write("side", "x\n");
    seed.git(&["tag", "on-side"]);
    let side = seed.commit("side");
    seed.git(&["tag", "-a", "v1", "-m", "v1"]);
    seed.push();

    let clone = json!({ "url": server.url("open/a"), "path": "work/a" });
    let answer = agent.post("/git/clone", &clone).await.expect(200);
    assert!(answer.body.is_empty());
    let repo = Repo::at(&agent, "work/a");
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), first);
    assert_eq!(
        repo.git(&["branch", "-r"]),
        "  origin/HEAD -> origin/main\n  origin/main"
    );
    assert_eq!(repo.git(&["tag"]), "on-side\nv1");
    assert_eq!(repo.git(&["fsck", "--strict"]), "");
    assert_eq!(
        repo.git(&["status", "--porcelain=v1", "-b"]),
        "## main...origin/main"
    );
    let status = repo.status().await;
    assert_eq!(
        (&status["upstream"], &status["branchPublished"]),
        (&json!("origin/main"), &json!(true))
    );
    assert_eq!(repo.read("src/code").as_deref(), Some("1\n"));

    let again = agent.post("/git/clone", &clone).await;
    assert_code(&again, 409, "CONFLICT");
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), first);

    for (more, path, head) in [
        (json!({ "branch": "side" }), "b", Some("refs/heads/side")),
        (json!({ "branch": "v1" }), "c", None),
        (json!({ "commit_id": side }), "d", None),
        (
            json!({ "commit_id": first[..7], "branch": "side" }),
            "e",
            None,
        ),
        (
            json!({ "depth": 1, "branch": "side" }),
            "f",
            Some("refs/heads/side"),
        ),
        (json!({ "depth": 1, "commit_id": side }), "g", None),
    ] {
        let mut body = json!({ "url": server.url("open/a"), "path": path });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        agent.post("/git/clone", &body).await.expect(200);
        let repo = Repo::at(&agent, path);
        let (is_branch, name) =
            crate::git_server::try_git(&repo.path, &["symbolic-ref", "-q", "HEAD"]);
        assert_eq!(is_branch.then_some(name.as_str()), head, "{path}");
        let wanted = if path == "e" { &first } else { &side };
        assert_eq!(&repo.git(&["rev-parse", "HEAD"]), wanted, "{path}");
        assert_eq!(repo.git(&["status", "--porcelain"]), "", "{path}");
        let count = repo.git(&["rev-list", "--count", "HEAD"]);
        let wanted = match path {
            "e" | "f" => "1",
            _ => "2",
        };
        assert_eq!(count, wanted, "{path}");
    }
}

#[tokio::test]
async fn a_failed_clone_says_why_and_leaves_nothing() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    server.create("a");
    git(server.dir.path(), &["init", "-q", "--bare", "empty.git"]);
    std::fs::create_dir(agent.path("there")).unwrap();
    let wrong = json!({ "username": USER, "password": "wr0ng-password" });
    let table: [(&str, Value, u16, &str); 12] = [
        ("closed/a", json!({}), 401, "GIT_AUTH_FAILED"),
        ("closed/a", wrong, 401, "GIT_AUTH_FAILED"),
        (
            "closed/a",
            json!({ "username": USER }),
            401,
            "GIT_AUTH_FAILED",
        ),
        ("forbidden/a", json!({}), 403, "FORBIDDEN"),
        ("open/none", json!({}), 404, "GIT_REPO_NOT_FOUND"),
        ("page/a", json!({}), 404, "GIT_REPO_NOT_FOUND"),
        ("open/empty", json!({}), 404, "GIT_REPO_NOT_FOUND"),
        (
            "open/a",
            json!({ "branch": "nope" }),
            404,
            "GIT_BRANCH_NOT_FOUND",
        ),
        (
            "open/a",
            json!({ "commit_id": "abcdef12" }),
            404,
            "NOT_FOUND",
        ),
        ("open/a", json!({ "commit_id": "-abc" }), 400, "BAD_REQUEST"),
        (
            "open/a",
            json!({ "branch": "--upload-pack=x" }),
            400,
            "BAD_REQUEST",
        ),
        ("open/a", json!({ "depth": -1 }), 400, "BAD_REQUEST"),
    ];
    for (url, more, status, code) in table {
        for path in ["new", "there"] {
            let mut body = json!({ "url": server.url(url), "path": path });
            body.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let answer = agent.post("/git/clone", &body).await;
            assert_code(&answer, status, code);
            assert!(!answer.text().contains("wr0ng"), "{}", answer.text());
        }
        assert!(
            !std::path::Path::new(&agent.path("new")).exists(),
            "{url} {more}"
        );
        assert_eq!(
            std::fs::read_dir(agent.path("there")).unwrap().count(),
            0,
            "{url} {more}"
        );
    }
    // What is there already is not touched.
    std::fs::write(agent.path("there/mine"), "x").unwrap();
    for path in ["there", "config"] {
        let body = json!({ "url": server.url("open/a"), "path": path });
        assert_code(&agent.post("/git/clone", &body).await, 409, "CONFLICT");
    }
    assert_eq!(std::fs::read_dir(agent.path("there")).unwrap().count(), 1);
    for url in ["http://127.0.0.1:1/a.git", "http://host.invalid/a.git"] {
        let answer = agent
            .post("/git/clone", &json!({ "url": url, "path": "new" }))
            .await;
        assert_code(&answer, 502, "GIT_TRANSPORT_FAILED");
    }
}

#[tokio::test]
async fn credentials_open_the_remote_and_are_kept_nowhere() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    server.create("a");
    let who = json!({ "username": USER, "password": PASSWORD });
    let user_info = "alice:s3cret%2Fpass%20word";
    for (path, url, more) in [
        ("by-request", server.url("closed/a"), who.clone()),
        (
            "by-address",
            server.url_with(user_info, "closed/a"),
            json!({}),
        ),
    ] {
        let mut body = json!({ "url": url, "path": path });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        agent.post("/git/clone", &body).await.expect(200);
        let repo = Repo::at(&agent, path);
        let config = repo.git(&["config", "--list", "--show-origin"]);
        let everything = std::process::Command::new("grep")
            .args(["-rlE", "s3cret|czNjcmV0"])
            .arg(&repo.path)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&everything.stdout), "", "{config}");
        assert!(
            repo.git(&["remote", "get-url", "origin"])
                .starts_with("http://127.0.0.1")
        );
        assert_code(&repo.post("pull", json!({})).await, 401, "GIT_AUTH_FAILED");
        repo.post("pull", who.clone()).await.expect(200);
        repo.write("new", path);
        repo.add(&["new"]).await;
        repo.commit("new").await;
        let wrong = json!({ "username": USER, "password": "wr0ng-password" });
        let refused = repo.post("push", wrong).await;
        assert_code(&refused, 401, "GIT_AUTH_FAILED");
        assert!(!refused.text().contains("wr0ng"));
        if path == "by-request" {
            repo.post("push", who.clone()).await.expect(200);
        }
    }
}

#[tokio::test]
async fn stored_credentials_serve_later_calls_and_git_itself() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    server.create("a");
    let host = server.url("").split('/').nth(2).unwrap().to_owned();
    let store = json!({ "username": USER, "password": "old", "host": host, "protocol": "http" });
    agent.post("/git/credentials", &store).await.expect(200);
    let store = json!({ "username": USER, "password": PASSWORD, "host": host, "protocol": "http" });
    agent.post("/git/credentials", &store).await.expect(200);
    let file = std::fs::read_to_string(agent.path(".git-credentials")).unwrap();
    assert_eq!(file, format!("http://alice:s3cret%2Fpass%20word@{host}\n"));
    let mode = std::fs::metadata(agent.path(".git-credentials")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );

    let clone = json!({ "url": server.url("closed/a"), "path": "a" });
    agent.post("/git/clone", &clone).await.expect(200);
    let repo = Repo::at(&agent, "a");
    repo.write("new", "x");
    repo.add(&["new"]).await;
    repo.commit("new").await;
    repo.post("push", json!({})).await.expect(200);
    // Off this thread, on which the server runs.
    let (home, url) = (agent.dir.path().to_path_buf(), server.url("closed/a"));
    let cloned = tokio::task::spawn_blocking(move || git(&home, &["clone", "-q", &url, "by-git"]));
    cloned.await.unwrap();
    for bad in [
        json!({ "username": "a" }),
        json!({ "username": "a", "password": "b", "host": "a/b" }),
        json!({ "username": "a", "password": "b", "protocol": "ssh" }),
    ] {
        agent.post("/git/credentials", &bad).await.expect(400);
    }
}

#[tokio::test]
async fn pulls_follow_the_upstream_and_only_go_forward() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    let seed = server.create("a");
    seed.git(&["checkout", "-q", "-b", "topic"]);
    seed.commit("topic");
    seed.push();
    let clone = json!({ "url": server.url("open/a"), "path": "a", "branch": "topic" });
    agent.post("/git/clone", &clone).await.expect(200);
    let repo = Repo::at(&agent, "a");
    repo.post("pull", json!({})).await.expect(200);

    seed.write("README", "new\n");
    let new = seed.commit("new on topic");
    seed.push();
    // Local work elsewhere stays; in the way it is a reason to change nothing.
    repo.write("README", "mine\n");
    assert_code(
        &repo.post("pull", json!({})).await,
        409,
        "GIT_DIRTY_WORKTREE",
    );
    assert_eq!(repo.read("README").as_deref(), Some("mine\n"));
    assert_eq!(repo.status().await["behind"], 1);
    repo.git(&["checkout", "-q", "--", "README"]);
    repo.write("src/code", "mine\n");
    repo.post("pull", json!({})).await.expect(200);
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), new);
    assert_eq!(repo.git(&["status", "--porcelain"]), " M src/code");
    assert_eq!(repo.status().await["currentBranch"], "topic");

    repo.add(&["."]).await;
    repo.commit("mine").await;
    seed.write("other", "x");
    seed.commit("theirs");
    seed.push();
    let head = repo.git(&["rev-parse", "HEAD"]);
    assert_code(&repo.post("pull", json!({})).await, 409, "CONFLICT");
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), head);
    let status = repo.status().await;
    assert_eq!(
        (&status["ahead"], &status["behind"]),
        (&json!(1), &json!(1))
    );

    for (body, code) in [
        (json!({ "branch": "nope" }), "GIT_BRANCH_NOT_FOUND"),
        (json!({ "remote": "nope" }), "NOT_FOUND"),
    ] {
        assert_code(&repo.post("pull", body).await, 404, code);
    }
    repo.post("checkout", json!({ "branch": "topic~1" }))
        .await
        .expect(200);
    assert_code(&repo.post("pull", json!({})).await, 404, "NOT_FOUND");
}

#[tokio::test]
async fn pushes_arrive_or_are_rejected_with_the_reason() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    let seed = server.create("a");
    let clone = json!({ "url": server.url("open/a"), "path": "a" });
    agent.post("/git/clone", &clone).await.expect(200);
    let repo = Repo::at(&agent, "a");
    repo.post("push", json!({})).await.expect(200);
    // Longer than what is sent in one piece.
    let noise: Vec<String> = (0u64..400_000)
        .map(|at| format!("{:x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let noise = noise.concat();
    repo.write("big", &noise);
    repo.add(&["big"]).await;
    let mine = repo.commit("big").await;
    repo.post("push", json!({})).await.expect(200);
    assert_eq!(git(&server.bare("a"), &["rev-parse", "main"]), mine);
    assert_eq!(git(&server.bare("a"), &["fsck"]), "");
    assert_eq!(repo.status().await["ahead"], 0);

    repo.post("branches", json!({ "name": "topic" }))
        .await
        .expect(201);
    repo.post("push", json!({})).await.expect(200);
    assert_eq!(repo.status().await["branchPublished"], false);
    repo.post("push", json!({ "set_upstream": true }))
        .await
        .expect(200);
    let status = repo.status().await;
    assert_eq!(
        (&status["branchPublished"], &status["upstream"]),
        (&json!(true), &json!("origin/topic"))
    );
    assert_eq!(repo.git(&["rev-parse", "@{u}"]), mine);

    repo.post("checkout", json!({ "branch": "main" }))
        .await
        .expect(200);
    seed.git(&["pull", "-q", "origin", "main"]);
    seed.write("theirs", "x");
    let theirs = seed.commit("theirs");
    seed.push();
    repo.write("mine", "x");
    repo.add(&["."]).await;
    repo.commit("mine").await;
    assert_code(
        &repo.post("push", json!({})).await,
        409,
        "GIT_PUSH_REJECTED",
    );
    assert_eq!(git(&server.bare("a"), &["rev-parse", "main"]), theirs);

    let hook = server.bare("a").join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho closed for today >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    repo.post("branches", json!({ "name": "refused" }))
        .await
        .expect(201);
    let refused = repo.post("push", json!({})).await;
    assert_code(&refused, 422, "GIT_REMOTE_REJECTED");
    assert!(
        refused.text().contains("closed for today"),
        "{}",
        refused.text()
    );
    for (body, status) in [
        (json!({ "branch": "nope" }), 404),
        (json!({ "branch": "-x" }), 400),
        (json!({ "remote": "nope" }), 404),
        (json!({ "remote": "--x" }), 400),
    ] {
        repo.post("push", body).await.expect(status);
    }
}

#[tokio::test]
async fn a_branch_that_only_the_remote_has_is_checked_out_with_its_upstream() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    let seed = server.create("a");
    seed.git(&["checkout", "-q", "-b", "topic"]);
    let topic = seed.commit("topic");
    seed.push();
    let repo = Repo::empty(&agent, "a").await;
    let body = json!({ "name": "origin", "url": server.url("moved/a"), "fetch": true });
    repo.post("remotes", body.clone()).await.expect(201);
    assert_code(&repo.post("remotes", body).await, 409, "CONFLICT");
    repo.post("checkout", json!({ "branch": "topic" }))
        .await
        .expect(200);
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), topic);
    assert_eq!(repo.status().await["upstream"], "origin/topic");
    // A push goes where the remote has moved to.
    repo.post("push", json!({})).await.expect(200);

    let bad = json!({ "name": "b", "url": server.url("open/none"), "fetch": true });
    assert_code(&repo.post("remotes", bad).await, 404, "GIT_REPO_NOT_FOUND");
    let over = json!({ "name": "origin", "url": server.url("open/a"), "overwrite": true });
    repo.post("remotes", over).await.expect(201);
    repo.post("remotes", json!({ "name": "a", "url": "git@host:x/y" }))
        .await
        .expect(201);
    let listed = agent.get("/git/remotes?path=a").await.expect(200).json();
    let wanted = json!({ "remotes": [{ "name": "a", "url": "git@host:x/y" }, { "name": "origin", "url": server.url("open/a") }] });
    assert_eq!(listed, wanted);
}

#[tokio::test]
async fn a_certificate_of_ones_own_takes_a_word() {
    let (agent, server) = (TestAgent::start().await, GitServer::start_tls().await);
    server.create("a");
    let mut clone = json!({ "url": server.url("closed/a"), "path": "a", "username": USER, "password": PASSWORD });
    assert_code(
        &agent.post("/git/clone", &clone).await,
        502,
        "GIT_TRANSPORT_FAILED",
    );
    clone["insecure_skip_tls"] = json!(true);
    agent.post("/git/clone", &clone).await.expect(200);
    // It holds for this remote from now on.
    let repo = Repo::at(&agent, "a");
    let who = json!({ "username": USER, "password": PASSWORD });
    repo.post("pull", who.clone()).await.expect(200);
    repo.write("new", "x");
    repo.add(&["new"]).await;
    repo.commit("new").await;
    repo.post("push", who).await.expect(200);

    // One that is known is trusted.
    let knowing = TestAgent::start_with(json!({
        "env": { "HOME": "/nonexistent", "GIT_SSL_CAINFO": server.certificate() },
        "workdir": agent.dir.path(),
    }))
    .await;
    let clone = json!({ "url": server.url("open/a"), "path": "trusted" });
    knowing.post("/git/clone", &clone).await.expect(200);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_clone_along() {
    let (agent, server) = (TestAgent::start().await, GitServer::start().await);
    server.create("a");
    let body = json!({ "url": server.url("slow/a"), "path": "a" }).to_string();
    let request = TestAgent::request(http::Method::POST, "/git/clone")
        .body(http_body_util::Full::new(hyper::body::Bytes::from(body)))
        .unwrap();
    {
        let answer = agent.send(request);
        tokio::pin!(answer);
        let started = async {
            eventually("the clone waits", || server.waiting() > 0).await;
        };
        tokio::select! {
            _ = &mut answer => panic!("an answer"),
            () = started => {}
        }
        assert!(std::path::Path::new(&agent.path("a")).exists());
    }
    let path = agent.path("a");
    eventually("nothing is left", || {
        !std::path::Path::new(&path).exists() && crate::support::children_of(agent.pid()).is_empty()
    })
    .await;
}
