//! The tools of the Model Context Protocol in front of the real control plane and a sandbox that is played.

use alcove_server::Options;
use alcove_testkit::TestControl;
use axum::body::Body;
use http::StatusCode;
use serde_json::{Value, json};

use crate::actions::play_agent;
use crate::support::{Answer, Server};

const ACCEPTS: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");
const VERSION: (&str, &str) = ("mcp-protocol-version", "2025-06-18");
const HOST: (&str, &str) = ("host", "127.0.0.1:3000");

async fn post(server: &Server, headers: &[(&str, &str)], message: &Value) -> Answer {
    let mut all = vec![ACCEPTS, JSON, VERSION, HOST];
    all.extend(headers);
    server
        .ask_with("POST", "/mcp", &all, &message.to_string())
        .await
}

/// The result of a request.
async fn ask(server: &Server, method: &str, params: Value) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let mut answer = post(server, &[], &message).await.ok();
    assert_eq!(answer["id"], 7, "{answer}");
    answer["result"].take()
}

/// What a tool says, after a look at both forms of it.
async fn call(server: &Server, name: &str, arguments: Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    let mut result = ask(server, "tools/call", params).await;
    assert_ne!(result["isError"], true, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    let said: Value = serde_json::from_str(text).unwrap();
    assert_eq!(said, result["structuredContent"]);
    result["structuredContent"].take()
}

#[tokio::test]
async fn the_first_message_is_answered_with_who_we_are() {
    let server = Server::start().await;
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    let told = ask(&server, "initialize", params).await;
    assert_eq!(told["serverInfo"]["name"], "alcove");
    assert!(told["capabilities"]["tools"].is_object(), "{told}");
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(post(&server, &[], &note).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn every_action_is_a_tool_with_its_schemas_and_there_are_more() {
    let server = Server::start().await;
    let tools = ask(&server, "tools/list", json!({})).await;
    let tools = tools["tools"].as_array().unwrap();
    let actions = server.ask("GET", "/api/actions").await.ok();
    for action in actions.as_array().unwrap() {
        let tool = tools.iter().find(|tool| tool["name"] == action["name"]);
        let tool = tool.unwrap_or_else(|| panic!("{} is no tool", action["name"]));
        assert_eq!(tool["inputSchema"], action["input_schema"]);
        assert_eq!(tool["outputSchema"], action["output_schema"]);
    }
    assert!(tools.len() > 12);
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        let hints = &tool["annotations"];
        let is_destructive = ["delete_sandbox", "delete_session"].contains(&name);
        assert_eq!(hints["destructiveHint"], is_destructive, "{name}");
        assert!(hints["readOnlyHint"].is_boolean(), "{name}");
    }
}

#[tokio::test]
async fn a_sandbox_is_made_used_and_deleted_by_tools() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    let made = call(&server, "create_sandbox", json!({"name": "a"})).await;
    assert_eq!(made["sandbox"]["state"], "started", "{made}");
    let input = json!({"sandbox_id": "a", "command": "false"});
    let ran = call(&server, "execute_command", input).await;
    assert_eq!(
        ran,
        json!({"success": true, "error": null, "exit_code": 3, "result": "no\n"})
    );
    let gone = call(&server, "delete_sandbox", json!({"sandbox_id": "a"})).await;
    assert_eq!(gone["success"], true, "{gone}");
}

#[tokio::test]
async fn a_large_file_is_sent_as_a_whole_with_its_length() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    play_agent(&server, &folder);
    server.create(json!({"name": "a"})).await;
    // More of them than there is room for at once: each gives its place back when it has been read.
    for _ in 0..64 {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "download_file", "arguments": {"sandbox_id": "a", "file_path": "/tmp/x.bin"}}});
        let answer = post(&server, &[], &message).await;
        assert_eq!(
            answer.headers["content-length"],
            answer.text.len().to_string()
        );
        let said = &answer.ok()["result"]["structuredContent"];
        assert_eq!(said["size"], 3 << 20);
        assert_eq!(said["content_base64"], "BwcH".repeat(1 << 20));
    }
}

#[tokio::test]
async fn what_does_not_succeed_is_told_by_the_tool_and_what_is_no_tool_by_the_protocol() {
    let server = Server::start().await;
    let refused = call(&server, "get_sandbox", json!({"sandbox": "a"})).await;
    assert_eq!(refused["success"], false);
    assert_eq!(
        refused["error"],
        "sandbox_id is required, there is no input key \"sandbox\""
    );
    let missing = call(&server, "get_sandbox", json!({"sandbox_id": "a"})).await;
    assert_eq!(missing["success"], false);
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "sleep", "arguments": {}}});
    let answer = post(&server, &[], &message).await;
    assert_eq!(answer.json()["error"]["code"], -32602, "{answer:?}");
}

#[tokio::test]
async fn a_key_is_needed_and_pages_of_others_are_turned_away() {
    let options = Options {
        mcp_origins: vec!["https://friend.example".to_owned()],
        ..Options::default()
    };
    let server = Server::with_options(TestControl::open().await, options);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for (origin, status) in [
        ("http://127.0.0.1:3000", StatusCode::OK),
        ("https://friend.example", StatusCode::OK),
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("http://friend.example", StatusCode::FORBIDDEN),
        ("http://127.0.0.1:3001", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        let answer = post(&server, &[("origin", origin)], &ping).await;
        assert_eq!(answer.status, status, "{origin}");
    }
    assert_eq!(post(&server, &[], &ping).await.status, StatusCode::OK);
    for key in [None, Some("Bearer wrong")] {
        let mut request = http::Request::post("/mcp")
            .header(HOST.0, HOST.1)
            .header(ACCEPTS.0, ACCEPTS.1)
            .header(JSON.0, JSON.1);
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        let request = request.body(Body::from(ping.to_string())).unwrap();
        assert_eq!(server.send(request).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn the_address_may_stand_where_http_2_has_it() {
    let server = Server::start().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for path in ["http://127.0.0.1:3000/mcp", "http://127.0.0.1:3000//mcp/"] {
        let answer = server
            .ask_with("POST", path, &[ACCEPTS, JSON, VERSION], &ping)
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn messages_that_are_none_are_refused() {
    let server = Server::start().await;
    for body in ["", "x", "[]", "{\"jsonrpc\": \"1.0\"}"] {
        let answer = server
            .ask_with("POST", "/mcp", &[ACCEPTS, JSON, HOST], body)
            .await;
        assert!(answer.status.is_client_error(), "{body:?}: {answer:?}");
    }
    let unlike = server.ask_with("POST", "/mcp", &[JSON, HOST], "{}").await;
    assert_eq!(unlike.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(unlike.json()["code"], "NOT_ACCEPTABLE");
    let request = http::Request::post("/mcp")
        .header("authorization", format!("Bearer {}", server.kit.key))
        .header(HOST.0, HOST.1)
        .header(ACCEPTS.0, ACCEPTS.1)
        .header(JSON.0, JSON.1)
        .body(Body::from(vec![b' '; 140 << 20]))
        .unwrap();
    let answer = server.send(request).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}
