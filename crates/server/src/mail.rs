//! Mail by SMTP, to the relay that the operator names, and what it says.
//!
//! Names and addresses are other people's texts. An address that is none in the strict sense gets no mail; of names, what could end a
//! line is a space.

use std::fmt;
use std::time::Duration;

use alcove_control::{Mail, MailBody, MailFault, MailSender};
use async_trait::async_trait;
use jiff::Timestamp;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::{Category, Severity};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::routes::page;

/// For each step of a hand-over: a relay that is there answers sooner.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// A whole hand-over.
const SEND_LIMIT: Duration = Duration::from_mins(1);
/// Characters of a name that are shown.
const NAME_MAX: usize = 200;

/// How the relay is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// In the open.
    None,
    /// By TLS, from the first byte.
    Implicit,
    /// By TLS, after a beginning in the open. A relay that does not offer it gets no mail.
    StartTls,
}

/// The relay, and who writes.
#[derive(Clone)]
pub struct MailSettings {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    /// A name and a password, where the relay wants them.
    pub credentials: Option<(String, String)>,
    /// The address that mail comes from, `alcove@example.com` or `Alcove <alcove@example.com>`.
    pub from: String,
    /// PEM certificates of authorities that the relay's is trusted by, in place of those of the host.
    pub roots: Option<Vec<u8>>,
    /// What links in mail begin with.
    pub public_url: String,
}

impl fmt::Debug for MailSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Why there can be no mail.
#[derive(Debug, thiserror::Error)]
pub enum MailSettingsError {
    #[error("{0:?} is not an address that mail can come from")]
    From(String),
    #[error("cannot use the certificates for mail")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// Hands mail over to a relay.
#[derive(Clone)]
pub struct Mailer {
    relay: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    public_url: String,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// Nothing is asked of the relay before the first mail.
    ///
    /// # Errors
    /// An address that is none, or certificates that cannot be read.
    pub fn new(settings: MailSettings) -> Result<Self, MailSettingsError> {
        let from: Mailbox = settings
            .from
            .parse()
            .map_err(|_| MailSettingsError::From(settings.from.clone()))?;
        let tls = match settings.tls {
            MailTls::None => Tls::None,
            MailTls::Implicit => Tls::Wrapper(parameters(&settings)?),
            MailTls::StartTls => Tls::Required(parameters(&settings)?),
        };
        let mut relay = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host)
            .port(settings.port)
            .tls(tls)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()))
            .timeout(Some(STEP_LIMIT));
        if let Some((name, password)) = settings.credentials {
            relay = relay.credentials(Credentials::new(name, password));
        }
        Ok(Self {
            relay: relay.build(),
            from,
            public_url: settings.public_url.trim_end_matches('/').to_owned(),
        })
    }

    fn message(&self, mail: Mail) -> Result<Message, String> {
        let recipient: Address = mail
            .recipient
            .parse()
            .map_err(|_| "the address is none that mail can be sent to".to_owned())?;
        let (subject, text) = self.words(mail.body);
        let id = format!("<{}@{}>", mail.id, self.from.email.domain());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, recipient))
            .message_id(Some(id))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| error.to_string())
    }

    fn words(&self, body: MailBody) -> (String, String) {
        match body {
            MailBody::Invitation {
                organization_name,
                invited_by,
                link,
                expires_at,
            } => {
                let (organization, by) = (line(&organization_name), line(&invited_by));
                let url = page::invitation_url(&self.public_url, &link);
                let until = moment(expires_at);
                (
                    format!("You are invited to {organization}"),
                    format!(
                        "{by} invites you to the organization {organization} on Alcove.\n\n\
                         Accept it here, until {until}:\n\n{url}\n\n\
                         The link is for you alone: whoever has it can accept the invitation. If you know \
                         nothing of this, do nothing.\n"
                    ),
                )
            }
            MailBody::WebhookDisabled {
                organization_name,
                url,
                reason,
                at,
            } => {
                let organization = line(&organization_name);
                let (url, reason, at) = (line(&url), line(&reason), moment(at));
                (
                    format!("A webhook of {organization} was disabled"),
                    format!(
                        "The endpoint {url} of the organization {organization} is told nothing more since {at}: \
                         {reason}.\n\nEnable it again once it answers; what it missed can be replayed then.\n"
                    ),
                )
            }
        }
    }
}

fn parameters(settings: &MailSettings) -> Result<TlsParameters, MailSettingsError> {
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(roots) = &settings.roots {
        let certificate = Certificate::from_pem(roots).map_err(MailSettingsError::Tls)?;
        parameters = parameters
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificate);
    }
    parameters.build_rustls().map_err(MailSettingsError::Tls)
}

/// A name that stays on its line.
fn line(text: &str) -> String {
    let is_break =
        |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    let plain = text.chars().map(|it| if is_break(it) { ' ' } else { it });
    plain.take(NAME_MAX).collect::<String>().trim().to_owned()
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[async_trait]
impl MailSender for Mailer {
    async fn send(&self, mail: Mail) -> Result<(), MailFault> {
        let message = self.message(mail).map_err(|reason| MailFault {
            reason,
            is_permanent: true,
        })?;
        let handed = tokio::time::timeout(SEND_LIMIT, self.relay.send(message)).await;
        let error = match handed {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(MailFault {
                    reason: "the relay is too slow".to_owned(),
                    is_permanent: false,
                });
            }
        };
        // What it says of the mail itself, as opposed to what it says of us.
        let is_permanent = error.status().is_some_and(|code| {
            code.severity == Severity::PermanentNegativeCompletion
                && code.category == Category::MailSystem
        });
        Err(MailFault {
            reason: line(&error.to_string()),
            is_permanent,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_domain::MailId;

    use super::*;

    fn mailer() -> Mailer {
        let settings = MailSettings {
            host: "localhost".to_owned(),
            port: 25,
            tls: MailTls::None,
            credentials: None,
            from: "Alcove <alcove@example.com>".to_owned(),
            roots: None,
            public_url: "https://alcove.example.com/".to_owned(),
        };
        Mailer::new(settings).unwrap()
    }

    fn invitation(recipient: &str, organization: &str, by: &str) -> Mail {
        Mail {
            id: "0f8fad5b-d9cb-469f-a165-70867728950e"
                .parse::<MailId>()
                .unwrap(),
            recipient: recipient.to_owned(),
            body: MailBody::Invitation {
                organization_name: organization.to_owned(),
                invited_by: by.to_owned(),
                link: "a.b".to_owned(),
                expires_at: Timestamp::UNIX_EPOCH,
            },
        }
    }

    fn formatted(mail: Mail) -> String {
        String::from_utf8(mailer().message(mail).unwrap().formatted()).unwrap()
    }

    #[test]
    fn names_make_no_header_and_no_line_of_their_own() {
        for name in [
            "Lab\r\nBcc: eve@example.com",
            "Lab\nBcc: eve@example.com",
            "Lab\rBcc: eve@example.com",
            "Lab\u{2028}Bcc: eve@example.com",
            "L\u{e4}b\r\n\r\n.\r\nBcc: eve@example.com",
        ] {
            let text = formatted(invitation("ann@example.com", name, name));
            let (head, _) = text.split_once("\r\n\r\n").unwrap();
            let names: Vec<_> = head
                .split("\r\n")
                .filter(|line| !line.starts_with([' ', '\t']))
                .map(|line| line.split(':').next().unwrap().to_lowercase())
                .collect();
            let expected = [
                "from",
                "to",
                "message-id",
                "subject",
                "content-type",
                "content-transfer-encoding",
                "date",
            ];
            assert_eq!(names.len(), expected.len(), "{head}");
            for name in expected {
                assert!(names.iter().any(|other| other == name), "{name} {head}");
            }
            let lines = text.lines().collect::<Vec<_>>();
            assert!(!lines.iter().any(|line| line.starts_with("Bcc")), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_gets_no_mail() {
        for recipient in [
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com, eve@example.com",
            "ann@example.com> SIZE=1\r\nRCPT TO:<eve@example.com",
            "Ann <ann@example.com>",
            "ann",
            "",
        ] {
            let refused = mailer().message(invitation(recipient, "Lab", "Bob"));
            assert!(refused.is_err(), "{recipient:?}");
        }
    }

    #[test]
    fn an_invitation_has_its_link_and_its_end() {
        let text = formatted(invitation("ann@example.com", "Lab", "bob@example.com"));
        let flat = text.replace("=\r\n", "").replace("=3D", "=");
        assert!(flat.contains("Subject: You are invited to Lab"), "{text}");
        assert!(
            flat.contains("https://alcove.example.com/auth/invitation#a.b"),
            "{text}"
        );
        assert!(flat.contains("bob@example.com invites you"), "{text}");
        assert!(flat.contains("1970-01-01 00:00 UTC"), "{text}");
        assert!(flat.contains("<0f8fad5b-d9cb-469f-a165-70867728950e@example.com>"));
    }
}
