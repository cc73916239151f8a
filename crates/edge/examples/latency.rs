//! What the proxy adds to one small request: `cargo run --release -p alcove-edge --example latency`.
//!
//! The same request goes to the agent's unix socket directly and through the proxy, in turns, so that a
//! busy machine disturbs both alike. Budget: 0.3 ms at the median.
#![expect(clippy::unwrap_used, reason = "a measurement may panic")]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/proxy/support.rs"]
mod support;

use std::time::{Duration, Instant};

use axum::Router;
use support::{Bench, KEY};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

const ROUNDS: usize = 5000;
const WARM_UP: usize = 500;
const BODY: &str = r#"{"command":"true"}"#;

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> Duration {
    let began = Instant::now();
    stream.write_all(request).await.unwrap();
    let mut seen = Vec::with_capacity(1024);
    while !seen.ends_with(b"done") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    began.elapsed()
}

fn request(prefix: &str) -> Vec<u8> {
    format!(
        "POST {prefix}/process/execute HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
    .into_bytes()
}

fn report(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000];
    println!("{name}: p50 {:?}, p99 {:?}", at(500), at(990));
    at(500)
}

#[tokio::main]
async fn main() {
    let router = Router::new().fallback(|_: String| async { "done" });
    let bench = Bench::with_agent(router).await;
    let mut direct = UnixStream::connect(&bench.gate.socket).await.unwrap();
    let mut proxied = bench.connect().await;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        let one = ask(&mut direct, &request("")).await;
        let two = ask(&mut proxied, &request("/toolbox/box")).await;
        if round >= WARM_UP {
            near.push(one);
            far.push(two);
        }
    }
    let near = report("direct ", near);
    let far = report("proxied", far);
    println!(
        "added  : p50 {:?}, with {} connections to the agent",
        far.saturating_sub(near),
        bench.gate.dials.load(std::sync::atomic::Ordering::SeqCst)
    );
}
