//! Work that is not committed survives: regression items 41 and 42.

use serde_json::json;

use super::{Repo, assert_code, files};
use crate::support::TestAgent;

/// What is done to a repository.
type Change<'a> = &'a dyn Fn(&Repo<'_>);

#[tokio::test]
async fn a_new_branch_takes_all_local_work_along() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.write("changed", "unstaged\n");
    repo.write("kept", "staged\n");
    repo.write("new", "staged\n");
    repo.add(&["kept", "new"]).await;
    repo.write("untracked", "x\n");
    let before = (files(&repo.path), repo.git(&["status", "--porcelain"]));
    repo.post("branches", json!({ "name": "topic" }))
        .await
        .expect(201);
    assert_eq!(
        (files(&repo.path), repo.git(&["status", "--porcelain"])),
        before
    );
    assert_eq!(
        repo.branches().await,
        json!({ "branches": ["main", "topic"], "current": "topic" })
    );

    repo.post("checkout", json!({ "branch": "main" }))
        .await
        .expect(200);
    assert_eq!(
        (files(&repo.path), repo.git(&["status", "--porcelain"])),
        before
    );
    assert_code(
        &repo.post("branches", json!({ "name": "topic" })).await,
        409,
        "GIT_BRANCH_EXISTS",
    );
    assert_code(
        &repo.post("branches", json!({ "name": "topic/x" })).await,
        409,
        "GIT_BRANCH_EXISTS",
    );
    for name in ["-x", "a..b", "", "HEAD"] {
        repo.post("branches", json!({ "name": name }))
            .await
            .expect(400);
    }
    assert_eq!(repo.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
}

/// Local work that stands in the way of another branch, each kind by itself: what is done, and the files.
#[tokio::test]
async fn a_checkout_loses_nothing_and_changes_nothing_when_it_is_refused() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.post("branches", json!({ "name": "other" }))
        .await
        .expect(201);
    repo.write("changed", "other\n");
    repo.write("theirs", "theirs\n");
    repo.write(".gitignore", "");
    repo.git(&["rm", "-q", "kept"]);
    repo.add(&["."]).await;
    repo.commit("other").await;
    repo.post("checkout", json!({ "branch": "main" }))
        .await
        .expect(200);
    std::fs::write(repo.path.join(".git/info/exclude"), "theirs\n").unwrap();

    let unstaged = |repo: &Repo<'_>| repo.write("changed", "mine\n");
    let staged = |repo: &Repo<'_>| {
        repo.write("changed", "mine\n");
        repo.git(&["add", "changed"]);
    };
    // The disk looks clean; only the index has the work.
    let staged_only = |repo: &Repo<'_>| {
        repo.write("changed", "mine\n");
        repo.git(&["add", "changed"]);
        repo.write("changed", "one\n");
    };
    let deleted_there = |repo: &Repo<'_>| repo.write("kept", "mine\n");
    let ignored = |repo: &Repo<'_>| repo.write("theirs", "mine\n");
    let added = |repo: &Repo<'_>| {
        repo.write("theirs", "mine\n");
        repo.git(&["add", "-f", "theirs"]);
    };
    let removed = |repo: &Repo<'_>| {
        repo.git(&["rm", "-q", "changed"]);
    };
    let folder = |repo: &Repo<'_>| repo.write("theirs/file", "mine\n");
    let ways: [(&str, Change); 8] = [
        ("unstaged", &unstaged),
        ("staged", &staged),
        ("staged only", &staged_only),
        ("changed, deleted there", &deleted_there),
        ("ignored", &ignored),
        ("added", &added),
        ("removed", &removed),
        ("folder", &folder),
    ];
    for (what, make) in ways {
        make(&repo);
        let before = (
            files(&repo.path),
            repo.git(&["diff", "--cached"]),
            repo.git(&["diff"]),
        );
        let refused = repo.post("checkout", json!({ "branch": "other" })).await;
        assert_eq!(refused.status, 409, "{what}: {}", refused.text());
        assert_eq!(refused.json()["code"], "GIT_DIRTY_WORKTREE", "{what}");
        let after = (
            files(&repo.path),
            repo.git(&["diff", "--cached"]),
            repo.git(&["diff"]),
        );
        assert_eq!(after, before, "{what}");
        assert_eq!(
            repo.git(&["symbolic-ref", "HEAD"]),
            "refs/heads/main",
            "{what}"
        );
        repo.git(&["reset", "-q", "--hard"]);
        repo.git(&["clean", "-fdxq"]);
    }
    // What is not in the way comes along.
    repo.write("mine", "mine\n");
    repo.add(&["mine"]).await;
    repo.post("checkout", json!({ "branch": "other" }))
        .await
        .expect(200);
    assert_eq!(repo.git(&["status", "--porcelain"]), "A  mine");
    assert_eq!(repo.read("theirs").as_deref(), Some("theirs\n"));
    assert_eq!(repo.read("kept"), None);
}

#[tokio::test]
async fn an_unknown_name_is_not_found_although_there_is_a_master() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.post("branches", json!({ "name": "master" }))
        .await
        .expect(201);
    repo.post("checkout", json!({ "branch": "main" }))
        .await
        .expect(200);
    for name in ["nope", "zz", "abcd", &"0".repeat(40), &"e".repeat(40)] {
        let answer = repo.post("checkout", json!({ "branch": name })).await;
        assert_code(&answer, 404, "GIT_BRANCH_NOT_FOUND");
        assert_eq!(
            repo.git(&["symbolic-ref", "HEAD"]),
            "refs/heads/main",
            "{name}"
        );
    }
    for name in ["", "-f", "--", "a b"] {
        repo.post("checkout", json!({ "branch": name }))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn tags_and_ids_are_checked_out_without_a_branch() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["tag", "-a", "v1", "-m", "one"]);
    repo.write("changed", "two\n");
    repo.add(&["."]).await;
    repo.commit("second").await;
    for name in ["v1", first.as_str(), &first[..8], "main~1"] {
        repo.post("checkout", json!({ "branch": name }))
            .await
            .expect(200);
        let status = repo.status().await;
        assert_eq!(
            (
                status["currentBranch"].as_str(),
                status["detached"].as_bool()
            ),
            (Some("HEAD"), Some(true))
        );
        assert_eq!(repo.git(&["rev-parse", "HEAD"]), first, "{name}");
        assert_eq!(repo.read("changed").as_deref(), Some("one\n"));
        assert_eq!(repo.branches().await["current"], "");
        repo.post("checkout", json!({ "branch": "main" }))
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn branches_are_dropped_unless_they_are_in_use_or_unknown() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    repo.post("branches", json!({ "name": "a" }))
        .await
        .expect(201);
    repo.post("branches", json!({ "name": "b" }))
        .await
        .expect(201);
    assert_code(&repo.delete_branch("b").await, 409, "CONFLICT");
    repo.delete_branch("a").await.expect(204);
    assert_code(&repo.delete_branch("a").await, 404, "GIT_BRANCH_NOT_FOUND");
    repo.git(&["worktree", "add", "-q", "../tree", "main"]);
    assert_code(&repo.delete_branch("main").await, 409, "CONFLICT");
    // Nor can it be checked out a second time, and a refusal leaves the files.
    repo.write("changed", "mine\n");
    repo.post("checkout", json!({ "branch": "main" }))
        .await
        .expect(409);
    assert_eq!(repo.git(&["symbolic-ref", "HEAD"]), "refs/heads/b");
    // A linked work tree is a repository too.
    assert_eq!(
        Repo::at(&agent, "tree").status().await["currentBranch"],
        "main"
    );
    assert_eq!(repo.branches().await["branches"], json!(["b", "main"]));
}

#[tokio::test]
async fn hooks_never_run() {
    let agent = TestAgent::start().await;
    let repo = Repo::new(&agent).await;
    let hooks = repo.path.join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "pre-commit",
        "post-commit",
        "post-checkout",
        "reference-transaction",
        "post-index-change",
    ] {
        use std::os::unix::fs::PermissionsExt;
        let path = hooks.join(hook);
        std::fs::write(
            &path,
            format!(
                "#!/bin/sh\necho {hook} >> {}\nexit 1\n",
                agent.path("hooked")
            ),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    repo.post("branches", json!({ "name": "a" }))
        .await
        .expect(201);
    repo.write("changed", "two\n");
    repo.add(&["."]).await;
    repo.commit("two").await;
    repo.post("checkout", json!({ "branch": "main" }))
        .await
        .expect(200);
    assert!(!std::path::Path::new(&agent.path("hooked")).exists());
}
