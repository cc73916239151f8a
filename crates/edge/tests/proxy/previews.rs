//! Ports of sandboxes through the proxy: who may, what passes, what a person sees where nothing answers.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Bench, KEY, PASS, TOKEN, read_until, within};

/// Answers with what it got, and tries to reach beyond its host.
async fn echo(request: Request) -> impl IntoResponse {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        writeln!(text, "{name}={}", value.to_str().unwrap()).unwrap();
    }
    let cookie = "stolen=1; Domain=localhost; Path=/";
    ([("set-cookie", cookie), ("alt-svc", "h3")], text)
}

/// A program on a port of its own. It plays the sandbox's.
pub async fn program() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(echo);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    port
}

/// What the proxy answers to a GET with these lines of head.
pub async fn get(bench: &Bench, host: &str, path: &str, head: &[&str]) -> String {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for line in head {
        write!(request, "{line}\r\n").unwrap();
    }
    request.push_str("\r\n");
    bench.exchange(&request).await
}

#[tokio::test]
async fn a_port_is_reached_by_its_host_and_by_its_path() {
    let bench = Bench::start().await;
    let port = program().await;
    let token = format!("X-Daytona-Preview-Token: {TOKEN}");
    let host = format!("{port}-box.localhost:4000");
    let answer = get(&bench, &host, "/a%2Fb?c=d", &[&token]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for line in [
        "GET /a%2Fb?c=d\n",
        &format!("host=localhost:{port}\n"),
        &format!("x-forwarded-host={host}\n"),
        "x-forwarded-proto=http\n",
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    assert!(!answer.contains(TOKEN), "{answer}");
    assert!(
        answer.contains("set-cookie: stolen=1; Path=/\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("alt-svc"), "{answer}");
    // What a browser of this name may do is the program's to say.
    assert!(!answer.contains("content-security-policy"), "{answer}");

    let path = format!("/p/box/{port}");
    let answer = get(&bench, "server", &format!("{path}/a%2Fb"), &[&token]).await;
    for line in ["GET /a%2Fb\n", &format!("x-forwarded-prefix={path}\n")] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    assert!(
        answer.contains(&format!("stolen=1; Path={path}/\r\n")),
        "{answer}"
    );
    assert!(
        answer.contains("content-security-policy: sandbox "),
        "{answer}"
    );
    let answer = get(&bench, "server", &format!("{path}?q"), &[]).await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(
        answer.contains(&format!("location: {path}/?q\r\n")),
        "{answer}"
    );
}

#[tokio::test]
async fn nobody_reaches_a_private_port_without_a_credential() {
    let bench = Bench::start().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    for head in [
        &[][..],
        &["X-Daytona-Preview-Token: guess"],
        &["Authorization: Bearer guess"],
        &["Cookie: alcove-preview=guess"],
    ] {
        let answer = get(&bench, &host, "/?DAYTONA_SANDBOX_AUTH_KEY=guess", head).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{head:?}: {answer}");
    }
    assert_eq!(bench.gate.dials.load(Ordering::SeqCst), 0);
    *bench.gate.is_public.lock().unwrap() = true;
    let answer = get(&bench, &host, "/", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn no_credential_of_ours_reaches_the_program_and_its_own_do() {
    let bench = Bench::start().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    *bench.gate.is_public.lock().unwrap() = true;
    let ours = [
        &format!("Authorization: Bearer {KEY}")[..],
        &format!("X-Daytona-Preview-Token: {TOKEN}"),
        &format!("Cookie: alcove-preview={PASS}; __Host-alcove-preview={PASS}; own=yes"),
    ];
    let query = format!("/?DAYTONA_SANDBOX_AUTH_KEY={TOKEN}&x=1");
    let answer = get(&bench, &host, &query, &ours).await;
    assert!(answer.contains("GET /?x=1\n"), "{answer}");
    assert!(answer.contains("cookie=own=yes\n"), "{answer}");
    for secret in [KEY, TOKEN, PASS] {
        assert!(!answer.contains(secret), "{secret} in {answer}");
    }
    let own = ["Authorization: Bearer of-the-program"];
    let answer = get(&bench, &host, "/", &own).await;
    assert!(
        answer.contains("authorization=Bearer of-the-program\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_browser_that_came_with_a_token_in_the_query_needs_it_no_more() {
    let bench = Bench::start().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    let query = format!("/?DAYTONA_SANDBOX_AUTH_KEY={TOKEN}");
    let answer = get(&bench, &host, &query, &[]).await;
    let cookie = format!(
        "set-cookie: alcove-preview={PASS}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax\r\n"
    );
    assert!(answer.contains(&cookie), "{answer}");
    let pass = format!("Cookie: alcove-preview={PASS}");
    let answer = get(&bench, &host, "/style.css", &[&pass]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains(PASS), "{answer}");
}

#[tokio::test]
async fn a_page_of_another_sandbox_neither_posts_nor_opens_a_socket_by_a_visitors_cookie() {
    let bench = Bench::start().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    let pass = format!("Cookie: alcove-preview={PASS}");
    let socket = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
    ];
    for origin in ["http://80-evil.localhost", "https://page.example", "null"] {
        let origin = format!("Origin: {origin}");
        let head = [&socket[..], &[&origin, &pass]].concat();
        let answer = get(&bench, &host, "/", &head).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{origin}: {answer}");
        let posting = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\
             {origin}\r\n{pass}\r\n\r\n"
        );
        let answer = bench.exchange(&posting).await;
        assert!(answer.contains("FOREIGN_ORIGIN"), "{origin}: {answer}");
        // Who shows a token of its own may.
        let answer = bench.exchange(&posting.replace(&pass, &token_line())).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{origin}: {answer}");
    }
    // Its own page, and one of another port of the same sandbox.
    for origin in [
        format!("http://{host}"),
        "http://1-box.localhost".to_owned(),
    ] {
        let origin = format!("Origin: {origin}");
        let head = [&socket[..], &[&origin, &pass]].concat();
        let answer = get(&bench, &host, "/", &head).await;
        assert!(answer.contains("upgrade=websocket\n"), "{answer}");
    }
}

pub fn token_line() -> String {
    format!("X-Daytona-Preview-Token: {TOKEN}")
}

#[tokio::test]
async fn a_page_of_another_origin_reads_what_it_brought_a_token_for_and_not_what_a_cookie_opened() {
    let bench = Bench::start().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    let origin = "Origin: https://page.example";
    let reads = "access-control-allow-origin: https://page.example\r\n";
    let token = format!("X-Daytona-Preview-Token: {TOKEN}");
    let answer = get(&bench, &host, "/", &[origin, &token]).await;
    assert!(answer.contains(reads), "{answer}");
    assert!(!answer.contains("allow-credentials"), "{answer}");
    let pass = format!("Cookie: alcove-preview={PASS}");
    let answer = get(&bench, &host, "/", &[origin, &pass]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    let disabled = "X-Daytona-Disable-CORS: true";
    let answer = get(&bench, &host, "/", &[origin, &token, disabled]).await;
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");

    let answer = bench
        .exchange(&format!(
            "OPTIONS / HTTP/1.1\r\nHost: {host}\r\n{origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: x-daytona-preview-token\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains(reads), "{answer}");
    assert!(
        answer.contains("access-control-allow-headers: x-daytona-preview-token\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn who_looks_is_told_why_nothing_answers_a_person_by_a_page_and_a_program_by_json() {
    let bench = Bench::start().await;
    let token = format!("X-Daytona-Preview-Token: {TOKEN}");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let page = "Accept: text/html,application/xhtml+xml";
    for (host, status, words) in [
        (format!("{port}-box.localhost"), 502, "Nothing listens"),
        (format!("{port}-none.localhost"), 404, "no such sandbox"),
        ("080-box.localhost".to_owned(), 404, "Not the address"),
        ("www.localhost".to_owned(), 404, "Not the address"),
    ] {
        let answer = get(&bench, &host, "/", &[&token, page]).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("content-type: text/html"), "{answer}");
        assert!(answer.contains(words), "{words} in {answer}");
        let answer = get(&bench, &host, "/", &[&token]).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer.contains("content-type: application/json\r\n"),
            "{answer}"
        );
    }
    let answer = get(&bench, "80-box.localhost", "/", &[page]).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("not public"), "{answer}");
}

#[tokio::test]
async fn the_toolboxs_port_is_the_toolbox() {
    let bench = Bench::with_agent(Router::new().fallback(echo)).await;
    let token = format!("X-Daytona-Preview-Token: {TOKEN}");
    let answer = get(&bench, "2280-box.localhost", "/process/session", &[&token]).await;
    assert!(answer.contains("GET /process/session\n"), "{answer}");
    assert!(answer.contains("x-alcove-agent-token="), "{answer}");
    assert!(!answer.contains("set-cookie"), "{answer}");
    let answer = get(&bench, "2280-box.localhost", "/process/session", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_websocket_reaches_the_program() {
    let bench = Bench::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = bench.connect().await;
    let request = format!(
        "GET /hmr HTTP/1.1\r\nHost: {port}-box.localhost\r\nX-Daytona-Preview-Token: {TOKEN}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: vite-hmr\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut program, _) = within(listener.accept()).await.unwrap();
    let seen = read_until(&mut program, "\r\n\r\n")
        .await
        .to_ascii_lowercase();
    assert!(seen.contains("connection: upgrade\r\n"), "{seen}");
    assert!(
        seen.contains("sec-websocket-protocol: vite-hmr\r\n"),
        "{seen}"
    );
    assert!(!seen.contains(TOKEN), "{seen}");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    program.write_all(switch.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "hello").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.write_all(b"and back").await.unwrap();
    assert_eq!(read_until(&mut program, "and back").await, "and back");
}

#[tokio::test]
async fn a_page_is_asked_for_again_where_a_kept_connection_was_closed_under_it_and_a_form_is_not() {
    let bench = Bench::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let head = format!("Host: {port}-box.localhost\r\nX-Daytona-Preview-Token: {TOKEN}\r\n");
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (method, is_repeated) in [("GET", true), ("POST", false)] {
        let mut client = bench.connect().await;
        let body = if is_repeated {
            ""
        } else {
            "Content-Length: 1\r\n"
        };
        let end = if is_repeated { "\r\n" } else { "\r\nx" };
        let first = format!("GET /first HTTP/1.1\r\n{head}\r\n");
        client.write_all(first.as_bytes()).await.unwrap();
        let (mut kept, _) = within(listener.accept()).await.unwrap();
        read_until(&mut kept, "\r\n\r\n").await;
        kept.write_all(answer.as_bytes()).await.unwrap();
        read_until(&mut client, "ok").await;
        let second = format!("{method} /second HTTP/1.1\r\n{head}{body}{end}");
        client.write_all(second.as_bytes()).await.unwrap();
        // It has come over the kept connection, and that is closed without an answer.
        read_until(&mut kept, end.trim_start_matches("\r\n")).await;
        drop(kept);
        if is_repeated {
            let (mut fresh, _) = within(listener.accept()).await.unwrap();
            read_until(&mut fresh, "GET /second").await;
            fresh.write_all(answer.as_bytes()).await.unwrap();
            read_until(&mut client, "ok").await;
            // The next round must find no kept connection.
            drop(fresh);
            let mut rest = [0; 1];
            drop(client.shutdown().await);
            let _ = within(client.read(&mut rest)).await;
        } else {
            let refused = read_until(&mut client, "PORT_CONNECTION_LOST").await;
            assert!(refused.starts_with("HTTP/1.1 502 "), "{refused}");
        }
    }
}
