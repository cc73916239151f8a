//! The relay that mail goes to, as the operator names it.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use alcove_control::MailSender;
use alcove_server::{MailSettings, MailTls, Mailer};
use anyhow::Context as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SmtpTls {
    /// A beginning in the open, then TLS or nothing.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// In the open.
    None,
}

/// A text that is in no log.
#[derive(Clone)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

#[derive(Debug, Clone, clap::Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the names of the arguments, among those of others"
)]
pub struct MailArguments {
    /// The relay that mail goes to by SMTP: invitations, and word of webhooks that were disabled. Without it no mail is sent.
    /// See docs/mail.md.
    #[arg(
        long,
        env = "ALCOVE_SMTP_HOST",
        value_name = "HOST",
        requires = "smtp_from"
    )]
    smtp_host: Option<String>,
    /// The relay's port: 587 with STARTTLS, 465 with TLS from the first byte and 25 without, unless said.
    #[arg(
        long,
        env = "ALCOVE_SMTP_PORT",
        value_name = "PORT",
        requires = "smtp_host"
    )]
    smtp_port: Option<u16>,
    /// How the relay is spoken to.
    #[arg(
        long,
        env = "ALCOVE_SMTP_TLS",
        value_name = "HOW",
        value_enum,
        default_value = "starttls"
    )]
    smtp_tls: SmtpTls,
    /// The address that mail comes from, alcove@example.com or 'Alcove <alcove@example.com>'.
    #[arg(
        long,
        env = "ALCOVE_SMTP_FROM",
        value_name = "ADDRESS",
        requires = "smtp_host"
    )]
    smtp_from: Option<String>,
    /// The name that the relay knows the server by, with a password.
    #[arg(
        long,
        env = "ALCOVE_SMTP_USERNAME",
        value_name = "NAME",
        requires = "smtp_host"
    )]
    smtp_username: Option<String>,
    /// A file whose first line is the password.
    #[arg(
        long,
        env = "ALCOVE_SMTP_PASSWORD_FILE",
        value_name = "FILE",
        requires = "smtp_username",
        conflicts_with = "smtp_password"
    )]
    smtp_password_file: Option<PathBuf>,
    /// The password, where no file says it. Better in the environment: arguments can be seen by others.
    #[arg(
        long,
        env = "ALCOVE_SMTP_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        requires = "smtp_username"
    )]
    smtp_password: Option<Hidden>,
    /// A PEM file with certificates of authorities that the relay's is trusted by, in place of those of the host.
    #[arg(
        long,
        env = "ALCOVE_SMTP_CA",
        value_name = "FILE",
        requires = "smtp_host"
    )]
    smtp_ca: Option<PathBuf>,
}

impl MailArguments {
    /// What sends mail, if anything does. `public_url` is what links begin with.
    ///
    /// # Errors
    /// What does not go together, or a file that cannot be read.
    pub fn sender(&self, public_url: &str) -> anyhow::Result<Option<Arc<dyn MailSender>>> {
        match self.settings(public_url)? {
            None => Ok(None),
            Some(settings) => Ok(Some(Arc::new(Mailer::new(settings)?))),
        }
    }

    fn settings(&self, public_url: &str) -> anyhow::Result<Option<MailSettings>> {
        let (Some(host), Some(from)) = (&self.smtp_host, &self.smtp_from) else {
            return Ok(None);
        };
        let credentials = self.credentials()?;
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        anyhow::ensure!(
            credentials.is_none() || self.smtp_tls != SmtpTls::None || is_here,
            "--smtp-tls none would send the password in the open to another host"
        );
        let roots = self.smtp_ca.as_ref().map(|path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        });
        let (tls, port) = match self.smtp_tls {
            SmtpTls::Starttls => (MailTls::StartTls, 587),
            SmtpTls::Implicit => (MailTls::Implicit, 465),
            SmtpTls::None => (MailTls::None, 25),
        };
        Ok(Some(MailSettings {
            host: host.clone(),
            port: self.smtp_port.unwrap_or(port),
            tls,
            credentials,
            from: from.clone(),
            roots: roots.transpose()?,
            public_url: public_url.to_owned(),
        }))
    }

    fn credentials(&self) -> anyhow::Result<Option<(String, String)>> {
        let Some(name) = &self.smtp_username else {
            return Ok(None);
        };
        let password = match (&self.smtp_password_file, &self.smtp_password) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            (None, Some(Hidden(password))) => password.clone(),
            (None, None) => anyhow::bail!(
                "--smtp-username needs --smtp-password-file, or ALCOVE_SMTP_PASSWORD in the environment"
            ),
        };
        Ok(Some((name.clone(), password)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        mail: MailArguments,
    }

    fn settings(line: &str) -> anyhow::Result<Option<MailSettings>> {
        let words = std::iter::once("alcove").chain(line.split_whitespace());
        Line::try_parse_from(words)?
            .mail
            .settings("https://a.example")
    }

    #[test]
    fn no_relay_is_no_mail_and_half_of_one_is_refused() {
        assert!(settings("").unwrap().is_none());
        for line in [
            "--smtp-host relay",
            "--smtp-from a@example.com",
            "--smtp-host relay --smtp-from a@example.com --smtp-username me",
            "--smtp-host relay --smtp-from a@example.com --smtp-password secret",
            "--smtp-host relay --smtp-from a@example.com --smtp-password-file /nowhere --smtp-username me",
            "--smtp-host relay --smtp-from a@example.com --smtp-tls none --smtp-username me --smtp-password secret",
            "--smtp-host relay --smtp-from a@example.com --smtp-ca /nowhere",
        ] {
            assert!(settings(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_port_follows_from_how_the_relay_is_spoken_to() {
        let base = "--smtp-host relay --smtp-from a@example.com";
        for (more, tls, port) in [
            ("", MailTls::StartTls, 587),
            ("--smtp-tls implicit", MailTls::Implicit, 465),
            ("--smtp-tls none", MailTls::None, 25),
            ("--smtp-tls none --smtp-port 2525", MailTls::None, 2525),
        ] {
            let found = settings(&format!("{base} {more}")).unwrap().unwrap();
            assert_eq!((found.tls, found.port), (tls, port), "{more}");
        }
        let here = "--smtp-host 127.0.0.1 --smtp-from a@example.com --smtp-tls none --smtp-username me \
                    --smtp-password secret";
        let found = settings(here).unwrap().unwrap();
        assert_eq!(found.credentials.unwrap().1, "secret");
    }
}
