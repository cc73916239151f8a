//! All actions against a server that is played.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Map, Value, json};

use crate::testing::Played;
use crate::{ACTIONS, Api, ApiBody, DOWNLOAD_MAX_BYTES, Entry, Room, TOOLS, Unreachable, find};

/// The least that an action takes.
fn least(name: &str) -> Map<String, Value> {
    let mut input = match name {
        "create_sandbox" | "list_sandboxes" | "list_snapshots" => return Map::new(),
        "create_snapshot" => json!({"name": "snap"}),
        "create_session" | "delete_session" => json!({"session_id": "s"}),
        "run_in_session" => json!({"session_id": "s", "command": "true"}),
        "get_session_logs" => json!({"session_id": "s", "command_id": "c"}),
        "search_files" | "find_in_files" => json!({"path": "/tmp", "pattern": "x"}),
        "get_preview_url" => json!({"port": 8000}),
        "run_code" => json!({"code": "1", "language": "python"}),
        "execute_command" => json!({"command": "true"}),
        "upload_file" => json!({"destination_path": "/tmp/a/", "file_content_base64": "YQ==",
            "file_name": "a.txt"}),
        "download_file" => json!({"file_path": "/tmp/a.txt"}),
        "git_clone" => json!({"url": "https://a.com/x.git", "path": "x"}),
        _ => json!({}),
    };
    input["sandbox_id"] = "box".into();
    input.as_object().unwrap().clone()
}

/// An answer of the API that the action can read.
fn answer(name: &str) -> Value {
    match name {
        "run_code" => json!({"exitCode": 0, "result": "1\n", "artifacts": {"charts": []}}),
        "execute_command" => json!({"exitCode": 3, "result": ""}),
        "list_files" => json!([{"name": "a", "isDir": false, "size": 1, "mode": "-rw-r--r--",
            "permissions": "0644", "owner": "0", "group": "0", "modTime": "x",
            "modifiedAt": "2026-01-01T00:00:00Z", "path": "/a"}]),
        "list_sandboxes" => json!({"items": [sandbox()], "nextCursor": "more"}),
        "upload_file" | "git_clone" | "download_file" | "create_session" | "delete_session" => {
            json!({})
        }
        "list_snapshots" => json!({"items": [{"id": "s1", "name": "default", "state": "active",
            "cpu": 1, "mem": 2, "disk": 3, "errorReason": null, "createdAt": "2026-01-01T00:00:00Z",
            "general": true}], "total": 1, "page": 1, "totalPages": 1}),
        "run_in_session" => json!({"cmdId": "c", "output": null, "stdout": "o", "stderr": "e",
            "exitCode": 3}),
        // Two answers in one: state and log of a command.
        "get_session_logs" => json!({"id": "c", "command": "x", "exitCode": 0, "output": "oe",
            "stdout": "o", "stderr": "e"}),
        "list_sessions" => json!([{"sessionId": "s", "commands": [{"id": "c", "command": "x",
            "exitCode": 0}]}]),
        "search_files" => json!({"files": ["/tmp/x"]}),
        "find_in_files" => json!([{"file": "/tmp/x", "line": 1, "content": "x"}]),
        "get_preview_url" => json!({"sandboxId": "0f", "url": "http://8000-0f.localhost",
            "token": "t"}),
        _ => sandbox(),
    }
}

fn sandbox() -> Value {
    json!({"id": "0f", "name": "box", "state": "started", "snapshot": "default", "target": "us",
        "cpu": 2, "gpu": 0, "memory": 3.5, "disk": 10, "labels": {"a": "b"}, "public": false,
        "autoStopInterval": 15, "autoArchiveInterval": 7, "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z", "organizationId": "x"})
}

fn names_of(schema: &Value) -> BTreeSet<String> {
    schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

fn keys_of(output: &Value) -> BTreeSet<String> {
    output.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn schemas_are_those_of_the_catalogue() {
    let all: Vec<_> = ACTIONS.iter().map(Entry::describe).collect();
    insta::assert_json_snapshot!("catalogue", all);
    let more: Vec<_> = TOOLS[ACTIONS.len()..].iter().map(Entry::describe).collect();
    insta::assert_json_snapshot!("more_tools", more);
}

#[tokio::test]
async fn every_output_has_the_fields_of_its_schema_whatever_came_of_it() {
    for action in TOOLS {
        let schema = action.describe().output_schema;
        let good = Played::answering(200, answer(action.name).to_string());
        let (outcome, output) = good.call(action.name, least(action.name).into()).await;
        assert!(outcome.success, "{} {output}", action.name);
        assert_eq!(keys_of(&output), names_of(&schema), "{}", action.name);
        assert_eq!(output["success"], true);
        assert_eq!(output["error"], Value::Null);
        for (part, definition) in [
            ("sandbox", "SandboxSummary"),
            ("sandboxes", "SandboxSummary"),
            ("files", "FileInfo"),
            ("snapshots", "SnapshotSummary"),
            ("sessions", "Session"),
            ("matches", "Match"),
        ] {
            let part = &output[part];
            let part = part.get(0).unwrap_or(part);
            if part.is_object() {
                let definition = &schema["$defs"][definition];
                assert_eq!(keys_of(part), names_of(definition), "{}", action.name);
            }
        }

        let bad = Played::answering(404, r#"{"message": "Sandbox box not found"}"#);
        let (outcome, output) = bad.call(action.name, least(action.name).into()).await;
        assert!(!outcome.success);
        assert_eq!(outcome.status, 404);
        assert_eq!(keys_of(&output), names_of(&schema), "{}", action.name);
        assert_eq!(output["error"], "Sandbox box not found");
        for (name, value) in output.as_object().unwrap() {
            let expected = match name.as_str() {
                "success" => json!(false),
                "error" => continue,
                "files" | "sandboxes" | "snapshots" | "sessions" | "matches" => json!([]),
                _ => Value::Null,
            };
            assert_eq!(value, &expected, "{} {name}", action.name);
        }
    }
}

#[tokio::test]
async fn outputs_are_what_the_api_said() {
    let mut all = Map::new();
    for action in TOOLS.iter().filter(|action| action.name != "download_file") {
        let played = Played::answering(200, answer(action.name).to_string());
        let (_, output) = played.call(action.name, least(action.name).into()).await;
        all.insert(action.name.to_owned(), output);
    }
    let played = Played::answering(200, b"\xff\x00\x01".as_slice());
    let input = json!({"sandbox_id": "box", "file_path": "/tmp/a.png"});
    let (_, output) = played.call("download_file", input).await;
    all.insert("download_file".to_owned(), output);
    insta::assert_json_snapshot!("outputs", all);
}

/// A value out of the ordinary.
fn sample(name: &str, schema: &Value) -> Value {
    match (name, schema["type"].as_str().unwrap()) {
        ("file_content_base64", _) => json!("Yg=="),
        ("destination_path", _) => json!("/tmp/b/"),
        (_, "string") => json!("other"),
        (_, "integer") => json!(7),
        (_, "boolean") => json!(true),
        (_, "object") => json!({"K": 1}),
        (_, other) => panic!("a sample of {other} for {name}"),
    }
}

/// What was asked, with the delimiter of forms taken out, which is another one each time.
async fn asked(action: &Entry, input: Map<String, Value>) -> Vec<String> {
    let played = Played::answering(200, answer(action.name).to_string());
    let (outcome, output) = played.call(action.name, input.into()).await;
    assert!(outcome.success, "{output}");
    let asked = played.asked().into_iter().map(|asked| {
        let body = String::from_utf8(asked.body).unwrap();
        let kind = asked.content_type.unwrap_or_default();
        let text = format!("{} {kind}\n{body}", asked.line);
        match kind.split_once("boundary=") {
            Some((_, boundary)) => text.replace(boundary, "-"),
            None => text,
        }
    });
    asked.collect()
}

#[tokio::test]
async fn every_input_field_goes_into_what_is_asked_of_the_api() {
    for action in TOOLS {
        let schema = action.describe().input_schema;
        let plain = asked(action, least(action.name)).await;
        assert_eq!(
            plain,
            asked(action, least(action.name)).await,
            "{}",
            action.name
        );
        for (name, field) in schema["properties"].as_object().unwrap() {
            let mut input = least(action.name);
            input.insert(name.clone(), sample(name, field));
            let with = asked(action, input).await;
            assert_ne!(with, plain, "swallowed: {} {name}", action.name);
        }
    }
}

#[tokio::test]
async fn requests_are_those_that_a_client_would_send() {
    let mut all = Map::new();
    for action in TOOLS {
        let schema = action.describe().input_schema;
        let mut input = least(action.name);
        for (name, field) in schema["properties"].as_object().unwrap() {
            input.insert(name.clone(), sample(name, field));
        }
        all.insert(action.name.to_owned(), json!(asked(action, input).await));
    }
    insta::assert_json_snapshot!("requests", all);
}

#[tokio::test]
async fn a_field_of_another_type_or_missing_is_told_by_its_name_and_nothing_is_asked() {
    for action in TOOLS {
        let schema = action.describe().input_schema;
        for (name, _) in schema["properties"].as_object().unwrap() {
            let required = schema["required"].as_array().unwrap();
            let is_required = required.contains(&json!(name));
            let played = Played::answering(200, answer(action.name).to_string());
            let mut input = least(action.name);
            input.insert(name.clone(), json!([[1]]));
            let (outcome, output) = played.call(action.name, input.into()).await;
            assert!(!outcome.success, "{} {name}", action.name);
            assert!(
                output["error"].as_str().unwrap().starts_with(name.as_str()),
                "{output}"
            );

            let mut input = least(action.name);
            input.insert(name.clone(), Value::Null);
            let (outcome, output) = played.call(action.name, input.into()).await;
            // A folder as the destination needs a name for the file.
            let is_needed = is_required || name == "file_name";
            assert_eq!(
                outcome.success, !is_needed,
                "{} {name} {output}",
                action.name
            );
            assert_eq!(played.asked().is_empty(), is_needed);
        }
        let played = Played::answering(200, answer(action.name).to_string());
        let mut input = least(action.name);
        input.insert("surprise".to_owned(), json!(1));
        let (outcome, output) = played.call(action.name, input.into()).await;
        assert!(!outcome.success);
        assert_eq!(output["error"], "there is no input key \"surprise\"");
        assert!(played.asked().is_empty());
        for input in [json!([]), json!("x"), Value::Null] {
            assert!(!played.call(action.name, input).await.0.success);
        }
    }
}

#[tokio::test]
async fn names_that_are_words_of_the_api_or_paths_stay_names() {
    for (name, escaped) in [
        ("paginated", "%70%61%67%69%6E%61%74%65%64"),
        ("..", "%2E%2E"),
        ("a/b?c#d", "%61%2F%62%3F%63%23%64"),
        ("ü", "%C3%BC"),
    ] {
        let played = Played::answering(200, sandbox().to_string());
        played
            .call("get_sandbox", json!({"sandbox_id": name}))
            .await;
        assert_eq!(
            played.asked()[0].line,
            format!("GET /api/sandbox/{escaped}")
        );
    }
    let played = Played::answering(200, "[]");
    let (outcome, output) = played.call("get_sandbox", json!({"sandbox_id": ""})).await;
    assert!(!outcome.success);
    assert_eq!(output["error"], "sandbox_id must not be empty");
    assert!(played.asked().is_empty());
}

#[tokio::test]
async fn an_api_that_is_not_there_or_says_nonsense_is_no_success() {
    for (played, error) in [
        (Played::default(), "nobody is there"),
        (Played::answering(502, "<html>"), "HTTP 502"),
        (Played::answering(500, r#"{"message": ""}"#), "HTTP 500"),
        (
            Played::answering(200, "<html>"),
            "the answer is not what it should be",
        ),
    ] {
        let (outcome, output) = played.call("get_sandbox", json!({"sandbox_id": "a"})).await;
        assert!(!outcome.success);
        assert_eq!(output["error"], error);
    }
    // What servers of old answer to a delete.
    let played = Played::answering(200, "");
    let (outcome, output) = played
        .call("delete_sandbox", json!({"sandbox_id": "a"}))
        .await;
    assert!(outcome.success);
    assert_eq!(output["sandbox"], Value::Null);
}

#[tokio::test]
async fn what_a_clone_was_refused_with_has_no_password_in_it() {
    let message = "cannot clone https://u:hunter2@a.com: hunter3 is wrong";
    let played = Played::answering(401, json!({"message": message}).to_string());
    let input = json!({"sandbox_id": "a", "url": "https://u:hunter2@a.com", "path": "x",
        "password": "hunter3"});
    let (_, output) = played.call("git_clone", input).await;
    assert_eq!(
        output["error"],
        "cannot clone https://u:***@a.com: *** is wrong"
    );
}

/// A toolbox whose answers to downloads are as long as they are said to be, or not.
struct Endless {
    announced: Option<u64>,
    pieces: usize,
}

#[async_trait]
impl Api for Endless {
    async fn send(&self, _: Request<ApiBody>) -> Result<Response<ApiBody>, Unreachable> {
        let piece = Bytes::from(vec![0; 1 << 20]);
        let pieces = std::iter::repeat_n(piece, self.pieces);
        let frames = pieces.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece)));
        let body = StreamBody::new(stream::iter(frames));
        let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
        if let Some(bytes) = self.announced {
            response
                .headers_mut()
                .insert("content-length", bytes.into());
        }
        Ok(response)
    }
}

#[tokio::test]
async fn a_file_over_the_bound_is_refused_by_its_size_and_while_it_comes() {
    let input = json!({"sandbox_id": "a", "file_path": "/big"});
    let download = find("download_file").unwrap();
    for (endless, size) in [
        (
            Endless {
                announced: Some(DOWNLOAD_MAX_BYTES + 1),
                pieces: 0,
            },
            DOWNLOAD_MAX_BYTES + 1,
        ),
        (
            Endless {
                announced: Some(5),
                pieces: 200,
            },
            DOWNLOAD_MAX_BYTES + (1 << 20),
        ),
        (
            Endless {
                announced: None,
                pieces: 200,
            },
            DOWNLOAD_MAX_BYTES + (1 << 20),
        ),
    ] {
        let outcome = download
            .call(input.clone(), &endless, &Room::default())
            .await;
        assert!(!outcome.success);
        let output: Value = serde_json::from_str(&outcome.json).unwrap();
        let error = format!("/big has {size} bytes; the most is {DOWNLOAD_MAX_BYTES}");
        assert_eq!(output["error"], error);
        assert_eq!(output["content_base64"], Value::Null, "nothing partial");
    }
    let just = Endless {
        announced: None,
        pieces: 100,
    };
    let outcome = download.call(input, &just, &Room::default()).await;
    assert!(outcome.success, "{}", &outcome.json[..200]);
}

#[tokio::test]
async fn large_files_wait_for_those_that_are_held() {
    let room = Room::default();
    let (first, second) = (room.hold(130 << 20).await, room.hold(130 << 20).await);
    let third = room.hold(130 << 20);
    tokio::pin!(third);
    let is_full = futures_util::FutureExt::now_or_never(&mut third).is_none();
    assert!(is_full);
    room.hold(1 << 20).await;
    drop(first);
    third.await;
    drop(second);
    // More than there is is all there is.
    room.hold(u64::MAX).await;
}
