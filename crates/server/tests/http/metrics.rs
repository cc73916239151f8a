//! What monitoring is told, and what the configuration tells everyone.

use alcove_server::{Options, SshGateway};
use alcove_testkit::TestControl;
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::{Server, within};

#[tokio::test]
async fn the_administrator_reads_how_the_server_is_and_nobody_else() {
    let server = Server::start().await;
    server.create(json!({})).await;
    let told = server.ask("GET", "/api/metrics").await;
    assert_eq!(told.status, StatusCode::OK);
    assert_eq!(
        told.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        "alcove_component_up{component=\"database\"} 1",
        "alcove_component_up{component=\"runner\"} 1",
        "alcove_sandboxes{state=\"started\"} 1",
        "alcove_http_requests_total{status=\"2xx\"} 1",
        "alcove_http_requests_open 1",
    ] {
        assert!(
            told.text.lines().any(|it| it == line),
            "{line} in {}",
            told.text
        );
    }
    // Whatever reads it takes each line for a name and a number.
    for line in told.text.lines().filter(|line| !line.starts_with('#')) {
        let (_, number) = line.rsplit_once(' ').unwrap();
        assert!(number.parse::<f64>().is_ok(), "{line}");
    }
    let (_, key) = server.kit.add_stranger("eve").await;
    let request = http::Request::builder()
        .uri("/api/metrics")
        .header("authorization", format!("Bearer {key}"))
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(server.send(request).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_listener_of_its_own_answers_monitoring_and_nothing_else() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(alcove_server::serve_with(
        listener.into(),
        server.app.metrics(),
        shutdown.clone(),
        std::time::Duration::from_millis(500),
        std::future::ready(()),
    ));
    for (path, status, has) in [
        ("/metrics", "200 OK", "alcove_build_info"),
        ("/api/sandbox", "404 Not Found", ""),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let asked = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut said = String::new();
        within(stream.read_to_string(&mut said)).await.unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
        assert!(said.contains(has), "{said}");
    }
    shutdown.cancel();
    within(serving).await.unwrap();
}

#[tokio::test]
async fn the_configuration_tells_how_to_know_the_ssh_gateway() {
    let options = Options {
        ssh_command: "ssh -p 2222 {{TOKEN}}@box".to_owned(),
        ssh_gateway: Some(SshGateway {
            address: Some(("box".to_owned(), 2222)),
            host_key: "ssh-ed25519 AAAA".to_owned(),
            fingerprint: "SHA256:x".to_owned(),
        }),
        ..Options::default()
    };
    let server = Server::with_options(TestControl::open().await, options);
    let config = server.ask("GET", "/api/config").await.ok();
    for (field, value) in [
        ("sshGatewayCommand", json!("ssh -p 2222 {{TOKEN}}@box")),
        ("sshGatewayPublicKey", json!("c3NoLWVkMjU1MTkgQUFBQQ==")),
        ("sshGatewayHost", json!("box")),
        ("sshGatewayPort", json!(2222)),
        ("sshGatewayHostKeys", json!(["ssh-ed25519 AAAA"])),
        ("sshGatewayHostKeyFingerprints", json!(["SHA256:x"])),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    let without = Server::start().await.ask("GET", "/api/config").await.ok();
    assert!(without.get("sshGatewayCommand").is_none());
}
