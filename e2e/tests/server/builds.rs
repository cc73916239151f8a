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
    let logs = server.instance.data_dir().join("builds");
    wait::until("the log goes with its snapshot", async || {
        let left = names(&logs);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    server.finish().await;
}

#[tokio::test]
async fn a_build_on_a_snapshot_of_a_sandbox_sees_its_files_and_a_copy_takes_them() {
    let server = TestServer::start().await;
    let client = server.client();
    crate::support::make(&client, "source").await;
    run(
        &client,
        "source",
        "mkdir d; echo kept > d/f; ln -s f d/l; echo gone > g",
    )
    .await;
    client.snapshot("source", "mine").await.unwrap();
    settles(&server, "mine", "active").await;
    let text = "FROM mine AS base\nUSER root\nRUN rm /home/daytona/g && cat /home/daytona/d/f > /copy\n\
                FROM default\nCOPY --from=mine /home/daytona/d /d\nCOPY --from=base /copy /copy\n\
                RUN --mount=type=bind,from=mine,source=/home/daytona,target=/m cat /m/g > /home/daytona/bound\n";
    create(&server, "built", text).await;
    settles(&server, "built", "active").await;
    create(
        &server,
        "above",
        "FROM mine\nUSER root\nRUN echo more > /more && rm -r /home/daytona/d\nUSER daytona\n",
    )
    .await;
    settles(&server, "above", "active").await;
    // What a build is made of stays when the snapshot goes.
    client.delete("source").await.unwrap();
    let answer = server.raw().ask("DELETE", "/api/snapshots/mine", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    for (snapshot, command, expected) in [
        (
            "built",
            "cat /d/l /copy ~/bound; test -e ~/d || echo none",
            "kept\nkept\ngone\nnone\n",
        ),
        (
            "above",
            "cat /more ~/g; test -e ~/d || echo none",
            "more\ngone\nnone\n",
        ),
    ] {
        let request = CreateSandbox {
            snapshot: Some(snapshot.to_owned()),
            ..named(snapshot)
        };
        client.create(&request).await.unwrap();
        assert_eq!(
            run(&client, snapshot, command).await,
            expected,
            "{snapshot}"
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn a_sandbox_is_built_started_and_built_only_once() {
    let mut server = TestServer::start().await;
    let text =
        "FROM default\nUSER root\nRUN echo begun; sleep 3; echo made > /made\nUSER daytona\n";
    let body = |name: &str| {
        json!({"name": name, "cpu": 1, "buildInfo": {"dockerfileContent": text}}).to_string()
    };
    let answer = server
        .raw()
        .ask("POST", "/api/sandbox", body("one"))
        .await
        .json();
    assert_eq!(answer["state"], "pending_build", "{answer}");
    let state = async |server: &TestServer, name: &str| {
        let path = format!("/api/sandbox/{name}");
        server.raw().ask("GET", &path, "").await.json()
    };
    wait::until("the build runs", async || {
        let path = "/api/sandbox/one/build-logs";
        let log = server.raw().ask("GET", path, "").await;
        let log = String::from_utf8_lossy(&log.body).into_owned();
        if log.contains("begun\n") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert_eq!(state(&server, "one").await["state"], "building_snapshot");
    server.kill_and_restart().await;
    wait::until("the sandbox runs", async || {
        let found = state(&server, "one").await;
        if found["state"] == "started" {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
    let found = state(&server, "one").await;
    let id = found["id"].as_str().expect("an id");
    let output = run(&server.client(), id, "cat /made; id -un").await;
    assert_eq!(output, "made\ndaytona\n");
    let second = server
        .raw()
        .ask("POST", "/api/sandbox", body("two"))
        .await
        .json();
    assert_eq!(second["state"], "started", "{second}");

    // A delete in the middle ends the build, and nothing of it is left.
    let slow = json!({"name": "gone", "buildInfo": {"dockerfileContent": "FROM default\nRUN echo begun; sleep 600\n"}});
    server
        .raw()
        .ask("POST", "/api/sandbox", slow.to_string())
        .await
        .json();
    wait::until("the build runs", async || {
        let path = "/api/sandbox/gone/build-logs";
        let log = server.raw().ask("GET", path, "").await;
        let log = String::from_utf8_lossy(&log.body).into_owned();
        if log.contains("begun\n") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    for name in ["gone", "one", "two"] {
        let path = format!("/api/sandbox/{name}");
        let answer = server.raw().ask("DELETE", &path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let logs = server.instance.data_dir().join("builds");
    wait::until("the cancelled build's log goes", async || {
        // The other is kept with its image.
        let left = names(&logs);
        if left.len() == 1 { Ok(()) } else { Err(left) }
    })
    .await;
    server.finish().await;
}
