//! What the Go client reads in another way than all others.

use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::pty::{Client, Closed, connect_uri, create, start};
use crate::support::TestAgent;

/// As its releases name themselves.
const LABELS: [&str; 2] = ["sdk-go", "go-sdk"];

#[tokio::test]
async fn a_terminal_whose_program_failed_closes_like_any_other() {
    let agent = start().await;
    for label in LABELS {
        create(&agent, json!({ "id": "t" })).await;
        let headers = [("x-daytona-source", label)];
        let mut client = Client::connect(&agent, &connect_uri("t"), &headers).await;
        client.type_in("exit 3\n").await;
        let reason = json!({ "exitCode": 3, "exitReason": "non-zero exit" });
        assert_eq!(client.closed().await, Closed(1000, reason), "{label}");
    }
    // It fails on a text in this answer.
    create(&agent, json!({ "id": "t" })).await;
    let answer = agent
        .call(Method::DELETE, "/process/pty/t", &[], "")
        .await
        .expect(200)
        .json();
    assert_eq!(answer, json!({}));
}

#[tokio::test]
async fn an_execution_that_takes_too_long_has_a_close_of_its_own() {
    let agent = TestAgent::start().await;
    for label in LABELS {
        let headers = [("x-daytona-source", label)];
        let uri = "/process/interpreter/execute";
        let (mut socket, _) = agent.connect(uri, &headers).await;
        let request = json!({ "code": "while True: pass", "timeout": 1 });
        socket
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
        let code = loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                break u16::from(frame.unwrap().code);
            }
        };
        assert_eq!(code, 4001, "{label}");
    }
}
