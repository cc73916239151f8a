//! Mail, to a relay in the test's own process.

use std::sync::{Arc, Mutex};

use alcove_control::{Mail, MailBody, MailSender as _};
use alcove_server::{MailSettings, MailTls, Mailer};
use alcove_testkit::{TestStore, eventually};
use axum::body::Body;
use http::{Request, StatusCode};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Answer, Server};

/// What the relay was told.
#[derive(Debug, Clone, Default)]
struct Session {
    is_encrypted: bool,
    login: Option<String>,
    recipients: Vec<String>,
    message: String,
}

#[derive(Clone, Default)]
struct Relay {
    taken: Arc<Mutex<Vec<Session>>>,
    /// What it says to the next messages in place of taking them.
    refusals: Arc<Mutex<Vec<&'static str>>>,
    /// What it says to each recipient in place of taking it.
    recipient_refusal: Option<&'static str>,
    tls: Option<TlsAcceptor>,
    is_implicit: bool,
}

impl Relay {
    async fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let relay = relay.clone();
                tokio::spawn(async move {
                    let mut session = Session::default();
                    if relay.is_implicit {
                        let tls = relay.tls.as_ref().unwrap().accept(stream).await.unwrap();
                        session.is_encrypted = true;
                        relay.greet(tls, session).await;
                    } else {
                        relay.greet(stream, session).await;
                    }
                });
            }
        });
        port
    }

    async fn greet<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        mut stream: S,
        session: Session,
    ) {
        let _ = stream.write_all(b"220 relay\r\n").await;
        // TLS begins within the session once, so the second half of it is another stream.
        if let Some((stream, session)) = self.talk(stream, session).await {
            let tls = self.tls.as_ref().unwrap().accept(stream).await.unwrap();
            self.talk(tls, session).await;
        }
    }

    /// Gives the stream back where TLS is to begin.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        mut session: Session,
    ) -> Option<(S, Session)> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let verb = line.trim().to_uppercase();
            let answer = if verb.starts_with("EHLO") {
                let begins = self.tls.is_some() && !session.is_encrypted;
                if begins {
                    "250-relay\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
                } else {
                    "250-relay\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n"
                }
            } else if verb == "STARTTLS" {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                session.is_encrypted = true;
                return Some((stream.into_inner(), session));
            } else if verb.starts_with("AUTH PLAIN") {
                session.login = line.trim().split(' ').nth(2).map(str::to_owned);
                "235 welcome\r\n"
            } else if verb.starts_with("RCPT") {
                session.recipients.push(line.trim().to_owned());
                self.recipient_refusal.unwrap_or("250 fine\r\n")
            } else if verb == "DATA" {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                let mut message = String::new();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    message.push_str(&line);
                }
                let refusal = self.refusals.lock().unwrap().pop();
                if refusal.is_none() {
                    session.message = message;
                    self.taken.lock().unwrap().push(session.clone());
                }
                refusal.unwrap_or("250 taken\r\n")
            } else if verb == "QUIT" {
                stream.write_all(b"221 bye\r\n").await.ok()?;
                return None;
            } else {
                "250 fine\r\n"
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn taken(&self) -> Vec<Session> {
        self.taken.lock().unwrap().clone()
    }

    async fn has_taken(&self, count: usize) -> Vec<Session> {
        eventually("the relay has the mail", async || {
            self.taken().len() >= count
        })
        .await;
        self.taken()
    }
}

fn settings(port: u16, tls: MailTls) -> MailSettings {
    MailSettings {
        host: "localhost".to_owned(),
        port,
        tls,
        credentials: None,
        from: "Alcove <alcove@example.com>".to_owned(),
        roots: None,
        public_url: "http://127.0.0.1:3000/".to_owned(),
    }
}

async fn server(settings: MailSettings) -> (Server, String) {
    let mut store = TestStore::default();
    store.settings.mail = Some(Arc::new(Mailer::new(settings).unwrap()));
    let server = Server::over(store.open().await);
    let body = json!({"name": "Lab", "defaultRegionId": "us"});
    let made = server.put("POST", "/api/organizations", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let key = server
        .kit
        .add_key(&server.kit.caller.user, &id.parse().unwrap())
        .await;
    (server, format!("{id} {key}"))
}

async fn ask_as(server: &Server, key: &str, path: &str, body: String) -> Answer {
    let request = Request::post(path).header("authorization", format!("Bearer {key}"));
    server.send(request.body(Body::from(body)).unwrap()).await
}

async fn invite(server: &Server, lab: &str, email: &str) -> Value {
    let (id, key) = lab.split_once(' ').unwrap();
    let path = format!("/api/organizations/{id}/invitations");
    let body = json!({"email": email}).to_string();
    let answer = ask_as(server, key, &path, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

/// What stands behind the `#` of the link in a mail.
fn token(session: &Session) -> String {
    let flat = session.message.replace("=\r\n", "").replace("=3D", "=");
    let (_, rest) = flat.split_once("/auth/invitation#").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

async fn post(server: &Server, path: &str, body: Value) -> Answer {
    server.put("POST", path, body).await
}

#[tokio::test]
async fn an_invitation_goes_by_mail_and_its_link_makes_an_account_of_the_address() {
    let relay = Relay::default();
    let port = relay.listen().await;
    let (server, lab) = server(settings(port, MailTls::None)).await;
    let told = invite(&server, &lab, "Zoe@example.com").await;
    let session = relay.has_taken(1).await.remove(0);
    assert_eq!(session.recipients, ["RCPT TO:<zoe@example.com>"]);
    let mailed = token(&session);
    let shown = told["link"].as_str().unwrap().split('#').nth(1).unwrap();
    assert_ne!(mailed, shown, "an owner has no proof of the address");

    let offer = post(&server, "/api/auth/invitation", json!({"token": mailed})).await;
    let offer = offer.ok();
    assert_eq!(offer["organizationName"], "Lab");
    assert_eq!(offer["needsAccount"], true);
    assert_eq!(offer["provesEmail"], true);
    let accept = "/api/auth/invitation/accept";
    let weak = post(
        &server,
        accept,
        json!({"token": mailed, "password": "short"}),
    )
    .await;
    assert_eq!(weak.status, StatusCode::BAD_REQUEST, "{}", weak.text);
    let body = json!({"token": mailed, "password": "long enough to be one"});
    let joined = post(&server, accept, body.clone()).await.ok();
    assert_eq!(joined["username"], "zoe@example.com");
    let again = post(&server, accept, body).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED, "{}", again.text);
    let body = json!({"username": "zoe@example.com", "password": "long enough to be one"});
    let signed = post(&server, "/api/auth/sign-in", body).await.ok();
    assert_eq!(signed["user"]["emailVerified"], true);
    let (id, _) = lab.split_once(' ').unwrap();
    assert_eq!(joined["organizationId"], *id);

    // Whoever has an account of the address by now needs no other.
    let other = json!({"name": "Den", "defaultRegionId": "us"});
    let made = post(&server, "/api/organizations", other).await.json();
    let id = made["id"].as_str().unwrap();
    let key = server
        .kit
        .add_key(&server.kit.caller.user, &id.parse().unwrap())
        .await;
    invite(&server, &format!("{id} {key}"), "zoe@example.com").await;
    let mailed = token(&relay.has_taken(2).await[1]);
    let offer = post(&server, "/api/auth/invitation", json!({"token": mailed})).await;
    assert_eq!(offer.ok()["needsAccount"], false);
    let body = json!({"token": mailed, "password": "long enough to be one"});
    let refused = post(&server, accept, body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let joined = post(&server, accept, json!({"token": mailed})).await.ok();
    assert_eq!(joined["organizationId"], *id);
}

#[tokio::test]
async fn a_relay_that_refuses_for_now_is_tried_again_and_one_that_refuses_for_ever_is_not() {
    let relay = Relay::default();
    relay.refusals.lock().unwrap().push("451 later\r\n");
    let port = relay.listen().await;
    let (server, lab) = server(settings(port, MailTls::None)).await;
    invite(&server, &lab, "zoe@example.com").await;
    let next = async || server.kit.store.reader().mail_next().await.unwrap();
    eventually("the first try is written down", async || {
        next().await.is_some_and(|mail| mail.failures == 1)
    })
    .await;
    assert!(relay.taken().is_empty());
    eventually("the mail is taken", async || {
        server.kit.clock.advance_minutes(1);
        !relay.taken().is_empty()
    })
    .await;
    eventually("nothing waits", async || next().await.is_none()).await;
    assert_eq!(relay.taken().len(), 1);

    relay.refusals.lock().unwrap().push("554 never\r\n");
    invite(&server, &lab, "ivo@example.com").await;
    eventually("nothing waits", async || next().await.is_none()).await;
    assert_eq!(relay.taken().len(), 1);
}

#[tokio::test]
async fn mail_that_was_not_sent_yet_outlives_a_kill() {
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut store = TestStore::default();
    store.settings.mail = Some(Arc::new(
        Mailer::new(settings(port, MailTls::None)).unwrap(),
    ));
    let kit = store.open().await;
    let control = &kit.control;
    let made = control.create_organization(&kit.caller, "Lab".to_owned(), None);
    let key = kit.add_key(&kit.caller.user, &made.await.unwrap().id).await;
    let caller = control.authenticate(&key).await.unwrap();
    let lab = caller.organization.as_str();
    let (email, offer) = ("zoe@example.com", ("member", [].as_slice()));
    let invited = control.create_invitation(&caller, lab, email, offer, None);
    invited.await.unwrap();
    let mut store = kit.kill().await;
    let relay = Relay::default();
    let port = relay.listen().await;
    store.settings.mail = Some(Arc::new(
        Mailer::new(settings(port, MailTls::None)).unwrap(),
    ));
    let kit = store.open().await;
    eventually("the mail is taken", async || {
        kit.clock.advance_minutes(1);
        !relay.taken().is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_invitation_that_was_taken_back_is_not_sent() {
    let relay = Relay::default();
    relay.refusals.lock().unwrap().push("451 later\r\n");
    let port = relay.listen().await;
    let (server, lab) = server(settings(port, MailTls::None)).await;
    let told = invite(&server, &lab, "zoe@example.com").await;
    let next = async || server.kit.store.reader().mail_next().await.unwrap();
    eventually("the first try is written down", async || {
        next().await.is_some_and(|mail| mail.failures == 1)
    })
    .await;
    let (id, key) = lab.split_once(' ').unwrap();
    let invitation = told["id"].as_str().unwrap();
    let path = format!("/api/organizations/{id}/invitations/{invitation}/cancel");
    let answer = ask_as(&server, key, &path, String::new()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    eventually("nothing waits", async || {
        server.kit.clock.advance_minutes(1);
        next().await.is_none()
    })
    .await;
    assert!(relay.taken().is_empty());
}

#[tokio::test]
async fn the_relay_is_spoken_to_by_tls_and_gets_the_password_by_it_alone() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    for (way, is_implicit) in [(MailTls::StartTls, false), (MailTls::Implicit, true)] {
        let relay = Relay {
            tls: Some(tls.clone()),
            is_implicit,
            ..Relay::default()
        };
        let port = relay.listen().await;
        let trusting = MailSettings {
            roots: Some(cert.pem().into_bytes()),
            credentials: Some(("me".to_owned(), "secret".to_owned())),
            ..settings(port, way)
        };
        let (server, lab) = server(trusting).await;
        invite(&server, &lab, "zoe@example.com").await;
        let session = relay.has_taken(1).await.remove(0);
        assert!(
            session.is_encrypted && session.login.is_some(),
            "{session:?}"
        );
    }
    // One that offers no TLS, and one that nobody vouches for, get nothing.
    let plain = Relay::default();
    let unknown = Relay {
        tls: Some(tls),
        ..Relay::default()
    };
    for relay in [plain, unknown] {
        let port = relay.listen().await;
        let (server, lab) = server(settings(port, MailTls::StartTls)).await;
        invite(&server, &lab, "zoe@example.com").await;
        let next = async || server.kit.store.reader().mail_next().await.unwrap();
        eventually("the try has failed", async || {
            next().await.is_some_and(|mail| mail.failures == 1)
        })
        .await;
        assert!(relay.taken().is_empty());
    }
}

#[tokio::test]
async fn a_link_that_an_owner_hands_out_makes_an_account_whose_address_nobody_trusts() {
    let relay = Relay::default();
    let port = relay.listen().await;
    let (server, lab) = server(settings(port, MailTls::None)).await;
    // Somebody has the address already, which an owner does not learn.
    server.kit.add_stranger("zoe").await;
    let told = invite(&server, &lab, "zoe@example.com").await;
    let link = told["link"].as_str().unwrap();
    let (page, token) = link.split_once('#').unwrap();
    assert_eq!(page, "http://127.0.0.1:3000/auth/invitation");
    for path in ["/auth/invitation", "/auth/invitation.js"] {
        assert_eq!(server.ask("GET", path).await.status, StatusCode::OK);
    }
    let offer = post(&server, "/api/auth/invitation", json!({"token": token})).await;
    assert_eq!(offer.ok()["needsAccount"], true);
    let accept = "/api/auth/invitation/accept";
    let body = |username: &str| json!({"token": token, "username": username, "name": "Z", "password": "long enough to be one"});
    let refused = post(&server, accept, body("zoe")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    let joined = post(&server, accept, body("zoe2")).await.ok();
    assert_eq!(joined["username"], "zoe2");
    let body = json!({"username": "zoe2", "password": "long enough to be one"});
    let signed = post(&server, "/api/auth/sign-in", body).await.ok();
    assert_eq!(signed["user"]["emailVerified"], false);
    for token in ["", ".", "x", "0f8fad5b-d9cb-469f-a165-70867728950e.00"] {
        let refused = post(&server, "/api/auth/invitation", json!({"token": token})).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{token:?}");
    }
}

#[tokio::test]
async fn owners_are_told_of_an_endpoint_of_webhooks_that_was_disabled() {
    let relay = Relay::default();
    let port = relay.listen().await;
    let (server, _) = server(settings(port, MailTls::None)).await;
    let hooks = format!(
        "/api/webhooks/organizations/{}",
        server.kit.caller.organization
    );
    post(&server, &format!("{hooks}/initialize"), json!({})).await;
    let url = "https://hooks.example/a";
    // It says that it is gone for good.
    server.kit.webhooks.answer(url, 410);
    let body = json!({"url": url, "eventTypes": ["volume.created"]});
    let made = post(&server, &format!("{hooks}/endpoints"), body).await;
    assert!(made.status.is_success(), "{}", made.text);
    post(&server, "/api/volumes", json!({"name": "data"})).await;
    let session = relay.has_taken(1).await.remove(0);
    assert_eq!(session.recipients, ["RCPT TO:<admin@localhost>"]);
    let flat = session.message.replace("=\r\n", "").replace("=3D", "=");
    assert!(flat.contains(url) && flat.contains("410"), "{flat}");
}

#[tokio::test]
async fn what_others_call_themselves_adds_nothing_to_a_mail_or_its_hand_over() {
    let relay = Relay::default();
    let port = relay.listen().await;
    let mailer = Mailer::new(settings(port, MailTls::None)).unwrap();
    let mail = |recipient: &str, name: &str| Mail {
        id: "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap(),
        recipient: recipient.to_owned(),
        body: MailBody::Invitation {
            organization_name: name.to_owned(),
            invited_by: name.to_owned(),
            link: "a.b".to_owned(),
            expires_at: jiff::Timestamp::UNIX_EPOCH,
        },
    };
    let names = [
        "Lab\r\nBcc: eve@example.com",
        "Lab\nBcc: eve@example.com",
        "L\u{e4}b\r\n\r\n.\r\nRCPT TO:<eve@example.com>",
    ];
    for name in names {
        mailer.send(mail("zoe@example.com", name)).await.unwrap();
    }
    for session in relay.taken() {
        assert_eq!(session.recipients, ["RCPT TO:<zoe@example.com>"]);
        let lines: Vec<_> = session.message.lines().collect();
        let is_own = |line: &&str| line.starts_with("Bcc") || line.starts_with("RCPT");
        assert!(!lines.iter().any(is_own), "{}", session.message);
    }
    assert_eq!(relay.taken().len(), names.len());
    for recipient in [
        "zoe@example.com\r\nBcc: eve@example.com",
        "zoe@example.com> SIZE=1\r\nRCPT TO:<eve@example.com",
        "zoe@example.com, eve@example.com",
    ] {
        let fault = mailer.send(mail(recipient, "Lab")).await.unwrap_err();
        assert!(fault.is_permanent, "{recipient:?} {fault:?}");
    }
    assert_eq!(relay.taken().len(), names.len());
}
