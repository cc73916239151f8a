//! HTTP to the authority.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// For one request and its answer.
const LIMIT: Duration = Duration::from_mins(1);
/// Bytes of an answer. A chain of certificates has some thousand.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
}

impl Client {
    /// Trusts what is signed by the certificates in this file, else what is signed by the public authorities.
    pub fn new(root: Option<&Path>) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trusted = match root {
            Some(path) => RootCerts::new_with_certs(&read_roots(path)?),
            None => RootCerts::WebPki,
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(trusted)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(true)
            .tls_config(tls)
            .timeout_global(Some(LIMIT))
            .build();
        Ok(Self {
            agent: config.into(),
        })
    }

    fn ask(&self, request: Request<Bytes>) -> Result<BytesResponse, ureq::Error> {
        let (parts, body) = request.into_parts();
        let answer = if body.is_empty() {
            self.agent.run(Request::from_parts(parts, ()))?
        } else {
            self.agent.run(Request::from_parts(parts, &body[..]))?
        };
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(http::Response::from_parts(parts, Full::new(Bytes::from(body))).into())
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
            let request = Request::from_parts(parts, body);
            tokio::task::spawn_blocking(move || client.ask(request))
                .await
                .map_err(|error| Error::Other(error.into()))?
                .map_err(|error| Error::Other(error.into()))
        })
    }
}

/// The certificates in a PEM file.
pub(crate) fn read_roots(path: &Path) -> anyhow::Result<Vec<ureq::tls::Certificate<'static>>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let roots: Vec<_> = ureq::tls::parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    anyhow::ensure!(
        !roots.is_empty(),
        "there is no certificate in {}",
        path.display()
    );
    Ok(roots)
}
