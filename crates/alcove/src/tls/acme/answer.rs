//! Showing an authority that a name is ours, in one of three ways.

use alcove_server::{Certificate, HttpChallenges};
use anyhow::Context;
use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, KeyPair};

use super::hook::Hook;
use super::record::DnsRecord;

#[derive(Debug)]
pub enum Answers {
    /// A record in the zone.
    Dns(Hook),
    /// A text at the listener that redirects.
    Http(HttpChallenges),
    /// A certificate of a special kind at the API's listener.
    Tls(Certificate),
}

/// An answer that is there until it is taken back.
#[derive(Debug)]
pub enum Answer {
    Dns(DnsRecord),
    Http { token: String },
    Tls { name: String },
}

impl Answers {
    pub fn kind(&self) -> ChallengeType {
        match self {
            Self::Dns(_) => ChallengeType::Dns01,
            Self::Http(_) => ChallengeType::Http01,
            Self::Tls(_) => ChallengeType::TlsAlpn01,
        }
    }

    /// The record that is an answer, where answers are records.
    pub fn record(&self, name: &str, key: &KeyAuthorization) -> Option<DnsRecord> {
        matches!(self, Self::Dns(_)).then(|| DnsRecord {
            name: format!("_acme-challenge.{name}"),
            value: key.dns_value(),
        })
    }

    pub async fn give(
        &self,
        name: &str,
        token: &str,
        key: &KeyAuthorization,
    ) -> anyhow::Result<Answer> {
        match self {
            Self::Dns(hook) => {
                let record = self.record(name, key).context("an answer is a record")?;
                hook.add(&record).await?;
                Ok(Answer::Dns(record))
            }
            Self::Http(challenges) => {
                challenges.answer(token, key.as_str());
                Ok(Answer::Http {
                    token: token.to_owned(),
                })
            }
            Self::Tls(certificate) => {
                let (chain, pem) = certificate_of(name, key)?;
                certificate
                    .answer_challenge(name, chain.as_bytes(), pem.as_bytes())
                    .context("cannot show the answer to a challenge")?;
                Ok(Answer::Tls {
                    name: name.to_owned(),
                })
            }
        }
    }

    pub async fn take_back(&self, answer: &Answer) -> anyhow::Result<()> {
        match (self, answer) {
            (Self::Dns(hook), Answer::Dns(record)) => hook.remove(record).await?,
            (Self::Http(challenges), Answer::Http { token }) => challenges.end(token),
            (Self::Tls(certificate), Answer::Tls { name }) => certificate.end_challenge(name),
            (_, Answer::Dns(record)) => anyhow::bail!(
                "the TXT record {} {} is left in the zone: there is no --acme-dns-hook any more that takes it away",
                record.name,
                record.value
            ),
            // Kept in memory only, so they went with the process that gave them.
            (_, Answer::Http { .. } | Answer::Tls { .. }) => {}
        }
        Ok(())
    }
}

/// What the authority wants to be shown (RFC 8737, 3): a certificate for the name with a digest in it.
fn certificate_of(name: &str, key: &KeyAuthorization) -> anyhow::Result<(String, String)> {
    let mut params = CertificateParams::new([name.to_owned()])
        .with_context(|| format!("{name} cannot stand in a certificate"))?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(key.digest().as_ref())];
    let key = KeyPair::generate().context("cannot make a key")?;
    let certificate = params
        .self_signed(&key)
        .context("cannot make the answer to a challenge")?;
    Ok((certificate.pem(), key.serialize_pem()))
}
