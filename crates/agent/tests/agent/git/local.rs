use serde_json::{Value, json};
use std::fmt::Write;

use super::{Repo, assert_code};
use crate::support::TestAgent;

fn word(letter: char) -> &'static str {
    match letter {
        ' ' => "Unmodified",
        '?' => "Untracked",
        'M' | 'T' => "Modified",
        'A' => "Added",
        'D' => "Deleted",
        'R' => "Renamed",
        'U' => "Updated but unmerged",
        other => panic!("{other}"),
    }
}

/// What `git status --porcelain` says, in our words.
fn porcelain(repo: &Repo<'_>) -> Value {
    let text = repo.git(&["status", "--porcelain", "-z", "--untracked-files=all"]);
    let mut entries = Vec::new();
    let mut parts = text.split('\0').filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        let letters: Vec<char> = part.chars().take(2).collect();
        let extra = if letters[0] == 'R' {
            parts.next().unwrap()
        } else {
            ""
        };
        entries.push(json!({
            "name": &part[3..],
            "extra": extra,
            "staging": word(letters[0]),
            "worktree": word(letters[1]),
        }));
    }
    entries.sort_by_key(|entry| entry["name"].as_str().unwrap().to_owned());
    Value::Array(entries)
}

#[tokio::test]
async fn the_status_is_what_git_says_it_is() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    for name in [
        "gone",
        "gone staged",
        "both",
        "old name",
        "mode",
        "dir/deep/a",
    ] {
        repo.write(
            name,
            &format!("{name} with enough text to be known again\n"),
        );
    }
    repo.write(".gitignore", "ignored\n");
    repo.add(&["."]).await;
    repo.commit("more").await;

    repo.write("changed", "two\n");
    std::fs::remove_file(repo.path.join("gone")).unwrap();
    repo.git(&["rm", "-q", "gone staged"]);
    repo.git(&["mv", "old name", "neuer näme"]);
    repo.write("both", "staged\n");
    repo.add(&["both"]).await;
    repo.write("both", "and changed again\n");
    repo.write("new staged", "x");
    repo.add(&["new staged"]).await;
    repo.write("dir/untracked/1", "x");
    repo.write("dir/untracked/2", "x");
    repo.write("ignored", "x");
    std::fs::remove_file(repo.path.join("mode")).unwrap();
    std::os::unix::fs::symlink("kept", repo.path.join("mode")).unwrap();

    let status = repo.status().await;
    assert_eq!(status["fileStatus"], porcelain(&repo));
    assert_eq!(status["fileStatus"].as_array().unwrap().len(), 9);
    assert_eq!(status["currentBranch"], "main");
    assert_eq!(status["detached"], false);
    assert_eq!(status["upstream"], "");
    assert_eq!(status["branchPublished"], false);
}

#[tokio::test]
async fn files_that_a_merge_left_open_are_told_and_block_what_would_lose_them() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.post("branches", json!({ "name": "side" }))
        .await
        .expect(201);
    repo.write("changed", "side\n");
    repo.add(&["."]).await;
    repo.commit("side").await;
    repo.post("checkout", json!({ "branch": "main" }))
        .await
        .expect(200);
    repo.write("changed", "main\n");
    repo.add(&["changed"]).await;
    repo.commit("main").await;
    crate::git_server::try_git(&repo.path, &["merge", "side"]);

    assert_eq!(repo.status().await["fileStatus"], porcelain(&repo));
    let who = json!({ "message": "m", "author": "a", "email": "e" });
    assert_code(
        &repo.post("commit", who.clone()).await,
        409,
        "GIT_MERGE_CONFLICT",
    );
    let other = repo.post("checkout", json!({ "branch": "side" })).await;
    assert_code(&other, 409, "GIT_MERGE_CONFLICT");
    repo.write("changed", "resolved\n");
    repo.add(&["changed"]).await;
    repo.post("commit", who).await.expect(200);
    assert_eq!(
        repo.git(&["rev-list", "--parents", "-1", "HEAD"])
            .split(' ')
            .count(),
        3
    );
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_repository_without_commits_has_a_status_a_history_and_branches() {
    let agent = TestAgent::start().await;
    let repo = Repo::empty(&agent, "empty").await;
    repo.write("new", "x");
    let status = repo.status().await;
    assert_eq!(status["currentBranch"], "main");
    assert_eq!(status["fileStatus"], porcelain(&repo));
    assert_eq!(
        repo.branches().await,
        json!({ "branches": [], "current": "main" })
    );
    let history = agent.get("/git/history?path=empty").await.expect(200);
    assert_eq!(history.json(), json!([]));
    // A branch that is made now is the one that the first commit will be on.
    repo.post("branches", json!({ "name": "trunk" }))
        .await
        .expect(201);
    repo.add(&["new"]).await;
    repo.commit("first").await;
    assert_eq!(
        repo.branches().await,
        json!({ "branches": ["trunk"], "current": "trunk" })
    );
}

#[tokio::test]
async fn clients_that_fail_on_new_fields_get_none() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    let headers = [
        ("x-daytona-sdk-version", "0.180.0"),
        ("x-daytona-source", "sdk-go"),
    ];
    for (uri, count) in [("/git/status?path=repo", 5), ("/git/branches?path=repo", 1)] {
        let answer = agent
            .call(http::Method::GET, uri, &headers, "")
            .await
            .expect(200);
        assert_eq!(answer.json().as_object().unwrap().len(), count, "{uri}");
    }
    drop(repo);
}

#[tokio::test]
async fn the_history_is_whole_and_verbatim() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    let second =
        json!({ "message": "two\n\nbody\n", "author": "Zoë", "email": "z@x", "allow_empty": true });
    let hash = repo.post("commit", second).await.expect(200).json()["hash"].clone();
    let history = agent.get("/git/history?path=repo").await.expect(200).json();
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!(history[0]["hash"], hash);
    assert_eq!(history[0]["author"], "Zoë");
    assert_eq!(history[0]["message"], "two\n\nbody\n");
    assert_eq!(history[1]["message"], "first");
    let of_git = repo
        .git(&["log", "-1", "--format=%aI"])
        .replace('Z', "+00:00");
    assert_eq!(history[0]["timestamp"], of_git.as_str());
}

#[tokio::test]
async fn a_long_history_arrives_whole() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    let mut script = String::new();
    let text = "x".repeat(300);
    for at in 0..3000 {
        let message = format!("{at} {text}");
        let length = message.len();
        script += "commit refs/heads/long\n";
        let _ = write!(
            script,
            "committer A <a@x> {at} +0000\ndata {length}\n{message}\n"
        );
    }
    repo.write("script", &script);
    repo.git(&["-c", "alias.load=!git fast-import --quiet < script", "load"]);
    std::fs::remove_file(repo.path.join("script")).unwrap();
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/long"]);
    let history = agent.get("/git/history?path=repo").await.expect(200).json();
    assert_eq!(history.as_array().unwrap().len(), 3000);
}

#[tokio::test]
async fn only_a_change_makes_a_commit_unless_an_empty_one_is_asked_for() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    let mut body = json!({ "message": "m", "author": "a", "email": "e" });
    assert_code(&repo.post("commit", body.clone()).await, 409, "CONFLICT");
    body["allow_empty"] = json!(true);
    repo.post("commit", body.clone()).await.expect(200);
    body["author"] = json!("<>");
    repo.post("commit", body).await.expect(400);
}

#[tokio::test]
async fn what_is_added_is_what_was_named() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.write("a[1].txt", "literal");
    repo.write("a1.txt", "pattern");
    repo.write("dir/x", "x");
    repo.write("dir2/x", "x");
    std::fs::remove_file(repo.path.join("kept")).unwrap();
    repo.add(&["a[1].txt", "dir/", "kept"]).await;
    assert_eq!(
        repo.git(&["diff", "--cached", "--name-status"]),
        "A\ta1.txt\nA\ta[1].txt\nA\tdir/x\nD\tkept"
    );
    repo.add(&["dir2/*", "changed"]).await;
    assert!(
        repo.git(&["diff", "--cached", "--name-only"])
            .contains("dir2/x")
    );

    repo.write("other", "x");
    repo.write(".gitignore", "no\n");
    repo.write("no", "x");
    for (files, status) in [
        (json!(["other", "missing"]), 404),
        (json!(["*.missing"]), 404),
        (json!(["other", "no"]), 400),
        (json!(["../outside"]), 400),
        (json!([".git/config"]), 400),
        (json!([""]), 400),
        (json!("other"), 400),
        (Value::Null, 400),
    ] {
        repo.post("add", json!({ "files": files }))
            .await
            .expect(status);
    }
    // Nothing of a refused request is staged.
    assert!(
        !repo
            .git(&["diff", "--cached", "--name-only"])
            .contains("other")
    );
    repo.add(&["."]).await;
    assert_eq!(
        repo.git(&["status", "--porcelain"]).matches("??").count(),
        0
    );
}

#[tokio::test]
async fn resets_go_as_far_as_their_mode_says() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.write("changed", "two\n");
    repo.add(&["."]).await;
    repo.commit("second").await;
    let letters = |repo: &Repo<'_>| repo.git(&["status", "--porcelain"]);

    repo.post("reset", json!({ "mode": "soft", "target": "HEAD~1" }))
        .await
        .expect(200);
    assert_eq!(letters(&repo), "M  changed");
    repo.post("reset", json!({})).await.expect(200);
    assert_eq!(letters(&repo), " M changed");
    repo.post("reset", json!({ "mode": "hard" }))
        .await
        .expect(200);
    assert_eq!(
        (letters(&repo).as_str(), repo.read("changed").as_deref()),
        ("", Some("one\n"))
    );

    // Keep and merge keep what does not stand in the way, and refuse before any change what does.
    repo.write("changed", "three\n");
    repo.add(&["."]).await;
    repo.commit("third").await;
    repo.write("kept", "edited\n");
    for mode in ["keep", "merge"] {
        repo.write("changed", "in the way\n");
        let refused = repo
            .post("reset", json!({ "mode": mode, "target": "HEAD~1" }))
            .await;
        assert_code(&refused, 409, "GIT_DIRTY_WORKTREE");
        assert_eq!(repo.read("changed").as_deref(), Some("in the way\n"));
        repo.git(&["checkout", "-q", "--", "changed"]);
        repo.post("reset", json!({ "mode": mode, "target": "HEAD~1" }))
            .await
            .expect(200);
        assert_eq!(letters(&repo), " M kept");
        assert_eq!(repo.read("changed").as_deref(), Some("one\n"));
        repo.git(&["reset", "-q", "--keep", "HEAD@{1}"]);
    }
    // Merge drops what is staged.
    repo.write("changed", "staged\n");
    repo.add(&["changed"]).await;
    repo.post("reset", json!({ "mode": "merge" }))
        .await
        .expect(200);
    assert_eq!(letters(&repo), " M kept");

    repo.add(&["kept"]).await;
    repo.post("reset", json!({ "files": ["kept"] }))
        .await
        .expect(200);
    assert_eq!(letters(&repo), " M kept");
    for (body, status) in [
        (json!({ "target": "nope" }), 404),
        (json!({ "target": "--hard" }), 400),
        (json!({ "mode": "medium" }), 400),
        (json!({ "files": ["nope"] }), 404),
        (json!({ "files": ["kept"], "mode": "hard" }), 400),
    ] {
        repo.post("reset", body).await.expect(status);
    }
}

#[tokio::test]
async fn restores_bring_back_files_and_what_is_staged() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.write("changed", "two\n");
    repo.write("later", "x\n");
    repo.add(&["."]).await;
    repo.commit("second").await;
    let letters = |repo: &Repo<'_>| repo.git(&["status", "--porcelain"]);

    repo.write("changed", "edited\n");
    repo.post("restore", json!({ "files": ["changed"] }))
        .await
        .expect(200);
    assert_eq!(
        (letters(&repo).as_str(), repo.read("changed").as_deref()),
        ("", Some("two\n"))
    );

    repo.write("changed", "edited\n");
    repo.add(&["changed"]).await;
    repo.post("restore", json!({ "files": ["changed"], "staged": true }))
        .await
        .expect(200);
    assert_eq!(letters(&repo), " M changed");
    repo.add(&["changed"]).await;
    let both = json!({ "files": ["."], "staged": true, "worktree": true });
    repo.post("restore", both).await.expect(200);
    assert_eq!(
        (letters(&repo).as_str(), repo.read("changed").as_deref()),
        ("", Some("two\n"))
    );

    // What the source does not have goes.
    let old = json!({ "files": ["changed", "later"], "source": "HEAD~1" });
    repo.post("restore", old).await.expect(200);
    assert_eq!(letters(&repo), " M changed\n D later");
    assert_eq!(repo.read("changed").as_deref(), Some("one\n"));
    for (body, status) in [
        (json!({ "files": ["nope"] }), 404),
        (json!({ "files": [] }), 400),
        (json!({ "files": ["kept"], "worktree": false }), 400),
        (json!({ "files": ["kept"], "source": "nope" }), 404),
    ] {
        repo.post("restore", body).await.expect(status);
    }
}

#[tokio::test]
async fn repositories_are_made_once_and_as_asked() {
    let agent = TestAgent::start().await;
    let bare = json!({ "path": "a/b.git", "bare": true, "initial_branch": "trunk" });
    for _ in 0..2 {
        agent.post("/git/init", &bare).await.expect(201);
    }
    let repo = Repo::at(&agent, "a/b.git");
    assert_eq!(repo.git(&["symbolic-ref", "HEAD"]), "refs/heads/trunk");
    assert_eq!(repo.git(&["rev-parse", "--is-bare-repository"]), "true");
    for (body, status) in [
        (json!({ "path": "a/b.git" }), 409),
        (
            json!({ "path": "a/b.git", "bare": true, "initial_branch": "other" }),
            409,
        ),
        (json!({ "path": "x", "initial_branch": "-x" }), 400),
        (json!({ "path": "config" }), 409),
        (json!({}), 400),
    ] {
        agent.post("/git/init", &body).await.expect(status);
    }
    agent.get("/git/status?path=a/b.git").await.expect(400);
}

#[tokio::test]
async fn configuration_is_written_where_git_reads_it() {
    let agent = TestAgent::start().await;
    let repo = Repo::empty(&agent, "repo").await;
    let get = async |query: &str| agent.get(&format!("/git/config?{query}")).await;
    assert_eq!(
        get("key=user.name").await.expect(200).json(),
        json!({ "value": null })
    );
    let user = json!({ "name": "Ada \"L\"", "email": "ada@x", "scope": "global" });
    agent.post("/git/config/user", &user).await.expect(200);
    assert_eq!(
        get("key=user.name&scope=global").await.json()["value"],
        "Ada \"L\""
    );
    let file = agent.path(".gitconfig");
    assert_eq!(
        repo.git(&["config", "--file", &file, "user.name"]),
        "Ada \"L\""
    );

    let local = json!({ "key": "core.x", "value": "1", "scope": "local", "path": "repo" });
    agent.post("/git/config", &local).await.expect(200);
    assert_eq!(repo.git(&["config", "--local", "core.x"]), "1");
    assert_eq!(get("key=core.x").await.json()["value"], Value::Null);
    assert_eq!(
        get("key=core.x&scope=local&path=repo").await.json()["value"],
        "1"
    );
    for (query, status) in [
        ("key=x", 400),
        ("", 400),
        ("key=a.b&scope=all", 400),
        ("key=a.b&scope=local", 400),
        ("key=a.b&scope=local&path=nope", 404),
    ] {
        get(query).await.expect(status);
    }
    agent
        .post("/git/config", &json!({ "key": "a.b" }))
        .await
        .expect(400);
}
