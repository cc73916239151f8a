//! The flat actions in front of the real control plane and a sandbox that is played.

use std::sync::{Arc, Mutex};

use alcove_control::AgentConnection;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use crate::support::Server;

/// What came to the sandbox's agent.
pub type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// Answers as an agent does, and writes down what it was asked.
pub fn play_agent(server: &Server, folder: &tempfile::TempDir) -> Heard {
    let socket = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    let agent = Router::new().fallback(move |request: Request| {
        let noted = Arc::clone(&noted);
        async move { agents_answer(request, &noted).await }
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
    heard
}

async fn agents_answer(request: Request, noted: &Heard) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri);
    let text = String::from_utf8_lossy(&body).into_owned();
    noted.lock().unwrap().push((line, text));
    match parts.uri.path() {
        "/process/execute" => axum::Json(json!({"exitCode": 3, "result": "no\n"})).into_response(),
        "/process/code-run" => {
            let body = json!({"message": "command execution timeout", "statusCode": 408});
            (StatusCode::REQUEST_TIMEOUT, axum::Json(body)).into_response()
        }
        "/files/download" => vec![7_u8; 3 << 20].into_response(),
        _ => axum::Json(json!({})).into_response(),
    }
}

async fn act(server: &Server, name: &str, input: Value) -> Value {
    let path = format!("/api/actions/{name}");
    server.put("POST", &path, input).await.ok()
}

#[tokio::test]
async fn the_catalogue_tells_twelve_actions_with_their_schemas() {
    let server = Server::start().await;
    let all = server.ask("GET", "/api/actions").await.ok();
    assert_eq!(all.as_array().unwrap().len(), 12);
    for action in all.as_array().unwrap() {
        let path = format!("/api/actions/{}", action["name"].as_str().unwrap());
        assert_eq!(&server.ask("GET", &path).await.ok(), action);
        for schema in ["input_schema", "output_schema"] {
            assert_eq!(action[schema]["additionalProperties"], false, "{action}");
        }
    }
    let answer = server.ask("GET", "/api/actions/sleep").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_sandbox_is_made_found_used_stopped_started_and_deleted_by_actions() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let heard = play_agent(&server, &folder);
    let made = act(
        &server,
        "create_sandbox",
        json!({"name": "a", "labels": {"k": 1}, "auto_stop_interval": 0}),
    )
    .await;
    assert_eq!(made["success"], true, "{made}");
    let sandbox = &made["sandbox"];
    assert_eq!(sandbox["labels"], json!({"k": "1"}));
    assert_eq!(sandbox["auto_stop_interval"], 0);
    assert_eq!(sandbox["state"], "started");
    assert!(sandbox["cpu"].is_u64(), "{sandbox}");

    let input = json!({"sandbox_id": "a", "command": "false"});
    let ran = act(&server, "execute_command", input).await;
    assert_eq!(
        ran,
        json!({"success": true, "error": null, "exit_code": 3, "result": "no\n"})
    );
    let (line, body) = heard.lock().unwrap()[0].clone();
    assert_eq!(line, "POST /process/execute");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["timeout"], 10, "the toolbox itself has none");

    let input = json!({"sandbox_id": "a", "code": "x", "language": "python"});
    let ran = act(&server, "run_code", input).await;
    assert_eq!(ran["success"], false);
    assert_eq!(ran["error"], "command execution timeout");

    let listed = act(
        &server,
        "list_sandboxes",
        json!({"labels": {"k": "1"}, "name": "A"}),
    )
    .await;
    assert_eq!(listed["sandboxes"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["next_cursor"], Value::Null);
    for (name, state) in [
        ("stop_sandbox", "stopped"),
        ("start_sandbox", "started"),
        ("get_sandbox", "started"),
    ] {
        let answered = act(&server, name, json!({"sandbox_id": "a"})).await;
        assert_eq!(answered["sandbox"]["state"], state, "{name} {answered}");
    }
    let gone = act(&server, "delete_sandbox", json!({"sandbox_id": "a"})).await;
    assert_eq!(gone["success"], true, "{gone}");
    let gone = act(&server, "get_sandbox", json!({"sandbox_id": "a"})).await;
    assert_eq!(gone["success"], false);
    assert_eq!(gone["sandbox"], Value::Null);
}

#[tokio::test]
async fn a_large_file_goes_both_ways() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let heard = play_agent(&server, &folder);
    server.create(json!({"name": "a"})).await;
    // Longer than an API call's body may be, and than what is held without room.
    let content = "AAAA".repeat(1 << 20);
    let input = json!({"sandbox_id": "a", "destination_path": "/tmp/x",
        "file_content_base64": content});
    let up = act(&server, "upload_file", input).await;
    assert_eq!(up["size"], 3 << 20, "{up}");
    let (line, body) = heard.lock().unwrap()[0].clone();
    assert_eq!(line, "POST /files/upload?path=%2F%74%6D%70%2F%78");
    assert_eq!(body.matches('\0').count(), 3 << 20);

    let input = json!({"sandbox_id": "a", "file_path": "/tmp/x.bin"});
    let down = act(&server, "download_file", input).await;
    assert_eq!(down["size"], 3 << 20);
    assert_eq!(down["content_base64"], "BwcH".repeat(1 << 20));
}

#[tokio::test]
async fn refusals_of_the_action_are_answers_and_those_of_the_way_there_are_not() {
    let server = Server::start().await;
    let answer = server
        .put(
            "POST",
            "/api/actions/get_sandbox",
            json!({"sandbox_id": "a", "b": 1}),
        )
        .await;
    assert_eq!(answer.headers["x-action-status"], "400");
    let output = answer.ok();
    assert_eq!(output["success"], false);
    assert_eq!(output["error"], "there is no input key \"b\"");
    for body in ["x", "{", "[]"] {
        let path = "/api/actions/list_sandboxes";
        let output = server.ask_with("POST", path, &[], body).await.ok();
        assert_eq!(output["error"], "the input must be a JSON object", "{body}");
    }
    let output = server.ask("POST", "/api/actions/list_sandboxes").await.ok();
    assert_eq!(output["success"], true, "nothing is an empty object");
    let answer = server.ask("POST", "/api/actions/sleep").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let huge = http::Request::builder()
        .method("POST")
        .uri("/api/actions/upload_file")
        .header("authorization", format!("Bearer {}", server.kit.key))
        .body(Body::from(vec![b' '; 140 << 20]))
        .unwrap();
    let answer = server.send(huge).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_an_action_does_in_a_sandbox_counts_as_its_use() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    server
        .create(json!({"name": "a", "autoStopInterval": 10}))
        .await;
    for _ in 0..3 {
        server.kit.clock.advance_minutes(8);
        let input = json!({"sandbox_id": "a", "command": "true"});
        let ran = act(&server, "execute_command", input).await;
        assert_eq!(ran["success"], true, "it was used 8 minutes ago: {ran}");
    }
    // The positive control: to be looked at is no use.
    server.kit.clock.advance_minutes(8);
    act(&server, "get_sandbox", json!({"sandbox_id": "a"})).await;
    server.kit.clock.advance_minutes(3);
    alcove_testkit::eventually("the sandbox is stopped", async || {
        act(&server, "get_sandbox", json!({"sandbox_id": "a"})).await["sandbox"]["state"]
            == "stopped"
    })
    .await;
}
