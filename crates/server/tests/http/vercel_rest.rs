//! Sources, snapshots and terminals of Vercel Sandbox, with a small program for an agent.

use std::time::Duration;

use alcove_runner_api::{NetworkUsage, RunUsage};
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::Server;
use crate::vercel::{ask, assert_no_null, make, play_agent};

#[tokio::test]
async fn an_archive_is_unpacked_and_one_that_does_not_come_leaves_nothing() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let asked = play_agent(&server, &folder, StatusCode::OK, "application/json", "{}");
    let url = |name: &str| format!("https://files.example/{name}.tgz");
    let runner = &server.kit.runner;
    runner.put_outside(&url("whole"), &["one", "two"], None);
    runner.put_outside(&url("half"), &["one"], Some("the line is cut"));
    let body = |name: &str| json!({"projectId": "p", "name": name, "source": {"type": "tarball", "url": url(name)}});
    make(&server, body("whole")).await;
    let wanted = "/files/unpack?path=%2E&links=true";
    let unpacked = asked
        .lock()
        .unwrap()
        .iter()
        .any(|(_, uri, _)| uri == wanted);
    assert!(unpacked, "{asked:?}");
    for (name, why) in [("half", "the line is cut"), ("none", "status 404")] {
        let (status, refused) =
            ask(&server, "POST", "/v2/sandboxes", &body(name).to_string()).await;
        assert_eq!(
            (status, &refused["error"]["code"]),
            (400, &json!("source_not_fetched")),
            "{refused}"
        );
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        let path = format!("/v2/sandboxes/{name}");
        assert_eq!(ask(&server, "GET", &path, "").await.0, 404, "{name}");
    }
}

#[tokio::test]
async fn a_repository_that_does_not_answer_is_no_fault_of_the_server_and_leaves_nothing() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let error = r#"{"statusCode":502,"error":"Bad Gateway","message":"cannot talk to the remote","code":"GIT_TRANSPORT_FAILED",
        "source":"DAYTONA_DAEMON","timestamp":"","path":"/","method":"POST"}"#;
    let kind = "application/json";
    let asked = play_agent(&server, &folder, StatusCode::BAD_GATEWAY, kind, error);
    let source = json!({"type": "git", "url": "https://forge.example/team/a.git", "depth": 1});
    let body = json!({"projectId": "p", "name": "cloned", "source": source}).to_string();
    let (status, refused) = ask(&server, "POST", "/v2/sandboxes", &body).await;
    // Asked again at once by these clients if it were 5xx.
    assert_eq!(
        (status, &refused["error"]["code"]),
        (400, &json!("git_transport_failed")),
        "{refused}"
    );
    let asked = asked.lock().unwrap().clone();
    let clone = asked.iter().find(|(_, uri, _)| uri == "/git/clone");
    let wanted = &clone.unwrap().2;
    assert_eq!(
        (&wanted["path"], &wanted["depth"]),
        (&json!("a"), &json!(1))
    );
    let path = "/v2/sandboxes/cloned";
    assert_eq!(ask(&server, "GET", path, "").await.0, 404);
}

/// Makes a snapshot of a sandbox, which is started first if it does not run; gives its id.
async fn snapshot(server: &Server, name: &str, body: Value) -> String {
    let (_, running) = ask(
        server,
        "GET",
        &format!("/v2/sandboxes/{name}?resume=true"),
        "",
    )
    .await;
    let session = running["session"]["id"].as_str().unwrap();
    let path = format!("/v2/sandboxes/sessions/{session}/snapshot");
    let (status, taken) = ask(server, "POST", &path, &body.to_string()).await;
    assert_eq!(status, 201, "{taken}");
    assert_no_null(&taken, "");
    // Their order is that of their times.
    server.kit.clock.advance_minutes(1);
    taken["snapshot"]["id"].as_str().unwrap().to_owned()
}

async fn snapshots(server: &Server, query: &str) -> Vec<String> {
    let (status, listed) = ask(
        server,
        "GET",
        &format!("/v2/sandboxes/snapshots?{query}"),
        "",
    )
    .await;
    assert_eq!(status, 200, "{listed}");
    let listed = listed["snapshots"].as_array().unwrap().iter();
    let ids = listed.map(|snapshot| snapshot["id"].as_str().unwrap().to_owned());
    ids.collect()
}

const DAY_MS: i64 = 86_400_000;
const DAY_MINUTES: u64 = 24 * 60;

#[tokio::test]
async fn snapshots_go_when_their_time_is_over_and_not_before() {
    let server = Server::start().await;
    let own = json!({"projectId": "p", "name": "box", "snapshotExpiration": 2 * DAY_MS});
    make(&server, own).await;
    let lasting = snapshot(&server, "box", json!({"expiration": 0})).await;
    let short = snapshot(&server, "box", json!({"expiration": DAY_MS})).await;
    let usual = snapshot(&server, "box", json!({})).await;
    let (_, told) = ask(
        &server,
        "GET",
        &format!("/v2/sandboxes/snapshots/{usual}"),
        "",
    )
    .await;
    let [made, expires] =
        ["createdAt", "expiresAt"].map(|name| told["snapshot"][name].as_i64().unwrap());
    assert_eq!(expires - made, 2 * DAY_MS);
    let all = [&usual, &short, &lasting];
    assert!(snapshots(&server, "project=p").await.iter().eq(all));
    let left = async |wanted: &[&String]| {
        alcove_testkit::eventually("only the others are left", async || {
            snapshots(&server, "project=p")
                .await
                .iter()
                .eq(wanted.iter().copied())
        })
        .await;
    };
    server.kit.clock.advance_minutes(DAY_MINUTES);
    left(&[&usual, &lasting]).await;
    server.kit.clock.advance_minutes(DAY_MINUTES);
    left(&[&lasting]).await;
    server.kit.clock.advance_minutes(400 * DAY_MINUTES);
    assert_eq!(snapshots(&server, "project=p").await, [lasting]);
    let path = "/v2/sandboxes/box?resume=true";
    let (_, running) = ask(&server, "GET", path, "").await;
    let path = format!(
        "/v2/sandboxes/sessions/{}/snapshot",
        running["session"]["id"].as_str().unwrap()
    );
    let (status, refused) = ask(&server, "POST", &path, r#"{"expiration":5}"#).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (400, &json!("bad_request"))
    );
}

#[tokio::test]
async fn only_the_newest_snapshots_stay_where_a_sandbox_wants_that() {
    let server = Server::start().await;
    let own = json!({"projectId": "p", "name": "box", "keepLastSnapshots": {"count": 2}});
    let made = make(&server, own).await;
    assert_eq!(
        made["sandbox"]["keepLastSnapshots"],
        json!({"count": 2, "deleteEvicted": true})
    );
    // What another client made of it is no session's.
    let theirs = json!({"name": "theirs"}).to_string();
    let answer = server
        .ask_with("POST", "/api/sandbox/box/snapshot", &[], &theirs)
        .await;
    assert!(answer.status.is_success(), "{}", answer.text);
    server.kit.clock.advance_minutes(1);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(snapshot(&server, "box", json!({})).await);
    }
    alcove_testkit::eventually("two and theirs are left", async || {
        let left = snapshots(&server, "project=p").await;
        left.len() == 3 && left[0] == ids[3] && left[1] == ids[2]
    })
    .await;
    let change = json!({"keepLastSnapshots": {"count": 1, "deleteEvicted": false, "expiration": 0}, "snapshotExpiration": DAY_MS});
    let (status, changed) = ask(&server, "PATCH", "/v2/sandboxes/box", &change.to_string()).await;
    assert_eq!(status, 200, "{changed}");
    let last = snapshot(&server, "box", json!({})).await;
    for (id, expires) in [(&last, false), (&ids[3], true), (&ids[2], true)] {
        let (_, told) = ask(&server, "GET", &format!("/v2/sandboxes/snapshots/{id}"), "").await;
        assert_eq!(told["snapshot"]["expiresAt"].is_i64(), expires, "{told}");
    }
    let (_, cleared) = ask(
        &server,
        "PATCH",
        "/v2/sandboxes/box",
        r#"{"keepLastSnapshots":null}"#,
    )
    .await;
    assert!(
        cleared["sandbox"].get("keepLastSnapshots").is_none(),
        "{cleared}"
    );
}

#[tokio::test]
async fn the_tree_leads_from_a_snapshot_to_what_was_before_and_after_it() {
    let server = Server::start().await;
    make(&server, json!({"projectId": "p", "name": "box"})).await;
    let mut line = Vec::new();
    for _ in 0..3 {
        line.push(snapshot(&server, "box", json!({})).await);
    }
    // A branch goes off at the second.
    let source = json!({"projectId": "p", "name": "branch", "source": {"type": "snapshot", "snapshotId": line[1]}});
    make(&server, source).await;
    let branch = snapshot(&server, "branch", json!({})).await;
    let tree = async |id: &str, more: &str| {
        let path = format!("/v2/sandboxes/snapshots/tree?project=p&snapshotId={id}{more}");
        let (status, tree) = ask(&server, "GET", &path, "").await;
        assert_eq!(status, 200, "{tree}");
        assert_no_null(&tree, "");
        tree
    };
    let ids = |tree: &Value| -> Vec<String> {
        let nodes = tree["snapshots"].as_array().unwrap().iter();
        nodes
            .map(|node| node["snapshot"]["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let up = tree(&line[2], "&sortOrder=desc").await;
    assert_eq!(ids(&up), [line[1].clone(), line[0].clone()]);
    assert_eq!(up["pagination"]["next"], Value::Null);
    let anchor = &up["anchor"];
    assert_eq!(anchor["snapshot"]["parentId"], line[1].as_str());
    assert_eq!(
        (&anchor["count"], &anchor["siblings"][0]["id"]),
        (&json!("2"), &json!(branch))
    );
    let down = tree(&line[0], "&sortOrder=asc").await;
    assert_eq!(ids(&down), [line[1].clone(), branch.clone()]);
    assert_eq!(down["snapshots"][1]["siblings"][0]["id"], line[2].as_str());
    // Page by page it is the same way.
    let first = tree(&line[2], "&limit=1").await;
    assert_eq!(ids(&first), [line[1].clone()]);
    let next = first["pagination"]["next"].as_str().unwrap();
    let second = tree(next, "&limit=1").await;
    assert_eq!(ids(&second), [line[0].clone()]);
    assert_eq!(second["pagination"]["next"], Value::Null);
    assert_eq!(
        ask(
            &server,
            "GET",
            "/v2/sandboxes/snapshots/tree?snapshotId=none",
            ""
        )
        .await
        .0,
        404
    );
}

#[tokio::test]
async fn snapshots_are_found_by_project_sandbox_and_time_and_go_with_their_sandbox_if_nobody_needs_them()
 {
    let server = Server::start().await;
    make(&server, json!({"projectId": "p", "name": "box"})).await;
    make(&server, json!({"projectId": "q", "name": "other"})).await;
    let one = snapshot(&server, "box", json!({})).await;
    let two = snapshot(&server, "box", json!({})).await;
    let other = snapshot(&server, "other", json!({})).await;
    assert_eq!(
        snapshots(&server, "project=p").await,
        [two.clone(), one.clone()]
    );
    let of_other_project = snapshots(&server, "project=q").await;
    assert_eq!(of_other_project, std::slice::from_ref(&other));
    let oldest = snapshots(&server, "project=p&name=box&sortOrder=asc&limit=1").await;
    assert_eq!(oldest, std::slice::from_ref(&one));
    // Clients before 2 turn pages by times.
    let (_, page) = ask(
        &server,
        "GET",
        "/v1/sandboxes/snapshots?project=p&limit=1",
        "",
    )
    .await;
    assert_eq!(page["snapshots"][0]["id"], two.as_str());
    let until = page["pagination"]["next"].as_i64().unwrap();
    let path = format!("/v1/sandboxes/snapshots?project=p&limit=1&until={until}");
    let (_, page) = ask(&server, "GET", &path, "").await;
    assert_eq!(page["snapshots"][0]["id"], one.as_str());
    assert_eq!(page["pagination"]["next"], Value::Null);
    let source = json!({"projectId": "p", "name": "needs", "source": {"type": "snapshot", "snapshotId": one}});
    make(&server, source).await;
    let path = "/v2/sandboxes/box?projectId=p&deleteOrphanSnapshots=true";
    assert_eq!(ask(&server, "DELETE", path, "").await.0, 200);
    alcove_testkit::eventually("only what is needed is left", async || {
        snapshots(&server, "project=p").await == [one.clone()]
    })
    .await;
    assert_eq!(snapshots(&server, "project=q").await, [other]);
}

#[tokio::test]
async fn what_a_session_used_is_told_once_it_is_over() {
    let server = Server::start().await;
    let session = make(&server, json!({"name": "box"})).await;
    for (object, field) in [
        ("session", "activeCpuDurationMs"),
        ("session", "networkTransfer"),
        ("sandbox", "totalDurationMs"),
    ] {
        assert_eq!(session[object].get(field), None, "{field}");
    }
    server.kit.runner.set_used(RunUsage {
        cpu_used: Some(Duration::from_millis(40)),
        network: Some(NetworkUsage {
            received_bytes: 500,
            sent_bytes: 60,
        }),
    });
    let id = session["session"]["id"].as_str().unwrap();
    let stop = format!("/v2/sandboxes/sessions/{id}/stop");
    let (status, ended) = ask(&server, "POST", &stop, "").await;
    assert_eq!(status, 200, "{ended}");
    assert_no_null(&ended, "");
    assert_eq!(ended["session"]["activeCpuDurationMs"], 40);
    let transfer = json!({"ingress": 500, "egress": 60});
    assert_eq!(ended["session"]["networkTransfer"], transfer);
    let (_, found) = ask(&server, "GET", "/v2/sandboxes/box", "").await;
    let sandbox = &found["sandbox"];
    assert_eq!(sandbox["totalActiveCpuDurationMs"], 40);
    assert_eq!(sandbox["totalIngressBytes"], 500);
    assert_eq!(sandbox["totalEgressBytes"], 60);
    assert_eq!(sandbox["totalDurationMs"], found["session"]["duration"]);
}

#[tokio::test]
async fn a_terminal_is_opened_by_a_token_of_its_own_for_a_minute() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let asked = play_agent(&server, &folder, StatusCode::OK, "text/plain", "opened");
    let made = make(&server, json!({"projectId": "p", "name": "box"})).await;
    let id = made["session"]["id"].as_str().unwrap();
    let path = format!("/api/v2/sandboxes/sessions/{id}/interactive");
    let (status, told) = ask(&server, "POST", &path, "{}").await;
    assert_eq!(status, 200, "{told}");
    let url = told["url"].as_str().unwrap();
    assert!(url.starts_with("ws") && url.ends_with(&path), "{url}");
    let open = async |token: &str| {
        let request = Request::builder().uri(format!("{path}?token={token}"));
        let answer = server.send(request.body(Body::empty()).unwrap()).await;
        (answer.status, answer.text)
    };
    let token = told["token"].as_str().unwrap();
    assert_eq!(open(token).await, (StatusCode::OK, "opened".to_owned()));
    let (_, uri, _) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(uri, "/exec/interactive", "the token stays here");
    for wrong in ["", "x", "box", id] {
        assert_eq!(open(wrong).await.0, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    server.kit.clock.advance_minutes(2);
    assert_eq!(open(token).await.0, StatusCode::UNAUTHORIZED);
    ask(
        &server,
        "POST",
        &format!("/v2/sandboxes/sessions/{id}/stop"),
        "",
    )
    .await;
    assert_eq!(ask(&server, "POST", &path, "{}").await.0, 410);
}

#[tokio::test]
async fn memory_alone_is_a_size_a_status_is_looked_for_and_a_fork_has_its_own_environment() {
    let server = Server::start().await;
    make(&server, json!({"projectId": "p", "name": "box"})).await;
    let more = json!({"resources": {"memory": 4096}}).to_string();
    let (status, grown) = ask(&server, "PATCH", "/v2/sandboxes/box", &more).await;
    let sizes = (&grown["sandbox"]["vcpus"], &grown["sandbox"]["memory"]);
    assert_eq!((status, sizes), (200, (&json!(2), &json!(4096))), "{grown}");
    for (word, found) in [("running", 1), ("stopped", 0), ("aborted", 0)] {
        let path = format!("/v2/sandboxes?project=p&status={word}");
        let (_, listed) = ask(&server, "GET", &path, "").await;
        assert_eq!(listed["pagination"]["count"], found, "{word}");
    }
    let odd = ask(&server, "GET", "/v2/sandboxes?status=started", "").await;
    assert_eq!(odd.0, 400, "{}", odd.1);
    let forking = json!({"name": "copy", "env": {"A": "2"}, "timeout": 30_000}).to_string();
    let (status, forked) = ask(&server, "POST", "/v2/sandboxes/box/fork", &forking).await;
    assert_eq!(status, 200, "{forked}");
    assert_eq!(forked["session"]["status"], "running");
    let copy = server.ask("GET", "/api/sandbox/copy").await.ok();
    assert_eq!(copy["env"], json!({"A": "2"}));
}

#[tokio::test]
async fn a_key_finds_its_user_its_one_team_and_any_project() {
    let server = Server::start().await;
    let own = server.kit.caller.organization.to_string();
    let (_, me) = ask(&server, "GET", "/api/users/me", "").await;
    let (status, user) = ask(&server, "GET", "/v2/user", "").await;
    assert_eq!(status, 200, "{user}");
    assert_no_null(&user, "");
    assert_eq!(user["user"]["id"], me["id"]);
    assert_eq!(user["user"]["username"], me["name"]);
    assert_eq!(user["user"]["defaultTeamId"], own.as_str());
    let (_, page) = ask(&server, "GET", "/v2/teams?limit=20", "").await;
    assert_eq!(page["pagination"], json!({"count": 1, "next": null}));
    let team = &page["teams"][0];
    assert_eq!((&team["id"], &team["slug"]), (&json!(own), &json!(own)));
    assert_eq!(team["membership"]["role"], "OWNER");
    let path = format!("/v2/teams/{own}");
    assert_eq!(ask(&server, "GET", &path, "").await, (200, team.clone()));
    for (path, status) in [
        ("/v2/teams/00000000-0000-4000-8000-0000000000ff", 404),
        ("/v2/teams?limit=0", 400),
        ("/v2/teams?limit=101", 400),
        ("/v2/teams?until=x", 400),
    ] {
        assert_eq!(ask(&server, "GET", path, "").await.0, status, "{path}");
    }
    let (_, project) = ask(&server, "GET", "/v2/projects/mine?slug=any", "").await;
    let wanted = json!({"id": "mine", "name": "mine", "accountId": own});
    assert_eq!(project, wanted);
}

#[tokio::test]
async fn a_snapshot_ends_the_session_and_others_begin_with_it() {
    let server = Server::start().await;
    let made = make(&server, json!({"projectId": "p", "name": "box"})).await;
    let id = made["session"]["id"].as_str().unwrap();
    let (status, taken) = ask(
        &server,
        "POST",
        &format!("/v2/sandboxes/sessions/{id}/snapshot"),
        "",
    )
    .await;
    assert_eq!(status, 201, "{taken}");
    assert_no_null(&taken, "");
    assert_eq!(taken["session"]["status"], "stopped");
    let snapshot = taken["snapshot"]["id"].as_str().unwrap();
    let (_, seen) = ask(&server, "GET", "/v2/sandboxes/box", "").await;
    assert_eq!(seen["sandbox"]["currentSnapshotId"], snapshot);
    let (_, listed) = ask(
        &server,
        "GET",
        "/v2/sandboxes/snapshots?project=p&name=box",
        "",
    )
    .await;
    assert_eq!(listed["snapshots"][0]["id"], snapshot);
    let source = json!({"projectId": "p", "name": "next", "source": {"type": "snapshot", "snapshotId": snapshot}});
    let next = make(&server, source).await;
    assert_eq!(next["session"]["sourceSnapshotId"], snapshot);
    let (status, forked) = ask(
        &server,
        "POST",
        "/v2/sandboxes/next/fork?projectId=p",
        r#"{"name":"fork"}"#,
    )
    .await;
    assert_eq!(status, 200, "{forked}");
    assert_eq!(forked["session"]["status"], "running");
    let path = format!("/v2/sandboxes/snapshots/{snapshot}");
    assert_eq!(
        ask(&server, "DELETE", &path, "").await.1["snapshot"]["status"],
        "deleted"
    );
}
