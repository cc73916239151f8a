//! Snapshots from Dockerfiles with the real server: made, used, removed, and built on after a kill.

use alcove_api_types::daytona::{CreateSandbox, SandboxState};
use alcove_e2e::host::names;
use alcove_e2e::server::TestServer;
use alcove_e2e::wait;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{named, run};

async fn create(server: &TestServer, name: &str, dockerfile: &str) -> Value {
    let body = json!({"name": name, "buildInfo": {"dockerfileContent": dockerfile}}).to_string();
    let answer = server.raw().ask("POST", "/api/snapshots", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

async fn settles(server: &TestServer, name: &str, wanted: &str) {
    wait::until(&format!("{name} becomes {wanted}"), async || {
        let answer = server
            .raw()
            .ask("GET", &format!("/api/snapshots/{name}"), "")
            .await;
        let found = answer.json();
        if found["state"] == wanted {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
}

async fn log(server: &TestServer, name: &str, query: &str) -> String {
    let path = format!("/api/snapshots/{name}/build-logs{query}");
    let answer = server.raw().ask("GET", &path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn a_built_snapshot_makes_sandboxes_and_its_log_is_followed_to_the_end() {
    let server = TestServer::start().await;
    let text = "FROM default\nUSER root\nRUN echo made > /made && echo said\nENV GREETING=hello\nUSER daytona\n";
    create(&server, "built", text).await;
    let followed = log(&server, "built", "?follow=true").await;
    assert!(
        followed.contains("said\n") && followed.contains("Built in"),
        "{followed}"
    );
    settles(&server, "built", "active").await;
    let request = CreateSandbox {
        snapshot: Some("built".to_owned()),
        ..named("box")
    };
    let sandbox = server.client().create(&request).await.expect("it is made");
    assert_eq!(sandbox.state, Some(SandboxState::Started));
    let command = "cat /made; echo $GREETING; id -un";
    let output = run(&server.client(), &sandbox.id, command).await;
    assert_eq!(output, "made\nhello\ndaytona\n");

    create(
        &server,
        "broken",
        "FROM default\nUSER root\nRUN echo why; exit 9\n",
    )
    .await;
    settles(&server, "broken", "build_failed").await;
    assert!(log(&server, "broken", "").await.contains("why\n"));
    server.finish().await;
}

#[tokio::test]
async fn a_build_goes_on_behind_its_finished_steps_after_a_kill() {
    let mut server = TestServer::start().await;
    let text =
        "FROM default\nUSER root\nRUN echo 1 > /one\nRUN echo begun; sleep 3; echo 2 > /two\n";
    create(&server, "built", text).await;
    wait::until("the second step runs", async || {
        let log = log(&server, "built", "").await;
        if log.contains("begun\n") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    server.kill_and_restart().await;
    settles(&server, "built", "active").await;
    let log = log(&server, "built", "").await;
    assert_eq!(log.matches("known already").count(), 1, "{log}");
    assert!(log.contains("was interrupted"), "{log}");
    let answer = server.raw().ask("DELETE", "/api/snapshots/built", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let logs = server.instance.data_dir().join("runner/builds");
    wait::until("the log goes with its snapshot", async || {
        let left = names(&logs);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    server.finish().await;
}
