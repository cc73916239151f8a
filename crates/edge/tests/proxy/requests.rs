//! Requests through the proxy: who may, what passes, what happens when the agent fails.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::support::{AGENT_TOKEN, Bench, KEY, read_until, within};
use alcove_control::{DialError, TrafficBody};
use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers with the request line and headers that it got, one a line, then the body.
async fn echo(request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        writeln!(text, "{name}={}", value.to_str().unwrap()).unwrap();
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    write!(text, "body={}", String::from_utf8_lossy(&body)).unwrap();
    text
}

fn agent() -> Router {
    Router::new().fallback(echo)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn a_request_arrives_with_the_raw_path_and_without_the_callers_credentials() {
    let bench = Bench::with_agent(agent()).await;
    let answer = bench
        .exchange(&format!(
            "POST /toolbox/box/files/a%2Fb/../c?path=%2Ftmp&DAYTONA_SANDBOX_AUTH_KEY=k HTTP/1.1\r\n\
             Host: example.org\r\nAuthorization: bearer {KEY}\r\nCookie: a=b\r\n\
             X-Daytona-Organization-ID: o\r\nX-Daytona-SDK-Version: 0.226.1\r\n\
             X-Alcove-Agent-Token: forged\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
        ))
        .await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(
        answer.contains("POST /files/a%2Fb/../c?path=%2Ftmp\n"),
        "{answer}"
    );
    assert!(
        answer.contains(&format!("x-alcove-agent-token={AGENT_TOKEN}\n")),
        "{answer}"
    );
    assert!(
        answer.contains("x-daytona-sdk-version=0.226.1\n"),
        "{answer}"
    );
    assert!(answer.ends_with("body=hi"), "{answer}");
    for secret in [KEY, "forged", "a=b", "organization", "example.org"] {
        assert!(!answer.contains(secret), "{secret} in {answer}");
    }
}

#[tokio::test]
async fn the_old_form_of_the_path_leads_to_the_same_place() {
    let bench = Bench::with_agent(agent()).await;
    let answer = bench.get("/api/toolbox/box/toolbox/process/session").await;
    assert!(answer.contains("GET /process/session\n"), "{answer}");
}

#[tokio::test]
async fn without_a_credential_nothing_reaches_the_agent() {
    let bench = Bench::with_agent(agent()).await;
    for request in [
        "GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\nConnection: close\r\n\r\n",
        "GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dtn_good\r\nConnection: close\r\n\r\n",
        "GET /toolbox/box/x?DAYTONA_SANDBOX_AUTH_KEY=dtn_good HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nX-Daytona-Preview-Token: dtn_good\r\nConnection: close\r\n\r\n",
    ] {
        let answer = bench.exchange(request).await;
        assert_eq!(status(&answer), "401", "{request} {answer}");
        assert!(answer.contains(r#""source":"DAYTONA_PROXY""#), "{answer}");
    }
    assert_eq!(bench.gate.dials.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_unknown_sandbox_and_a_stopped_one_are_told_apart() {
    let bench = Bench::with_agent(agent()).await;
    let answer = bench.get("/toolbox/other/x").await;
    assert_eq!(status(&answer), "404", "{answer}");
    *bench.gate.dial_error.lock().unwrap() = Some(DialError::NotRunning);
    let answer = bench.get("/toolbox/box/x").await;
    assert_eq!(status(&answer), "400", "{answer}");
    assert!(
        answer.contains(r#""code":"SANDBOX_NOT_STARTED""#),
        "{answer}"
    );
    *bench.gate.dial_error.lock().unwrap() = Some(DialError::Unavailable);
    let answer = bench.get("/toolbox/box/x").await;
    assert_eq!(status(&answer), "502", "{answer}");
    assert!(answer.contains(r#""code":"AGENT_UNREACHABLE""#), "{answer}");
}

#[tokio::test]
async fn connections_to_the_agent_are_used_again() {
    let bench = Bench::with_agent(agent()).await;
    let mut stream = bench.connect().await;
    for _ in 0..20 {
        let request = format!(
            "GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut stream, "body=").await;
        // The connection comes back to the pool a moment after the answer's last byte.
        tokio::task::yield_now().await;
    }
    let dials = bench.gate.dials.load(Ordering::SeqCst);
    assert!(dials <= 2, "{dials} connections for 20 requests in a row");
}

#[tokio::test]
async fn activity_is_noted_unless_the_client_asks_not_to() {
    let bench = Bench::with_agent(agent()).await;
    bench.get("/toolbox/box/x").await;
    assert_eq!(bench.gate.activity.load(Ordering::SeqCst), 1);
    bench
        .exchange(&format!(
            "GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
             X-Daytona-Skip-Last-Activity-Update: true\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert_eq!(bench.gate.activity.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_an_agent_took_and_did_not_answer_is_not_sent_again() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let ask = bench.get("/toolbox/box/x");
    let play = async {
        let (mut stream, _) = agent.accept().await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        drop(stream);
        tokio::time::timeout(std::time::Duration::from_millis(200), agent.accept()).await
    };
    let (answer, second) = tokio::join!(ask, play);
    assert_eq!(status(&answer), "502", "{answer}");
    assert!(
        answer.contains(r#""code":"AGENT_CONNECTION_LOST""#),
        "{answer}"
    );
    assert!(second.is_err(), "the request came twice");
}

#[tokio::test]
async fn nor_is_one_that_went_out_over_a_kept_connection() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let mut client = bench.connect().await;
    let request = format!(
        "POST /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 0\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = within(agent.accept()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
        .await
        .unwrap();
    read_until(&mut client, "one").await;
    client.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    drop(stream);
    let answer = read_until(&mut client, "}").await;
    assert_eq!(status(&answer), "502", "{answer}");
    let second = tokio::time::timeout(std::time::Duration::from_millis(200), agent.accept()).await;
    assert!(second.is_err(), "the request came twice");
}

#[tokio::test]
async fn a_kept_connection_that_the_agent_closed_is_replaced_silently() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let play = async {
        for body in ["one", "two"] {
            let (mut stream, _) = agent.accept().await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
        }
    };
    let ask = async {
        let first = bench.get("/toolbox/box/x").await;
        let second = bench.get("/toolbox/box/x").await;
        (first, second)
    };
    let ((first, second), ()) = tokio::join!(ask, play);
    assert!(first.ends_with("one"), "{first}");
    assert!(second.ends_with("two"), "{second}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_to_look_whole() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let play = async {
        let (mut stream, _) = agent.accept().await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(bench.get("/toolbox/box/x"), play);
    assert!(answer.contains("hello"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn bytes_stream_both_ways_without_waiting_for_the_end() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let mut client = bench.connect().await;
    client
        .write_all(
            format!(
                "POST /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
                 Transfer-Encoding: chunked\r\nTrailer: x-sum\r\nTE: trailers\r\n\r\n3\r\none\r\n"
            )
            .as_bytes(),
        )
        .await
        .unwrap();
    let (mut stream, _) = within(agent.accept()).await.unwrap();
    read_until(&mut stream, "one").await;
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n3\r\nuno\r\n",
        )
        .await
        .unwrap();
    read_until(&mut client, "uno").await;
    client
        .write_all(b"3\r\ntwo\r\n0\r\nx-sum: 2\r\n\r\n")
        .await
        .unwrap();
    let rest = read_until(&mut stream, "\r\n\r\n").await;
    assert!(rest.contains("two") && rest.contains("x-sum: 2"), "{rest}");
    stream.write_all(b"0\r\nx-end: 1\r\n\r\n").await.unwrap();
    let rest = read_until(&mut client, "\r\n\r\n").await;
    assert!(rest.contains("x-end: 1"), "{rest}");
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let bench = Bench::with_agent(agent()).await;
    let mut client = bench.connect().await;
    client
        .write_all(
            format!(
                "POST /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
                 Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
            )
            .as_bytes(),
        )
        .await
        .unwrap();
    read_until(&mut client, "HTTP/1.1 100").await;
    client.write_all(b"body").await.unwrap();
    read_until(&mut client, "body=body").await;
}

#[tokio::test]
async fn a_refused_upload_is_never_asked_for() {
    let bench = Bench::with_agent(agent()).await;
    let answer = bench
        .exchange(
            "POST /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\n\
             Expect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(status(&answer), "401", "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_in_the_sandbox() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let mut client = bench.connect().await;
    let request =
        format!("GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = within(agent.accept()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    drop(client);
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_holds_the_agent_back() {
    let mut bench = Bench::start().await;
    let agent = bench.agent.take().unwrap();
    let mut client = bench.connect().await;
    let request =
        format!("GET /toolbox/box/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = within(agent.accept()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        .await
        .unwrap();
    // Nobody reads at the other end: writing must come to a stand once all buffers are full.
    let chunk = vec![b'x'; 1 << 20];
    let mut written = 0_u64;
    while let Ok(result) =
        tokio::time::timeout(std::time::Duration::from_millis(300), stream.write(&chunk)).await
    {
        written += u64::try_from(result.unwrap()).unwrap();
        assert!(written < 64 << 20, "{written} bytes were swallowed");
    }
}

#[tokio::test]
async fn every_request_that_is_let_in_is_told_with_its_outcome() {
    let agent = Router::new().fallback(async || http::StatusCode::IM_A_TEAPOT);
    let bench = Bench::with_agent(agent).await;
    let request = |path: &str, key: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{more}Connection: close\r\n\r\n"
        )
    };
    *bench.gate.dial_error.lock().unwrap() = Some(DialError::Unavailable);
    bench
        .exchange(&request("/toolbox/box/version", KEY, ""))
        .await;
    *bench.gate.dial_error.lock().unwrap() = None;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let header = format!("traceparent: {traceparent}\r\n");
    let path = "/toolbox/box/files/info?path=secret";
    bench.exchange(&request(path, KEY, &header)).await;
    bench.exchange(&request(path, "wrong", "")).await;

    let calls = bench.gate.calls.lock().unwrap().clone();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.method.as_str(), call.path.as_str(), call.status))
        .collect();
    assert_eq!(
        told,
        [("GET", "/version", 502), ("GET", "/files/info", 418)],
        "the stranger's is not of the sandbox, and a query may hold anything"
    );
    assert_eq!(calls[1].traceparent.as_deref(), Some(traceparent));
    assert_eq!(calls[1].sandbox.as_str(), "box");
}

#[tokio::test]
async fn requests_are_put_down_with_what_says_what_they_do_and_nothing_else() {
    let bench = Bench::with_agent(agent()).await;
    let form = "--B\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n/a\r\n\
                --B\r\nContent-Disposition: form-data; name=\"files[0].file\"; filename=\"x\"\r\n\r\n\
                contents\r\n--B--\r\n";
    let long = format!("{{\"command\": \"{}\"}}", "x".repeat(70_000));
    for (request, kind, body) in [
        (
            "POST /toolbox/box/process/execute",
            "application/json",
            "{\"command\": \"ls\"}",
        ),
        (
            "POST /toolbox/box/process/execute",
            "application/json",
            long.as_str(),
        ),
        (
            "POST /toolbox/box/files/bulk-upload",
            "multipart/form-data; boundary=B",
            form,
        ),
        ("POST /toolbox/box/lsp/start", "application/json", "{}"),
        ("GET /toolbox/box/files?path=x", "text/plain", ""),
    ] {
        let answer = bench
            .exchange(&format!(
                "{request} HTTP/1.1\r\nHost: example.org\r\nAuthorization: bearer {KEY}\r\n\
                 Content-Type: {kind}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        assert_eq!(status(&answer), "200", "{answer}");
    }
    *bench.gate.dial_error.lock().unwrap() = Some(DialError::NotRunning);
    bench
        .exchange(&format!(
            "GET /toolbox/box/work-dir HTTP/1.1\r\nHost: example.org\r\nAuthorization: bearer {KEY}\r\n\
             Connection: close\r\n\r\n"
        ))
        .await;
    let traffic = std::mem::take(&mut *bench.gate.traffic.lock().unwrap());
    let row = |what: &str, status, body| (what.to_owned(), None, status, body);
    let mut expected = vec![
        row(
            "POST /process/execute ",
            200,
            TrafficBody::Whole(b"{\"command\": \"ls\"}".to_vec()),
        ),
        row("POST /process/execute ", 200, TrafficBody::TooLong),
        row(
            "POST /files/bulk-upload ",
            200,
            TrafficBody::Files(vec!["/a".to_owned()]),
        ),
        row("POST /lsp/start ", 200, TrafficBody::Unseen),
        row("GET /files path=x", 200, TrafficBody::Unseen),
    ];
    // A connection that was kept may still answer.
    expected.push(row("GET /work-dir ", traffic[5].2, TrafficBody::Unseen));
    assert_eq!(traffic, expected);
}
