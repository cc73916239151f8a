//! The routes of Vercel Sandbox, with a small program for an agent.

use std::sync::{Arc, Mutex};

use alcove_control::AgentConnection;
use alcove_server::{Access, VERCEL_ROUTES};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use crate::support::Server;

/// What the agent was asked: method, path with query, and body.
pub type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Answers in the name of every sandbox, with a status and a body.
pub fn play_agent(
    server: &Server,
    folder: &tempfile::TempDir,
    status: StatusCode,
    kind: &'static str,
    body: &'static str,
) -> Asked {
    let socket = folder.path().join(format!("{}.sock", status.as_u16()));
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let agent = Router::new().fallback(move |request: Request<Body>| async move {
        let (parts, sent) = request.into_parts();
        let sent = axum::body::to_bytes(sent, 1 << 20).await.unwrap();
        let sent = serde_json::from_slice(&sent).unwrap_or_default();
        let place = (parts.method.to_string(), parts.uri.to_string(), sent);
        assert!(
            !parts.headers.contains_key("authorization"),
            "the key stays here"
        );
        noted.lock().unwrap().push(place);
        (status, [("content-type", kind)], body).into_response()
    });
    tokio::spawn(async move { axum::serve(listener, agent).await });
    server.kit.runner.on_dial(move |_| {
        let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_nonblocking(true).unwrap();
        Ok(AgentConnection {
            stream: Box::new(UnixStream::from_std(stream).unwrap()),
            token: "secret".to_owned(),
        })
    });
    asked
}

const NDJSON: &str = "application/x-ndjson";

#[tokio::test]
async fn a_command_reaches_the_agent_with_every_field_and_its_answer_is_passed_on() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"command\":{\"exitCode\":null}}\n{\"command\":{\"exitCode\":0}}\n";
    let asked = play_agent(&server, &folder, StatusCode::OK, NDJSON, lines);
    server.create(json!({"name": "a"})).await;
    let body = json!({
        "command": "ls", "args": ["-l", "a b"], "env": {"A": "b"}, "cwd": "/tmp", "sudo": true,
        "timeout": 5000, "wait": true, "logs": true, "attachStdin": true,
    });
    for prefix in ["", "/api"] {
        let path = format!("{prefix}/v2/sandboxes/sessions/a/cmd?teamId=t&cmdId=cmd_mine");
        let answer = server.ask_with("POST", &path, &[], &body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.headers["content-type"], NDJSON);
        assert_eq!(answer.text, lines);
        let (method, uri, sent) = asked.lock().unwrap().pop().unwrap();
        assert_eq!((method.as_str(), uri.as_str()), ("POST", "/exec"));
        let mut wanted = body.clone();
        wanted["sessionId"] = json!("a");
        assert_eq!(sent, wanted);
    }
}

#[tokio::test]
async fn older_paths_lead_to_the_same_place() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let asked = play_agent(&server, &folder, StatusCode::OK, "application/json", "{}");
    server.create(json!({"name": "a"})).await;
    for (method, path, body, wanted) in [
        ("POST", "/v1/sandboxes/a/cmd", r#"{"command":"x"}"#, "/exec"),
        ("GET", "/v1/sandboxes/a/cmd", "", "/exec"),
        ("GET", "/v1/sandboxes/a/cmd/cmd_1", "", "/exec/cmd%5F1"),
        (
            "GET",
            "/v2/sandboxes/sessions/a/cmd/c?wait=true",
            "",
            "/exec/c?wait=true",
        ),
        ("GET", "/v1/sandboxes/a/cmd/c/logs", "", "/exec/c/logs"),
        (
            "POST",
            "/v1/sandboxes/a/c/kill",
            r#"{"signal":9}"#,
            "/exec/c/kill",
        ),
        (
            "POST",
            "/v2/sandboxes/sessions/a/cmd/c/kill",
            "",
            "/exec/c/kill",
        ),
        (
            "POST",
            "/v1/sandboxes/a/fs/read",
            r#"{"path":"x","cwd":"/t"}"#,
            "/files/download?path=%2Ft%2Fx",
        ),
        (
            "POST",
            "/v1/sandboxes/a/fs/mkdir",
            r#"{"path":"/x"}"#,
            "/files/folder?path=%2Fx&parents=false",
        ),
        (
            "POST",
            "/v2/sandboxes/sessions/a/fs/write",
            "x",
            "/files/unpack?path=%2E",
        ),
    ] {
        let answer = server.ask_with(method, path, &[], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        let (_, uri, _) = asked.lock().unwrap().pop().unwrap();
        assert_eq!(uri, wanted, "{path}");
    }
}

#[tokio::test]
async fn input_reaches_a_command_and_one_that_does_not_read_is_told_with_how_far_it_came() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let command = r#"{"id":"c","name":"cat","args":[],"cwd":"/","sessionId":"a","sandboxId":"a","exitCode":null,"startedAt":5}"#;
    let stuck: &'static str =
        format!(r#"{{"command":{command},"bytesWritten":7,"isStuck":true}}"#).leak();
    let asked = play_agent(&server, &folder, StatusCode::OK, "application/json", stuck);
    server.create(json!({"name": "a"})).await;
    let path = "/api/v2/sandboxes/sessions/a/cmd/c/stdin";
    let body = r#"{"data":"eyJhIjoxfQ==","offset":3,"close":true}"#;
    let (status, told) = ask(&server, "POST", path, body).await;
    assert_eq!(status, 504, "{told}");
    assert_eq!(told["error"]["bytesWritten"], 7);
    let (_, uri, sent) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(uri, "/exec/c/stdin?close=true&offset=3");
    assert_eq!(sent, json!({"a": 1}), "as it was before base64");
    for wrong in [r#"{"data":"?"}"#, r#"{"offset":-1}"#, r#"{"close":"x"}"#] {
        assert_eq!(ask(&server, "POST", path, wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn failures_have_the_shape_that_these_clients_read() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let refusal = r#"{"statusCode":400,"error":"Bad Request","message":"nope: no such executable",
        "code":"EXECUTABLE_NOT_FOUND","source":"DAYTONA_DAEMON","timestamp":"","path":"/","method":"GET"}"#;
    play_agent(
        &server,
        &folder,
        StatusCode::BAD_REQUEST,
        "application/json",
        refusal,
    );
    server.create(json!({"name": "a"})).await;
    let run = async |name: &str, body: &str| {
        let path = format!("/api/v2/sandboxes/sessions/{name}/cmd");
        let answer = server.ask_with("POST", &path, &[], body).await;
        let error = answer.json()["error"].clone();
        assert_eq!(
            answer.json().as_object().unwrap().len(),
            1,
            "{}",
            answer.text
        );
        (
            answer.status.as_u16(),
            error["code"].as_str().unwrap().to_owned(),
        )
    };
    let good = r#"{"command":"nope"}"#;
    assert_eq!(
        run("a", good).await,
        (400, "executable_not_found".to_owned())
    );
    assert_eq!(run("a", "{}").await, (400, "bad_request".to_owned()));
    assert_eq!(run("a", r#"{"command":"x","timeout":5}"#).await.0, 400);
    assert_eq!(run("a", r#"{"command":"x","args":"y"}"#).await.0, 400);
    assert_eq!(run("none", good).await, (404, "not_found".to_owned()));
    server.ask("POST", "/api/sandbox/a/stop").await.ok();
    assert_eq!(run("a", good).await, (410, "sandbox_stopped".to_owned()));
    let unknown = server.ask("GET", "/v2/sandboxes/nothing/here").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.json()["error"]["code"], "not_found");
}

#[tokio::test]
async fn no_route_answers_without_a_valid_key_or_tells_of_what_is_not_ones_own() {
    let server = Server::start().await;
    for route in VERCEL_ROUTES {
        assert_eq!(route.access, Access::Key, "{route:?}");
        let path = route.path.replace(['{', '}'], "");
        let method = route.method.to_uppercase();
        let body = r#"{"command":"x","path":"x","projectId":"p","name":"x","duration":5}"#;
        for wrong in [None, Some("Bearer wrong"), Some("Basic x")] {
            let mut request = Request::builder().method(method.as_str()).uri(&path);
            if let Some(wrong) = wrong {
                request = request.header("authorization", wrong);
            }
            let answer = server.send(request.body(Body::from(body)).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{route:?}");
            assert_eq!(answer.json()["error"]["code"], "unauthorized");
        }
        let makes = method == "POST" && route.path.ends_with("{drive}");
        // Its credential is a token of its own.
        let has_token = method == "GET" && route.path.ends_with("/interactive");
        // Any word is one.
        let is_project = route.path.contains("/projects/");
        if route.path.contains('{') && !makes && !has_token && !is_project {
            let answer = server.ask_with(&method, &path, &[], body).await;
            assert_eq!(
                answer.status,
                StatusCode::NOT_FOUND,
                "{route:?} {}",
                answer.text
            );
        }
    }
}

/// Makes a sandbox by the newest path and gives the answer.
pub async fn make(server: &Server, body: Value) -> Value {
    let answer = server
        .ask_with("POST", "/api/v3/sandboxes?teamId=t", &[], &body.to_string())
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

pub async fn ask(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = server.ask_with(method, path, &[], body).await;
    (answer.status.as_u16(), answer.json())
}

/// Nowhere but for an exit code and the end of a list: these clients take null for a mistake.
pub fn assert_no_null(value: &Value, name: &str) {
    match value {
        Value::Null => assert!(
            matches!(name, "exitCode" | "next" | "prev"),
            "{name} is null"
        ),
        Value::Array(list) => list.iter().for_each(|value| assert_no_null(value, name)),
        Value::Object(map) => map
            .iter()
            .for_each(|(name, value)| assert_no_null(value, name)),
        _ => {}
    }
}

#[tokio::test]
async fn a_new_sandbox_runs_its_first_session_on_the_terms_that_were_asked_for() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(
        &server,
        &folder,
        StatusCode::OK,
        "application/json",
        r#"{"dir":"/home/me"}"#,
    );
    let made = make(&server, json!({
        "projectId": "p", "name": "box", "ports": [3000], "timeout": 60_000, "tags": {"a": "b"}, "env": {"A": "1"},
        "networkPolicy": {"allow": ["example.com"]}, "__interactive": true,
    }))
    .await;
    assert_no_null(&made, "");
    let (sandbox, session) = (&made["sandbox"], &made["session"]);
    assert_eq!(sandbox["name"], "box");
    assert_eq!(sandbox["persistent"], true);
    assert_eq!(sandbox["tags"], json!({"a": "b"}));
    assert_eq!(sandbox["currentSessionId"], session["id"]);
    assert_eq!(session["status"], "running");
    assert_eq!(session["cwd"], "/home/me");
    assert_eq!(session["timeout"], 60_000);
    assert_eq!(
        session["networkPolicy"],
        json!({"mode": "custom", "allowedDomains": ["example.com"]})
    );
    assert!(session["runtime"].is_string() && session["interactivePort"].as_u64().unwrap() > 0);
    assert_eq!(made["routes"][0]["port"], 3000);
    assert!(
        made["routes"][0]["url"]
            .as_str()
            .unwrap()
            .contains("://3000-")
    );
    for (query, status) in [("projectId=p", 200), ("projectId=q", 404), ("", 200)] {
        let (answered, body) = ask(&server, "GET", &format!("/v2/sandboxes/box?{query}"), "").await;
        assert_eq!(answered, status, "{query} {body}");
    }
    let (_, listed) = ask(&server, "GET", "/v2/sandboxes?project=p&tags=a:b", "").await;
    assert_eq!(listed["sandboxes"][0]["name"], "box");
    assert_eq!(listed["pagination"], json!({"count": 1, "next": null}));
    let (_, other) = ask(&server, "GET", "/v2/sandboxes?project=q", "").await;
    assert_eq!(other["pagination"]["count"], 0);
}

#[tokio::test]
async fn a_persistent_sandbox_gets_a_new_session_with_each_start_and_callers_at_once_the_same() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(
        &server,
        &folder,
        StatusCode::OK,
        "application/json",
        r#"{"dir":"/w"}"#,
    );
    let made = make(
        &server,
        json!({"projectId": "p", "name": "box", "timeout": 60_000}),
    )
    .await;
    let first = made["session"]["id"].as_str().unwrap().to_owned();
    let stop = format!("/v2/sandboxes/sessions/{first}/stop");
    for _ in 0..2 {
        let (status, ended) = ask(&server, "POST", &stop, "").await;
        assert_eq!(
            (status, &ended["session"]["status"]),
            (200, &json!("stopped")),
            "{ended}"
        );
        assert_no_null(&ended, "");
    }
    let (_, seen) = ask(&server, "GET", "/v2/sandboxes/box", "").await;
    assert_eq!(
        seen["session"]["id"],
        first.as_str(),
        "looking starts nothing"
    );
    let cmd = format!("/v2/sandboxes/sessions/{first}/cmd");
    let run = r#"{"command":"true"}"#;
    assert_eq!(
        ask(&server, "POST", &cmd, run).await.1["error"]["code"],
        "sandbox_stopped"
    );
    let resume = || ask(&server, "GET", "/v2/sandboxes/box?resume=true", "");
    let (one, two) = tokio::join!(resume(), resume());
    let second = one.1["session"]["id"].as_str().unwrap().to_owned();
    assert_ne!(second, first);
    assert_eq!(two.1["session"]["id"], second.as_str());
    let began = [&one.1["resumed"], &two.1["resumed"]];
    assert_eq!(
        began.iter().filter(|began| **began == true).count(),
        1,
        "{began:?}"
    );
    // The one that is over stays over.
    assert_eq!(ask(&server, "POST", &cmd, run).await.0, 410);
    let cmd = format!("/v2/sandboxes/sessions/{second}/cmd");
    assert_eq!(ask(&server, "POST", &cmd, run).await.0, 200);
    let never = format!("{}9/cmd", cmd.trim_end_matches("/cmd"));
    assert_eq!(ask(&server, "POST", &never, run).await.0, 404);
}

#[tokio::test]
async fn a_session_ends_at_its_time_however_busy_it_is_and_can_be_given_more() {
    let server = Server::start().await;
    let made = make(
        &server,
        json!({"projectId": "p", "name": "box", "timeout": 60_000}),
    )
    .await;
    let id = made["session"]["id"].as_str().unwrap();
    let extend = format!("/v2/sandboxes/sessions/{id}/extend-timeout");
    let (status, longer) = ask(&server, "POST", &extend, r#"{"duration":120000}"#).await;
    assert_eq!(
        (status, &longer["session"]["timeout"]),
        (200, &json!(180_000)),
        "{longer}"
    );
    let status_now =
        async || ask(&server, "GET", "/v2/sandboxes/box", "").await.1["sandbox"]["status"].clone();
    server.kit.clock.advance_minutes(2);
    server.ask("POST", "/api/sandbox/box/last-activity").await;
    assert_eq!(status_now().await, "running");
    server.kit.clock.advance_minutes(2);
    alcove_testkit::eventually("its time is up", async || status_now().await == "stopped").await;
    assert_eq!(
        ask(&server, "POST", &extend, r#"{"duration":1000}"#)
            .await
            .0,
        410
    );
    // A start of any other kind has no such end.
    server.ask("POST", "/api/sandbox/box/start").await.ok();
    server.kit.clock.advance_minutes(5);
    assert_eq!(status_now().await, "running");
}

#[tokio::test]
async fn what_is_not_persistent_does_not_come_back() {
    let server = Server::start().await;
    let body = json!({"projectId": "p", "ports": [], "runtime": "node22"}).to_string();
    let (status, made) = ask(&server, "POST", "/v1/sandboxes?teamId=t", &body).await;
    assert_eq!(status, 200, "{made}");
    let id = made["sandbox"]["id"].as_str().unwrap();
    assert_eq!(made["sandbox"]["runtime"], "node22");
    let path = format!("/v1/sandboxes/{id}");
    assert_eq!(
        ask(&server, "GET", &path, "").await.1["sandbox"]["status"],
        "running"
    );
    let (_, ended) = ask(&server, "POST", &format!("{path}/stop"), "").await;
    assert_eq!(ended["sandbox"]["status"], "stopped");
    let (_, page) = ask(&server, "GET", "/v1/sandboxes?project=p", "").await;
    assert_eq!(page["sandboxes"][0]["id"], id);
    assert_eq!(
        page["pagination"],
        json!({"count": 1, "next": null, "prev": null})
    );
    let name = page["sandboxes"][0]["sourceSandboxName"].as_str().unwrap();
    let (status, gone) = ask(
        &server,
        "GET",
        &format!("/v2/sandboxes/{name}?resume=true"),
        "",
    )
    .await;
    assert_eq!(
        (status, &gone["error"]["code"]),
        (410, &json!("snapshot_not_found"))
    );
}

#[tokio::test]
async fn terms_are_changed_and_what_is_not_offered_is_refused_by_name() {
    let server = Server::start().await;
    make(&server, json!({"projectId": "p", "name": "box"})).await;
    let change = json!({"tags": {"c": "d"}, "ports": [8080], "timeout": 90_000, "networkPolicy": {"mode": "deny-all"}});
    let (status, changed) = ask(&server, "PATCH", "/v2/sandboxes/box", &change.to_string()).await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(changed["sandbox"]["tags"], json!({"c": "d"}));
    assert_eq!(
        changed["sandbox"]["networkPolicy"],
        json!({"mode": "deny-all"})
    );
    assert_eq!(changed["routes"][0]["port"], 8080);
    for (method, path, body) in [
        (
            "POST",
            "/v2/sandboxes",
            json!({"source": {"type": "floppy", "url": "x"}}),
        ),
        (
            "POST",
            "/v2/sandboxes",
            json!({"mounts": {"/x": {"drive": "d", "mode": "snapshot"}}}),
        ),
        (
            "PATCH",
            "/v2/sandboxes/box",
            json!({"mounts": {"/x": {"drive": "d", "mode": "snapshot"}}}),
        ),
        (
            "PATCH",
            "/v2/sandboxes/box",
            json!({"resources": {"memory": 3000}}),
        ),
        (
            "POST",
            "/v2/sandboxes",
            json!({"failoverRegions": ["sfo1"]}),
        ),
        (
            "POST",
            "/v2/sandboxes",
            json!({"networkPolicy": {"subnets": {"deny": ["10.0.0.0/8"]}}}),
        ),
        (
            "PATCH",
            "/v2/sandboxes/box",
            json!({"currentSnapshotId": "x"}),
        ),
    ] {
        let (status, refused) = ask(&server, method, path, &body.to_string()).await;
        assert_eq!(
            (status, &refused["error"]["code"]),
            (400, &json!("not_supported")),
            "{path} {body}"
        );
    }
    for body in [
        json!({"name": "sessions"}),
        json!({"name": "a b"}),
        json!({"timeout": 10}),
        json!({"ports": [80]}),
        json!({"resources": {"vcpus": 3}}),
        json!({"tags": {"vercel.project": "x"}}),
        json!({"snapshotExpiration": 5}),
        json!({"keepLastSnapshots": {"count": 11}}),
        json!({"source": {"type": "tarball", "url": "x"}}),
    ] {
        let (status, refused) = ask(&server, "POST", "/v2/sandboxes", &body.to_string()).await;
        assert_eq!(
            (status, &refused["error"]["code"]),
            (400, &json!("bad_request")),
            "{body}"
        );
    }
    let (status, gone) = ask(&server, "DELETE", "/v2/sandboxes/box", "").await;
    assert_eq!((status, &gone["sandbox"]["name"]), (200, &json!("box")));
    assert_eq!(ask(&server, "GET", "/v2/sandboxes/box", "").await.0, 404);
}
