//! Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt, for public names.
//!
//! The authority wants to see that a name is ours. There are three ways, of which the operator's settings choose one: a
//! record in DNS by a program of the operator's, the only one for wildcards; the listener that redirects; the API's own
//! listener. See `docs/adr/0023`.

mod answer;
mod client;
mod hook;
mod order;
mod record;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use alcove_server::{Certificate, HttpChallenges};
use anyhow::Context;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName};
use tokio_util::sync::CancellationToken;
use x509_cert::der::Decode as _;

use super::{folder_of, now};
use answer::Answers;
use client::Client;
pub(crate) use client::read_roots;
use hook::Hook;
use record::{CertificateRecord, Records};

/// The one whose certificates cost nothing.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// How long a sleep may be before the clock is looked at again, which somebody may have set.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// After a failure. Authorities stop listening to who fails often within an hour.
const RETRY_FIRST: Duration = Duration::from_mins(1);
const RETRY_LAST: Duration = Duration::from_hours(12);

#[derive(Debug, clap::Args)]
pub struct AcmeArguments {
    /// A public name that leads here, for a certificate from an authority by ACME; may be given several times, or with
    /// commas. *.NAME needs --acme-dns-hook. Who gives it agrees to the authority's terms of service.
    #[arg(
        long = "acme-name",
        env = "ALCOVE_ACME_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert",
        value_parser = name
    )]
    names: Vec<String>,
    /// The directory of the authority.
    #[arg(long = "acme-directory", env = "ALCOVE_ACME_DIRECTORY", value_name = "URL", default_value = LETS_ENCRYPT)]
    directory: String,
    /// A mail address that the authority may write to.
    #[arg(
        long = "acme-contact",
        env = "ALCOVE_ACME_CONTACT",
        value_name = "ADDRESS"
    )]
    contact: Option<String>,
    /// Certificates by which the authority's own server is trusted, as PEM, instead of the public ones.
    #[arg(long = "acme-root", env = "ALCOVE_ACME_ROOT", value_name = "FILE")]
    root: Option<PathBuf>,
    /// A program that changes the zone of the names: `PROGRAM add NAME VALUE` adds a TXT record and returns once it is
    /// served, `PROGRAM remove NAME VALUE` takes it away. With it, the authority looks there and nowhere else.
    #[arg(
        long = "acme-dns-hook",
        env = "ALCOVE_ACME_DNS_HOOK",
        value_name = "PROGRAM"
    )]
    dns_hook: Option<PathBuf>,
}

/// A name as it stands in a certificate, perhaps with `*.` before it.
fn name(text: &str) -> Result<String, String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    let is_name = DnsName::try_from(plain).is_ok() && plain.contains('.') && !plain.contains('*');
    // The last label of an address is a number, of a name it never is.
    let last = plain.rsplit('.').next().unwrap_or_default();
    if is_name && !last.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(name)
    } else {
        Err(format!(
            "{text} is no name such as box.example.com or *.box.example.com"
        ))
    }
}

impl AcmeArguments {
    /// The first name that is no wildcard: how clients reach this server, if nothing else says so.
    pub fn first_name(&self) -> Option<&str> {
        let mut plain = self.names.iter().filter(|name| !name.starts_with("*."));
        plain.next().map(String::as_str)
    }

    /// None if no name is given. With `redirects`, the authority may ask the listener that redirects.
    pub fn open(
        &self,
        data_dir: &Path,
        redirects: Option<HttpChallenges>,
    ) -> anyhow::Result<Option<Acme>> {
        if self.names.is_empty() {
            return Ok(None);
        }
        let certificate = Certificate::default();
        let answers = match (&self.dns_hook, redirects) {
            (Some(program), _) => Answers::Dns(Hook::new(program)),
            (None, _) if self.names.iter().any(|name| name.starts_with("*.")) => {
                anyhow::bail!("a certificate for a wildcard needs --acme-dns-hook")
            }
            (None, Some(challenges)) => Answers::Http(challenges),
            (None, None) => Answers::Tls(certificate.clone()),
        };
        let acme = Acme {
            records: Records::open(&folder_of(data_dir).join("acme"))?,
            settings: self.settings(),
            client: Client::new(self.root.as_deref())?,
            answers,
            certificate,
        };
        if let Some(kept) = acme.records.read::<CertificateRecord>()? {
            acme.show(&kept)?;
        }
        Ok(Some(acme))
    }

    fn settings(&self) -> Settings {
        let mut names = self.names.clone();
        names.sort();
        names.dedup();
        Settings {
            directory: self.directory.clone(),
            names,
            contact: self
                .contact
                .as_ref()
                .map(|address| format!("mailto:{address}")),
        }
    }
}

#[derive(Debug)]
struct Settings {
    directory: String,
    /// In order.
    names: Vec<String>,
    contact: Option<String>,
}

/// One authority, and the certificate that is had from it.
#[derive(Debug)]
pub struct Acme {
    records: Records,
    settings: Settings,
    client: Client,
    answers: Answers,
    /// Shows none until the first one came.
    pub certificate: Certificate,
}

impl Acme {
    /// Gets the certificate where there is none for these names, and a newer one whenever two thirds of its time are
    /// over, until `stop`.
    pub async fn keep_fresh(self, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let wait = tokio::select! {
                () = stop.cancelled() => return,
                tried = self.renew_if_due() => match tried {
                    Ok(wait) => {
                        failures = 0;
                        wait
                    }
                    Err(error) => {
                        failures += 1;
                        let wait = retry_after(failures);
                        tracing::error!(
                            retry_seconds = wait.as_secs(),
                            "cannot get a certificate from {}: {error:#}",
                            self.settings.directory
                        );
                        wait
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait.min(RETRY_LAST)) => {}
            }
        }
    }

    /// How long it is until it should be asked again.
    async fn renew_if_due(&self) -> anyhow::Result<Duration> {
        let left = self.left(now())?;
        if !left.is_zero() {
            return Ok(left.min(LOOK_EVERY));
        }
        let kept = self.obtain().await?;
        self.show(&kept)?;
        tracing::info!(
            names = kept.names.join(","),
            "there is a new certificate from {}",
            kept.directory
        );
        Ok(self.left(now())?.min(LOOK_EVERY))
    }

    /// How long the certificate is left alone yet: not at all if there is none for these names from this authority.
    fn left(&self, now: Timestamp) -> anyhow::Result<Duration> {
        let kept = self.records.read::<CertificateRecord>()?;
        let kept = kept.filter(|kept| {
            kept.directory == self.settings.directory && kept.names == self.settings.names
        });
        match kept {
            Some(kept) => left_of(kept.chain.as_bytes(), now),
            None => Ok(Duration::ZERO),
        }
    }

    fn show(&self, kept: &CertificateRecord) -> anyhow::Result<()> {
        self.certificate
            .replace(kept.chain.as_bytes(), kept.key.as_bytes())
            .context("cannot use the certificate of the authority")
    }
}

/// How long until two thirds of the first certificate's time are over.
fn left_of(chain: &[u8], now: Timestamp) -> anyhow::Result<Duration> {
    let first = CertificateDer::from_pem_slice(chain).context("cannot read the certificate")?;
    let first = x509_cert::Certificate::from_der(&first).context("cannot read the certificate")?;
    let validity = first.tbs_certificate().validity();
    let (from, until) = (
        validity.not_before.to_unix_duration(),
        validity.not_after.to_unix_duration(),
    );
    let renewal = from + until.saturating_sub(from) * 2 / 3;
    let now = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
    Ok(renewal.saturating_sub(now))
}

fn retry_after(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    RETRY_FIRST.saturating_mul(factor).min(RETRY_LAST)
}
