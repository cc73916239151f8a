//! The terminal for browsers: who gets the page, what is behind it, and who may not use a browser's access to it.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;

use crate::support::{AGENT_TOKEN, Bench, KEY, PASS, TOKEN};

const HOST: &str = "22222-box.localhost:4000";

/// Plays the agent: tells what it was asked for, and by whom.
async fn agent(request: Request) -> impl IntoResponse {
    let token = request.headers()["x-alcove-agent-token"].to_str().unwrap();
    format!("agent: {} {} {token}", request.method(), request.uri())
}

async fn bench() -> Bench {
    Bench::with_agent(Router::new().fallback(agent)).await
}

async fn ask(bench: &Bench, method: &str, host: &str, path: &str, head: &[&str]) -> String {
    let lines = [head, &[""]].concat().join("\r\n");
    bench
        .exchange(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Length: 0\r\n{lines}\r\n"
        ))
        .await
}

fn token() -> String {
    format!("X-Daytona-Preview-Token: {TOKEN}")
}

#[tokio::test]
async fn the_page_is_for_whom_is_let_in_and_its_files_are_no_secret() {
    let bench = bench().await;
    let prefix = "/p/box/22222";
    for (host, prefix) in [(HOST, ""), ("server", prefix)] {
        let page = format!("{prefix}/");
        let refused = ask(&bench, "GET", host, &page, &[]).await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        let given = ask(&bench, "GET", host, &page, &[&token()]).await;
        assert!(given.starts_with("HTTP/1.1 200 "), "{given}");
        assert!(given.contains("<title>Terminal</title>"), "{given}");
        assert!(given.contains("frame-ancestors 'none'"), "{given}");
        let by_query = format!("{page}?DAYTONA_SANDBOX_AUTH_KEY={TOKEN}");
        let given = ask(&bench, "GET", host, &by_query, &[]).await;
        let cookie = format!("set-cookie: alcove-preview={PASS}; Path={prefix}/; ");
        assert!(given.contains(&cookie), "{given}");
        let file = format!("{prefix}/xterm.mjs");
        let given = ask(&bench, "GET", host, &file, &[]).await;
        assert!(given.starts_with("HTTP/1.1 200 "), "{}", &given[..200]);
    }
    assert_eq!(bench.gate.dials.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn behind_the_page_are_the_agents_terminals_and_nothing_else_of_it() {
    let bench = bench().await;
    for (host, prefix) in [(HOST, ""), ("server", "/p/box/22222")] {
        for path in ["/process/pty", "/process/pty/a/resize"] {
            let refused = ask(&bench, "POST", host, &format!("{prefix}{path}"), &[]).await;
            assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
            let asked = format!("{prefix}{path}?a=b&DAYTONA_SANDBOX_AUTH_KEY={TOKEN}");
            let answer = ask(&bench, "POST", host, &asked, &[]).await;
            let told = format!("agent: POST {path}?a=b {AGENT_TOKEN}");
            assert!(answer.contains(&told), "{answer}");
        }
        for path in ["/process/execute", "/files", "/process/ptyx", "/x"] {
            let path = format!("{prefix}{path}");
            let answer = ask(&bench, "POST", host, &path, &[&token()]).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn no_page_of_another_origin_reaches_a_terminal() {
    let bench = bench().await;
    let pass = format!("Cookie: alcove-preview={PASS}");
    let key = format!("Authorization: Bearer {KEY}");
    for origin in [
        "http://3000-box.localhost:4000",
        "http://22222-other.localhost:4000",
        "http://22222-box.localhost:4001",
        "https://page.example",
        "null",
    ] {
        for credential in [&pass, &key, &token()] {
            let head = [credential, &format!("Origin: {origin}")[..]];
            let answer = ask(&bench, "POST", HOST, "/process/pty", &head).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{head:?}: {answer}");
            assert!(!answer.contains("access-control-"), "{answer}");
        }
    }
    assert_eq!(bench.gate.dials.load(Ordering::SeqCst), 0);
    let head = [&pass, &format!("Origin: http://{HOST}")[..]];
    let answer = ask(&bench, "POST", HOST, "/process/pty", &head).await;
    assert!(answer.contains("agent: POST /process/pty "), "{answer}");
}
