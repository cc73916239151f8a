use http::Method;
use serde_json::json;

use crate::support::{Answer, TestAgent};

#[track_caller]
pub fn assert_standard(answer: &Answer, method: &Method, path: &str) {
    assert_eq!(
        answer.headers["content-type"], "application/json",
        "{method} {path}"
    );
    let body = answer.json();
    assert_eq!(body["statusCode"], answer.status.as_u16());
    assert_eq!(body["source"], "DAYTONA_DAEMON");
    assert_eq!(body["path"], path);
    assert_eq!(body["method"], method.as_str());
    for field in ["error", "message", "code", "timestamp"] {
        assert!(
            body[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field} in {body}"
        );
    }
}

#[tokio::test]
async fn every_error_is_the_standard_object() {
    let agent = TestAgent::start().await;
    let table = [
        (Method::GET, "/nope", "", 404),
        (Method::PUT, "/version", "", 404),
        (Method::POST, "/init", "{", 400),
        (Method::POST, "/process/execute", "{", 400),
        (Method::POST, "/process/execute", "{}", 400),
        (Method::POST, "/process/code-run", "{}", 400),
        (Method::GET, "/files?path=/nope", "", 404),
        (Method::GET, "/files?depth=0", "", 400),
        (Method::GET, "/files/info", "", 400),
        (Method::GET, "/files/download?path=/nope", "", 404),
        (Method::GET, "/files/download?path=/tmp", "", 400),
        (Method::POST, "/files/bulk-download", "[]", 400),
        (Method::POST, "/files/bulk-upload", "", 400),
        (Method::POST, "/files/upload", "x", 400),
        (Method::POST, "/files/folder?path=/tmp/x&mode=9", "", 400),
        (
            Method::POST,
            "/files/move?source=/nope&destination=/tmp/y",
            "",
            404,
        ),
        (Method::POST, "/files/permissions?path=/nope", "", 404),
        (Method::DELETE, "/files?path=/nope", "", 404),
        (Method::POST, "/process/session", "{}", 400),
        (
            Method::POST,
            "/process/session",
            r#"{"sessionId":"entrypoint"}"#,
            400,
        ),
        (Method::GET, "/process/session/nope", "", 404),
        (Method::DELETE, "/process/session/nope", "", 404),
        (Method::DELETE, "/process/session/entrypoint", "", 400),
        (
            Method::POST,
            "/process/session/nope/exec",
            r#"{"command":"true"}"#,
            404,
        ),
        (
            Method::POST,
            "/process/session/nope/exec",
            r#"{"command":" "}"#,
            400,
        ),
        (Method::GET, "/process/session/nope/command/x", "", 404),
        (Method::GET, "/process/session/nope/command/x/logs", "", 404),
        (
            Method::POST,
            "/process/session/nope/command/x/input",
            r#"{"data":"x"}"#,
            404,
        ),
        (Method::GET, "/process/session/entrypoint", "", 404),
        (Method::GET, "/process/session/entrypoint/logs", "", 404),
    ];
    for (method, uri, body, status) in table {
        let answer = agent.call(method.clone(), uri, &[], body).await;
        assert_eq!(answer.status, status, "{method} {uri}: {}", answer.text());
        assert_standard(&answer, &method, uri.split('?').next().unwrap());
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let agent = TestAgent::start().await;
    for token in ["", "wrong!", "secre", "secretx"] {
        let mut request = http::Request::get("/version").header("host", "agent");
        if !token.is_empty() {
            request = request.header("x-alcove-agent-token", token);
        }
        let body = http_body_util::Empty::<hyper::body::Bytes>::new();
        let response = agent.send(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 401, "{token:?}");
    }
    agent.get("/version").await.expect(200);
}

#[tokio::test]
async fn the_agent_says_where_it_lives() {
    let agent = TestAgent::start().await;
    let home = json!({ "dir": agent.dir.path() });
    for path in ["/user-home-dir", "/project-dir", "/work-dir"] {
        assert_eq!(agent.get(path).await.expect(200).json(), home, "{path}");
    }
    assert!(agent.get("/version").await.json()["version"].is_string());
    agent
        .post("/init", &json!({ "token": "" }))
        .await
        .expect(200);
}
