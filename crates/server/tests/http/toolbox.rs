//! The toolbox proxy behind the real control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alcove_control::AgentConnection;
use axum::Router;
use http::StatusCode;
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};

use crate::support::Server;

/// Lets one small program answer for every sandbox; the number counts connections to it.
pub fn play_agent(server: &Server, folder: &tempfile::TempDir) -> Arc<AtomicUsize> {
    let socket = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let agent = Router::new().fallback(|uri: http::Uri| async move {
        let status = match uri.path() {
            "/accepted" => StatusCode::ACCEPTED,
            "/made" => StatusCode::CREATED,
            _ => StatusCode::OK,
        };
        (status, format!("agent: {uri}"))
    });
    tokio::spawn(async move { axum::serve(listener, agent).await });
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dials);
    server.kit.runner.on_dial(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_nonblocking(true).unwrap();
        Ok(AgentConnection {
            stream: Box::new(UnixStream::from_std(stream).unwrap()),
            token: "secret".to_owned(),
        })
    });
    dials
}

#[tokio::test]
async fn a_toolbox_call_reaches_the_agent_by_id_by_name_and_by_the_old_path() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    let made = server.create(json!({"name": "a"})).await;
    for path in [
        format!("/toolbox/{}/files?path=%2F", made["id"].as_str().unwrap()),
        "/toolbox/a/files?path=%2F".to_owned(),
        "/api/toolbox/a/toolbox/files?path=%2F".to_owned(),
    ] {
        let answer = server.ask("GET", &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.text, "agent: /files?path=%2F");
    }
}

#[tokio::test]
async fn what_is_accepted_is_plainly_done_to_clients_of_the_old_path() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    server.create(json!({"name": "a"})).await;
    for (path, status) in [
        ("/toolbox/a/accepted", StatusCode::ACCEPTED),
        ("/api/toolbox/a/toolbox/accepted", StatusCode::OK),
        ("/api/toolbox/a/toolbox/made", StatusCode::CREATED),
    ] {
        assert_eq!(server.ask("POST", path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_stopped_sandbox_is_a_bad_request_that_names_its_state() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let dials = play_agent(&server, &folder);
    server.create(json!({"name": "a"})).await;
    server.ask("GET", "/toolbox/a/files").await;
    server.ask("POST", "/api/sandbox/a/stop").await.ok();
    let answer = server.ask("GET", "/toolbox/a/files").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let body = answer.json();
    assert_eq!(body["code"], "SANDBOX_NOT_STARTED", "{body}");
    assert_eq!(body["details"]["state"], "stopped", "{body}");
    assert_eq!(body["source"], "DAYTONA_PROXY", "{body}");

    // A new start is a new agent: connections to the old one are not used.
    let before = dials.load(Ordering::SeqCst);
    server.ask("POST", "/api/sandbox/a/start").await.ok();
    let answer = server.ask("GET", "/toolbox/a/files").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(dials.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn a_toolbox_call_counts_as_activity_unless_it_asks_not_to() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    server
        .create(json!({"name": "a", "autoStopInterval": 10}))
        .await;
    let stopped_after = async |headers: &[(&str, &str)], minutes: u64| {
        server.kit.clock.advance_minutes(minutes);
        server.ask_with("GET", "/toolbox/a/x", headers, "").await;
    };
    stopped_after(&[], 8).await;
    stopped_after(&[], 8).await;
    let state = server.ask("GET", "/api/sandbox/a").await.ok()["state"].clone();
    assert_eq!(state, "started", "it was used 8 minutes ago and now");
    stopped_after(&[("x-daytona-skip-last-activity-update", "true")], 8).await;
    server.kit.clock.advance_minutes(3);
    alcove_testkit::eventually("the sandbox is stopped", async || {
        server.ask("GET", "/api/sandbox/a").await.ok()["state"] == "stopped"
    })
    .await;
}
