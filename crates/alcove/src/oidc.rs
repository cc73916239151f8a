//! The identity provider, as the operator names it, and how its documents are fetched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{DocumentSource, IdentityProvider, SsoWeb};
use alcove_server::Sso;
use anyhow::Context as _;
use async_trait::async_trait;
use http::StatusCode;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use crate::tls::read_roots;

/// For one document, from the first packet to the last byte.
const DOCUMENT_LIMIT: Duration = Duration::from_secs(5);
/// Where distributions keep the certificates that the host trusts.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

#[derive(Debug, Clone, clap::Args)]
pub struct OidcArguments {
    /// The issuer of an OpenID Connect provider, as https://HOST/PATH: its tokens let people in, and make a user for each
    /// person. See docs/accounts.md.
    #[arg(
        long,
        env = "ALCOVE_OIDC_ISSUER",
        value_name = "URL",
        requires = "oidc_audience"
    )]
    oidc_issuer: Option<String>,
    /// Whom its tokens must be for.
    #[arg(
        long,
        env = "ALCOVE_OIDC_AUDIENCE",
        value_name = "AUDIENCE",
        requires = "oidc_issuer"
    )]
    oidc_audience: Option<String>,
    /// What programs that sign people in there call themselves. They are told it by /api/config.
    #[arg(
        long,
        env = "ALCOVE_OIDC_CLIENT_ID",
        value_name = "ID",
        requires = "oidc_issuer"
    )]
    oidc_client_id: Option<String>,
    /// A PEM file with certificates of authorities that the provider's is trusted by, in place of those of the host.
    #[arg(
        long,
        env = "ALCOVE_OIDC_CA",
        value_name = "FILE",
        requires = "oidc_issuer"
    )]
    oidc_ca: Option<PathBuf>,
    /// A host at a private address, or without TLS, that organizations may name as their identity provider, such as
    /// id.internal; may be given several times, or with commas. Hosts at public addresses need not be named.
    #[arg(
        long = "identity-provider-host",
        env = "ALCOVE_IDENTITY_PROVIDER_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    identity_provider_hosts: Vec<String>,
}

impl OidcArguments {
    /// What asks the identity providers of organizations.
    pub fn organizations(&self) -> anyhow::Result<Arc<dyn SsoWeb>> {
        let sso = Sso::new(&self.identity_provider_hosts);
        Ok(Arc::new(
            sso.context("cannot read the host's certificates")?,
        ))
    }

    /// # Errors
    /// An issuer that is no address, or certificates that cannot be read.
    pub fn provider(&self) -> anyhow::Result<Option<IdentityProvider>> {
        let (Some(issuer), Some(audience)) = (&self.oidc_issuer, &self.oidc_audience) else {
            return Ok(None);
        };
        let is_address = issuer.starts_with("https://") || issuer.starts_with("http://");
        anyhow::ensure!(
            is_address,
            "--oidc-issuer must begin with https:// or http://"
        );
        Ok(Some(IdentityProvider {
            issuer: issuer.clone(),
            audience: audience.clone(),
            client_id: self.oidc_client_id.clone().unwrap_or_default(),
            documents: Arc::new(Documents::new(
                issuer,
                self.oidc_ca.as_deref(),
                DOCUMENT_LIMIT,
            )?),
        }))
    }
}

/// Documents by HTTP.
#[derive(Debug, Clone)]
struct Documents {
    agent: Agent,
}

impl Documents {
    fn new(issuer: &str, ca: Option<&Path>, limit: Duration) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(roots(ca)?)
            .build();
        let config = Agent::config_builder()
            // One that is reached by TLS sends nobody on to where there is none.
            .https_only(issuer.starts_with("https://"))
            .tls_config(tls)
            .max_redirects(0)
            .timeout_global(Some(limit))
            .user_agent(concat!("alcove/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
        })
    }

    fn fetch_now(&self, url: &str, max_bytes: u64) -> Result<Vec<u8>, ureq::Error> {
        let mut answer = self.agent.get(url).call()?;
        // Where it would send us on is not where the operator said.
        if answer.status() != StatusCode::OK {
            return Err(ureq::Error::StatusCode(answer.status().as_u16()));
        }
        answer
            .body_mut()
            .with_config()
            .limit(max_bytes)
            .read_to_vec()
    }
}

#[async_trait]
impl DocumentSource for Documents {
    async fn fetch(
        &self,
        url: &str,
        max_bytes: u64,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let (documents, url) = (self.clone(), url.to_owned());
        let fetched =
            tokio::task::spawn_blocking(move || documents.fetch_now(&url, max_bytes)).await;
        Ok(fetched??)
    }
}

/// The certificates in a file, or those that the host trusts.
fn roots(ca: Option<&Path>) -> anyhow::Result<RootCerts> {
    if let Some(path) = ca {
        return Ok(RootCerts::new_with_certs(&read_roots(path)?));
    }
    let trusted = BUNDLES
        .iter()
        .find_map(|path| read_roots(Path::new(path)).ok());
    Ok(trusted.map_or(RootCerts::WebPki, |trusted| {
        RootCerts::new_with_certs(&trusted)
    }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that says this to whoever connects, and then is silent.
    fn says(answer: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let answer = answer.to_owned();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
                silent.push(stream);
            }
        });
        url
    }

    fn answer(length: usize, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    async fn fetch(url: &str, limit: Duration) -> Result<Vec<u8>, String> {
        let documents = Documents::new(url, None, limit).unwrap();
        let fetched = documents.fetch(url, 10).await;
        fetched.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_document_that_fits_is_fetched_and_no_other() {
        let fits = says(&answer(10, "0123456789"));
        let body = fetch(&fits, Duration::from_secs(20)).await.unwrap();
        assert_eq!(body, b"0123456789");
        for refused in [
            answer(11, "0123456789a"),
            "HTTP/1.1 200 OK\r\n\r\n0123456789a".to_owned(),
            format!("HTTP/1.1 302 Found\r\nLocation: {fits}\r\nContent-Length: 0\r\n\r\n"),
            "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            "nonsense\r\n\r\n".to_owned(),
        ] {
            let outcome = fetch(&says(&refused), Duration::from_secs(20)).await;
            assert!(outcome.is_err(), "{refused} {outcome:?}");
        }
    }

    #[tokio::test]
    async fn one_that_does_not_come_is_not_waited_for() {
        for silent in ["", "HTTP/1.1 200 OK\r\n", &answer(10, "0123")] {
            let outcome = fetch(&says(silent), Duration::from_millis(200)).await;
            assert!(outcome.is_err(), "{silent} {outcome:?}");
        }
    }

    #[test]
    fn an_issuer_is_an_address() {
        let arguments = |issuer: &str| OidcArguments {
            oidc_issuer: Some(issuer.to_owned()),
            oidc_audience: Some("alcove".to_owned()),
            oidc_client_id: None,
            oidc_ca: None,
            identity_provider_hosts: Vec::new(),
        };
        let provider = arguments("https://id.example.com").provider().unwrap();
        assert_eq!(provider.unwrap().audience, "alcove");
        assert!(arguments("id.example.com").provider().is_err());
    }
}
