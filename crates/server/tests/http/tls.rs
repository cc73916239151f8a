//! TLS and what begins without it, on one port.

use std::sync::Arc;

use alcove_server::{Certificate, Listener, Tls, TlsMode};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::support::{Server, within};

struct Pair {
    chain: String,
    key: String,
    der: CertificateDer<'static>,
}

fn pair() -> Pair {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pair {
        chain: cert.pem(),
        key: signing_key.serialize_pem(),
        der: cert.der().clone(),
    }
}

async fn listen(certificate: Certificate, mode: TlsMode) -> (u16, CancellationToken) {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let listener = Listener::with_tls(listener, Tls::new(certificate, mode).unwrap());
    let (app, stop) = (server.app.clone(), shutdown.clone());
    tokio::spawn(async move {
        let _kept = server;
        alcove_server::serve(listener, app, stop, std::time::Duration::from_millis(100)).await;
    });
    (port, shutdown)
}

fn connector(trusted: &Pair, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    port: u16,
    connector: &TlsConnector,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    within(connector.connect(name, stream)).await
}

async fn health(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let request = b"GET /api/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut text = String::new();
    if stream.write_all(request).await.is_ok() {
        let _ = within(stream.read_to_string(&mut text)).await;
    }
    text.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn one_port_takes_tls_and_what_is_without() {
    let pair = pair();
    let certificate = Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap();
    let (port, shutdown) = listen(certificate, TlsMode::Offered).await;
    let plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert_eq!(health(plain).await, "HTTP/1.1 200 OK");
    let tls = connect(port, &connector(&pair, &[])).await.unwrap();
    assert_eq!(health(tls).await, "HTTP/1.1 200 OK");
    shutdown.cancel();
}

#[tokio::test]
async fn where_tls_is_required_nothing_is_answered_without() {
    let pair = pair();
    let certificate = Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap();
    let (port, shutdown) = listen(certificate, TlsMode::Required).await;
    let plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(!health(plain).await.starts_with("HTTP"));
    let tls = connect(port, &connector(&pair, &[])).await.unwrap();
    assert_eq!(health(tls).await, "HTTP/1.1 200 OK");
    shutdown.cancel();
}

#[tokio::test]
async fn the_protocol_is_agreed_on() {
    let pair = pair();
    let certificate = Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap();
    let (port, shutdown) = listen(certificate, TlsMode::Offered).await;
    for (offered, agreed) in [
        (vec!["h2", "http/1.1"], Some(b"h2".as_slice())),
        (vec!["http/1.1"], Some(b"http/1.1".as_slice())),
        (vec![], None),
    ] {
        let tls = connect(port, &connector(&pair, &offered)).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
    }
    shutdown.cancel();
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_connection() {
    let (old, new) = (pair(), pair());
    let certificate = Certificate::from_pem(old.chain.as_bytes(), old.key.as_bytes()).unwrap();
    let (port, shutdown) = listen(certificate.clone(), TlsMode::Offered).await;
    assert!(connect(port, &connector(&new, &[])).await.is_err());
    let kept = connect(port, &connector(&old, &[])).await.unwrap();
    // One that does not fit its key is refused, and the old one stays.
    assert!(
        certificate
            .replace(new.chain.as_bytes(), old.key.as_bytes())
            .is_err()
    );
    assert!(connect(port, &connector(&old, &[])).await.is_ok());
    certificate
        .replace(new.chain.as_bytes(), new.key.as_bytes())
        .unwrap();
    assert!(connect(port, &connector(&old, &[])).await.is_err());
    assert!(connect(port, &connector(&new, &[])).await.is_ok());
    assert_eq!(health(kept).await, "HTTP/1.1 200 OK");
    shutdown.cancel();
}

#[tokio::test]
async fn where_tls_is_required_who_asks_without_may_be_told_where_to_ask() {
    let pair = pair();
    let certificate = Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap();
    let (port, shutdown) = listen(certificate, TlsMode::Redirected).await;
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "GET /api/health?a=b HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n"
    );
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(plain.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    let location = format!("location: https://localhost:{port}/api/health?a=b\r\n");
    assert!(answer.contains(&location), "{answer}");
    let tls = connect(port, &connector(&pair, &[])).await.unwrap();
    assert_eq!(health(tls).await, "HTTP/1.1 200 OK");
    shutdown.cancel();
}

#[tokio::test]
async fn an_authority_sees_the_answer_to_its_challenge_and_nothing_else() {
    let (shown, answer) = (pair(), pair());
    let certificate = Certificate::default();
    let (port, shutdown) = listen(certificate.clone(), TlsMode::Offered).await;
    // There is no certificate yet.
    assert!(connect(port, &connector(&shown, &[])).await.is_err());
    let challenge = connector(&answer, &["acme-tls/1"]);
    assert!(connect(port, &challenge).await.is_err());
    certificate
        .replace(shown.chain.as_bytes(), shown.key.as_bytes())
        .unwrap();
    certificate
        .answer_challenge("localhost", answer.chain.as_bytes(), answer.key.as_bytes())
        .unwrap();
    let looked = connect(port, &challenge).await.unwrap();
    assert_eq!(
        looked.get_ref().1.alpn_protocol(),
        Some(b"acme-tls/1".as_slice())
    );
    assert!(!health(looked).await.starts_with("HTTP"));
    // Others are shown the certificate meanwhile, whatever else they speak.
    let offers = ["acme-tls/1", "http/1.1"];
    let tls = connect(port, &connector(&shown, &offers)).await.unwrap();
    assert_eq!(health(tls).await, "HTTP/1.1 200 OK");
    certificate.end_challenge("localhost");
    assert!(connect(port, &challenge).await.is_err());
    shutdown.cancel();
}
