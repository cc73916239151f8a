//! One error body everywhere, and what all answers have.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

use crate::support::{Answer, Server};

fn assert_is_error(answer: &Answer, status: u16, code: &str) {
    let body = answer.json();
    assert_eq!(answer.status.as_u16(), status, "{body}");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(body["statusCode"], status);
    assert_eq!(body["error"], answer.status.canonical_reason().unwrap());
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["source"], "DAYTONA_API");
    assert_eq!(
        body["requestId"],
        answer.headers["x-request-id"].to_str().unwrap()
    );
    for field in ["message", "timestamp", "path", "method"] {
        assert!(
            !body[field].as_str().unwrap().is_empty(),
            "{field} in {body}"
        );
    }
}

#[tokio::test]
async fn every_kind_of_failure_has_the_same_shape() {
    let server = Server::start().await;
    assert_is_error(&server.ask("GET", "/api/nothing").await, 404, "NOT_FOUND");
    assert_is_error(&server.ask("GET", "/").await, 404, "NOT_FOUND");
    assert_is_error(
        &server.ask("PATCH", "/api/sandbox").await,
        405,
        "METHOD_NOT_ALLOWED",
    );
    assert_is_error(
        &server.ask("GET", "/api/sandbox/no-such").await,
        404,
        "NOT_FOUND",
    );
    assert_is_error(
        &server.ask("GET", "/api/sandbox/%ff").await,
        400,
        "BAD_REQUEST",
    );
    assert_is_error(
        &server.ask("GET", "/api/sandbox?labels=x").await,
        400,
        "BAD_REQUEST",
    );
    let broken = server.ask_with("POST", "/api/sandbox", &[], "{").await;
    assert_is_error(&broken, 400, "INVALID_REQUEST_BODY");
    assert_eq!(broken.json()["message"], "Invalid JSON in request body");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(2 << 20));
    let large = server.ask_with("POST", "/api/sandbox", &[], &large).await;
    assert_is_error(&large, 413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_bad_body_is_refused_with_every_reason() {
    let server = Server::start().await;
    let answer = server
        .put(
            "POST",
            "/api/sandbox",
            json!({"name": 1, "env": [], "public": "maybe"}),
        )
        .await;
    assert_is_error(&answer, 400, "BAD_REQUEST");
    assert_eq!(
        answer.json()["message"],
        "name must be a string, env must be an object of strings, public must be a boolean value"
    );
}

#[tokio::test]
async fn a_toolbox_failure_has_the_same_shape_and_its_own_source() {
    let server = Server::start().await;
    for path in [
        "/toolbox/no-such/files",
        "/api/toolbox/no-such/toolbox/files",
    ] {
        let answer = server.ask("GET", path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let body = answer.json();
        assert_eq!(body["source"], "DAYTONA_PROXY", "{body}");
        assert_eq!(
            body["requestId"],
            answer.headers["x-request-id"].to_str().unwrap()
        );
    }
}

#[tokio::test]
async fn all_answers_name_the_api_version_and_the_request() {
    let server = Server::start().await;
    for path in ["/api/health", "/api/nothing", "/toolbox/x/y"] {
        let answer = server.ask("GET", path).await;
        assert_eq!(answer.headers["x-daytona-api-version"], "0.190.0", "{path}");
        assert!(answer.headers.contains_key("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn any_page_may_ask_but_without_cookies() {
    let server = Server::start().await;
    for path in ["/api/sandbox", "/toolbox/x/process/execute"] {
        let request = Request::options(path)
            .header("origin", "https://app.example.org")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,x-daytona-source",
            )
            .body(Body::empty())
            .unwrap();
        let answer = server.send(request).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            answer.headers["access-control-allow-origin"],
            "https://app.example.org"
        );
        assert_eq!(
            answer.headers["access-control-allow-headers"],
            "authorization,x-daytona-source"
        );
        assert!(
            !answer
                .headers
                .contains_key("access-control-allow-credentials")
        );
    }
    let answer = server
        .ask_with(
            "GET",
            "/api/sandbox",
            &[("origin", "https://a.example")],
            "",
        )
        .await;
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://a.example"
    );
}
