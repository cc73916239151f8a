//! Servers that fail, and how they end.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::Full;
use hyper::body::Bytes;
use rustix::process::Signal;
use serde_json::json;

use super::Lsp;
use crate::support::{TestAgent, eventually, is_running, signal};

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_refusal_is_told() {
    let lsp = Lsp::started().await;
    let answer = lsp.search("refuse").await.expect(400).json();
    assert!(
        answer["message"].as_str().unwrap().ends_with("not today"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_server_that_died_is_started_again_with_its_documents() {
    let lsp = Lsp::started().await;
    lsp.write("a.py", "one");
    lsp.open("a.py").await.expect(200);
    lsp.open("a.py").await.expect(200);
    let first = lsp.pid().await;
    signal(first, Signal::KILL);
    lsp.write("a.py", "two");
    let symbols = lsp.symbols("a.py").await;
    assert_eq!(
        (&symbols[0]["name"], &symbols[1]["name"]),
        (&json!("python 2"), &json!("two"))
    );
    let second = lsp.pid().await;
    assert_ne!(first, second);
    // This one dies of the request itself, and once more of the second try.
    let answer = lsp.search("crash").await.expect(400).json();
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("exited with 3") && message.contains("about to crash"),
        "{message}"
    );
    assert_eq!(lsp.symbols("a.py").await[1]["name"], "two");
    assert_eq!(lsp.received("initialize").len(), 4);
}

#[tokio::test]
async fn output_that_is_no_message_ends_the_server() {
    let lsp = Lsp::started().await;
    for (query, reason) in [
        ("garbage", "This is no message"),
        ("long", "1000000000 bytes is too long"),
    ] {
        let pid = lsp.pid().await;
        let answer = lsp.search(query).await.expect(400).json();
        assert!(
            answer["message"].as_str().unwrap().contains(reason),
            "{answer}"
        );
        eventually("the end of the server", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn a_talkative_server_neither_waits_nor_costs_memory() {
    let lsp = Lsp::started().await;
    let before = lsp.agent.private_kib();
    assert_eq!(lsp.found("complain").await, ["complain"]);
    assert!(lsp.agent.private_kib() < before + 2048);
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why_and_is_not_started() {
    let lsp = Lsp::of("python").await;
    lsp.write("refuse-to-start", "");
    let answer = lsp.post("start", json!({})).await.expect(500).json();
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("the reason on standard error"),
        "{message}"
    );
    lsp.search("x").await.expect(400);
    lsp.post("stop", json!({})).await.expect(400);
    std::fs::remove_file(lsp.project.join("refuse-to-start")).unwrap();
    lsp.post("start", json!({})).await.expect(200);
    assert_eq!(lsp.found("x").await, ["x"]);
}

#[tokio::test]
async fn a_server_that_is_not_installed_is_named() {
    let agent = TestAgent::start_with(json!({ "env": { "PATH": "/nowhere" } })).await;
    let request = json!({ "languageId": "javascript", "pathToProject": "/" });
    let answer = agent.post("/lsp/start", &request).await.expect(500).json();
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("typescript-language-server is not installed"),
        "{message}"
    );
}

#[tokio::test]
async fn stop_asks_politely_and_leaves_nothing() {
    let lsp = Lsp::started().await;
    lsp.found("spawn:98712").await;
    eventually("the child", || is_running("98712")).await;
    let pid = lsp.pid().await;
    lsp.post("stop", json!({})).await.expect(200);
    assert!(!is_alive(pid) && !is_running("98712"));
    assert_eq!(lsp.received("shutdown").len(), 1);
    assert_eq!(lsp.received("exit").len(), 1);
    lsp.post("stop", json!({})).await.expect(400);
    lsp.search("x").await.expect(400);
    lsp.post("start", json!({})).await.expect(200);
    assert_ne!(lsp.pid().await, pid);
}

#[tokio::test]
async fn a_stubborn_server_is_killed_with_all_that_it_started() {
    let lsp = Lsp::started().await;
    lsp.write("stubborn", "");
    lsp.found("spawn:98713").await;
    eventually("the child", || is_running("98713")).await;
    let pid = lsp.pid().await;
    let waiting = lsp.search("hang");
    let stop = async {
        eventually("the request", || {
            lsp.received("workspace/symbol").len() == 3
        })
        .await;
        let start = Instant::now();
        lsp.post("stop", json!({})).await.expect(200);
        start.elapsed()
    };
    let (waited, took) = tokio::join!(waiting, stop);
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert!(!is_alive(pid) && !is_running("98713"));
    waited.expect(400);
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_request_back() {
    let lsp = Lsp::started().await;
    let uri = lsp.query("workspacesymbols", "query=hang");
    let request = TestAgent::request(Method::GET, &uri)
        .body(Full::<Bytes>::default())
        .unwrap();
    let leaves = async {
        tokio::select! {
            _ = lsp.agent.send(request) => panic!("answered"),
            () = eventually("the request", || !lsp.received("workspace/symbol").is_empty()) => {}
        }
    };
    leaves.await;
    eventually("the withdrawal", || {
        lsp.received("$/cancelRequest").len() == 1
    })
    .await;
    assert_eq!(lsp.found("x").await, ["x"]);
}

#[tokio::test]
async fn a_request_that_is_not_answered_times_out() {
    let lsp = Lsp::started().await;
    let start = Instant::now();
    let answer = lsp.search("hang").await.expect(408).json();
    assert_eq!(answer["code"], "REQUEST_TIMEOUT");
    assert!(
        start.elapsed() < Duration::from_secs(75),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(lsp.found("x").await, ["x"], "the server goes on");
}

#[tokio::test]
async fn servers_end_with_the_agent() {
    let mut lsp = Lsp::started().await;
    let pid = lsp.pid().await;
    let (code, took) = lsp.agent.stop().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(8), "{took:?}");
    // Whoever reaps the orphans of this machine may take a moment.
    eventually("the end of the server", || !is_alive(pid)).await;
}
