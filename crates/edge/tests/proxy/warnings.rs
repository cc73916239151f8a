//! The page before a preview, where the operator wants one.

use std::sync::atomic::Ordering;

use alcove_edge::Previews;

use crate::previews::{get, program, token_line};
use crate::support::{Bench, TOKEN};

const HTML: &str = "Accept: text/html,*/*";

async fn bench() -> Bench {
    Bench::with_previews(Previews {
        warns: true,
        ..Previews::default()
    })
    .await
}

async fn accept(bench: &Bench, host: &str, path: &str, head: &str) -> String {
    let token = token_line();
    bench
        .exchange(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\
             {token}\r\n{head}\r\n"
        ))
        .await
}

#[tokio::test]
async fn a_browser_sees_the_warning_first_and_the_program_only_after_it() {
    let bench = bench().await;
    let port = program().await;
    for (host, prefix) in [
        (format!("{port}-box.localhost"), String::new()),
        ("server".to_owned(), format!("/p/box/{port}")),
    ] {
        let dials = bench.gate.dials.load(Ordering::SeqCst);
        let path = format!("{prefix}/a?b=c&DAYTONA_SANDBOX_AUTH_KEY={TOKEN}");
        let warned = get(&bench, &host, &path, &[HTML]).await;
        assert!(warned.contains("<h1>This is a preview</h1>"), "{warned}");
        assert!(warned.contains("set-cookie: alcove-preview="), "{warned}");
        assert!(warned.contains("frame-ancestors 'none'"), "{warned}");
        assert!(!warned.contains(TOKEN), "{warned}");
        assert_eq!(bench.gate.dials.load(Ordering::SeqCst), dials);
        let action = warned.split("action=\"").nth(1).unwrap();
        let action = action.split('"').next().unwrap();
        let accepted = accept(&bench, &host, action, "").await;
        assert!(accepted.starts_with("HTTP/1.1 303 "), "{accepted}");
        let back = format!("location: {prefix}/a?b=c\r\n");
        assert!(accepted.contains(&back), "{accepted}");
        let cookie = format!("set-cookie: alcove-preview-accepted=1; Path={prefix}/; ");
        assert!(accepted.contains(&cookie), "{accepted}");
        let head = [HTML, &token_line(), "Cookie: alcove-preview-accepted=1"];
        let shown = get(&bench, &host, &format!("{prefix}/a"), &head).await;
        assert!(shown.contains("GET /a\n"), "{shown}");
        assert!(!shown.contains("alcove-preview-accepted"), "{shown}");
    }
}

#[tokio::test]
async fn programs_and_who_asks_not_to_be_warned_are_not_and_nobody_is_let_in_by_it() {
    let bench = bench().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    let token = token_line();
    let skip = "X-Daytona-Skip-Preview-Warning: true";
    for head in [&[&token[..]][..], &[&token, HTML, skip]] {
        let shown = get(&bench, &host, "/", head).await;
        assert!(shown.contains("GET /\n"), "{shown}");
        assert!(!shown.contains("skip-preview-warning"), "{shown}");
    }
    let refused = get(&bench, &host, "/", &[HTML]).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
}

#[tokio::test]
async fn the_button_leads_to_the_same_host_and_is_pressed_by_no_other_page() {
    let bench = bench().await;
    let port = program().await;
    let host = format!("{port}-box.localhost");
    for elsewhere in [
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "%2F%2Fevil.example",
        "evil",
        "%0d%0aX:1",
    ] {
        let path = format!("/accept-daytona-preview-warning?redirect={elsewhere}");
        let answer = accept(&bench, &host, &path, "").await;
        assert!(answer.contains("location: /\r\n"), "{elsewhere}: {answer}");
    }
    let path = "/accept-daytona-preview-warning?redirect=/";
    let answer = accept(&bench, &host, path, "Origin: https://evil.example\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(
        !answer.contains("set-cookie: alcove-preview-accepted"),
        "{answer}"
    );
}
