//! One registry's client: requests with bounds on what is answered, and the dance of its credentials.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy, RequestBuilder};

use super::challenge::{Challenge, TokenAnswer};
use super::resolver::{NOT_PUBLIC, PublicOnly};
use super::{Endpoint, RegistryError, RegistrySettings, without_port};

/// A registry that is there takes a connection within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// It may have to look before it answers.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// Silence after which a connection counts as broken.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// All of a request for a manifest, a configuration or a token, with redirects and the last byte of the body: a connection
/// and an answer within their limits, and time for some MiB. Silence alone bounds nothing, since a byte now and then ends it.
const DESCRIPTION_LIMIT: Duration = Duration::from_mins(2);
/// All of a request for a layer: as long as a whole pull may take.
const LAYER_LIMIT: Duration = Duration::from_hours(1);
const MAX_REDIRECTS: u32 = 5;
/// Bytes of a token service's answer.
const TOKEN_BYTES: u64 = 1 << 20;

/// Where distributions keep the certificates that they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A repository at one endpoint. Calls block.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    repository: String,
    /// What the registry wanted to see last; asked for anew when it is not taken any more.
    authorization: Mutex<Option<String>>,
    description_limit: Duration,
}

/// An index or a manifest, not yet checked.
#[derive(Debug)]
pub struct Manifest {
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// What the registry says that it is.
    pub digest: Option<String>,
}

/// The bytes of a blob from some place on.
pub struct Blob {
    /// Where the bytes begin: where was asked for, or at the start.
    pub from: u64,
    pub bytes: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub fn new(
        settings: &Arc<RegistrySettings>,
        endpoint: Endpoint,
        repository: &str,
    ) -> Result<Self, RegistryError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A token is for the registry, not for the store of blobs that it sends its clients on to.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .max_redirects(MAX_REDIRECTS)
            .proxy(proxy_to(without_port(&endpoint.host)))
            .user_agent(concat!("alcove/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_recv_response(Some(ANSWER_LIMIT))
            .timeout_per_read(Some(SILENCE_LIMIT))
            .timeout_per_write(Some(SILENCE_LIMIT));
        if !endpoint.is_insecure {
            // On every hop: neither a token nor an image comes over plain HTTP.
            config = config.https_only(true).tls_config(tls(&endpoint)?);
        }
        let resolver = PublicOnly {
            settings: Arc::clone(settings),
            inner: DefaultResolver::default(),
        };
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), resolver);
        Ok(Self {
            agent,
            endpoint,
            repository: repository.to_owned(),
            authorization: Mutex::default(),
            description_limit: DESCRIPTION_LIMIT,
        })
    }

    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// An index or a manifest by its tag or its digest, at most so many bytes.
    pub fn manifest(
        &self,
        tag_or_digest: &str,
        accept: &str,
        limit: u64,
    ) -> Result<Manifest, RegistryError> {
        let what = format!("{}:{tag_or_digest}", self.repository);
        let path = format!("manifests/{tag_or_digest}");
        let headers = [(ACCEPT, accept.to_owned())];
        let answer = self.get(&path, &what, &headers, self.description_limit)?;
        let text = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        // Some add a character set.
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        Ok(Manifest {
            media_type: media_type.to_owned(),
            digest: text("docker-content-digest"),
            bytes: self.read_all(answer, &what, limit)?,
        })
    }

    /// A blob that is a description: all of it, at most so many bytes.
    pub fn small_blob(&self, digest: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let what = format!("{}@{digest}", self.repository);
        let path = format!("blobs/{digest}");
        let answer = self.get(&path, &what, &[], self.description_limit)?;
        self.read_all(answer, &what, limit)
    }

    /// A blob from this place on, if the registry can; from the start if it cannot.
    pub fn blob(&self, digest: &str, from: u64) -> Result<Blob, RegistryError> {
        let what = format!("{}@{digest}", self.repository);
        let path = format!("blobs/{digest}");
        let headers = if from > 0 {
            vec![(RANGE, format!("bytes={from}-"))]
        } else {
            Vec::new()
        };
        let answer = self.get(&path, &what, &headers, LAYER_LIMIT)?;
        let is_part = answer.status() == StatusCode::PARTIAL_CONTENT;
        let from = if is_part {
            range_start(answer.headers())
                .filter(|start| *start == from)
                .ok_or_else(|| RegistryError::WrongContent {
                    host: self.endpoint.host.clone(),
                    what: what.clone(),
                    reason: "it begins at another place than was asked for".to_owned(),
                })?
        } else {
            0
        };
        let body = answer.into_body().into_with_config().limit(u64::MAX);
        Ok(Blob {
            from,
            bytes: Box::new(body.reader()),
        })
    }

    fn get(
        &self,
        path: &str,
        what: &str,
        headers: &[(http::HeaderName, String)],
        time: Duration,
    ) -> Result<http::Response<Body>, RegistryError> {
        let mut answer = self.send(path, headers, time)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let authorization = self.authorize(answer.headers())?;
            *self.authorization() = Some(authorization);
            answer = self.send(path, headers, time)?;
        }
        let host = self.endpoint.host.clone();
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound {
                host,
                what: what.to_owned(),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.unauthorized()),
            StatusCode::TOO_MANY_REQUESTS => Err(RegistryError::TooOften { host }),
            // The whole of it is here already, or the registry does not know ranges.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let headers: Vec<_> = headers
                    .iter()
                    .filter(|(name, _)| *name != RANGE)
                    .cloned()
                    .collect();
                let answer = self.send(path, &headers, time)?;
                if answer.status() == StatusCode::OK {
                    return Ok(answer);
                }
                Err(self.refused(answer.status(), what))
            }
            status => Err(self.refused(status, what)),
        }
    }

    fn send(
        &self,
        path: &str,
        headers: &[(http::HeaderName, String)],
        time: Duration,
    ) -> Result<http::Response<Body>, RegistryError> {
        let scheme = if self.endpoint.is_insecure {
            "http"
        } else {
            "https"
        };
        let Endpoint { host, .. } = &self.endpoint;
        let address = format!("{scheme}://{host}/v2/{}/{path}", self.repository);
        let mut request = self.within(address, time);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = &*self.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.call().map_err(|error| self.failed(&error))
    }

    /// A request that is over after this time, all of its answer read or not.
    fn within(&self, address: String, time: Duration) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(address);
        request.config().timeout_global(Some(time)).build()
    }

    /// The value of the header that this challenge asks for.
    fn authorize(&self, headers: &HeaderMap) -> Result<String, RegistryError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
        let challenges = challenges.filter_map(|value| value.to_str().ok());
        let credentials = self.endpoint.credentials.as_ref();
        let basic = credentials.map(|credentials| {
            let pair = format!("{}:{}", credentials.username, credentials.password);
            format!("Basic {}", STANDARD.encode(pair))
        });
        match Challenge::choose(challenges, &self.repository) {
            Some(Challenge::Basic) => basic.ok_or_else(|| self.unauthorized()),
            Some(Challenge::Token { address }) => self.token(&address, basic),
            None => Err(self.unauthorized()),
        }
    }

    fn token(&self, address: &str, basic: Option<String>) -> Result<String, RegistryError> {
        let mut request = self.within(address.to_owned(), self.description_limit);
        if let Some(basic) = basic {
            request = request.header(AUTHORIZATION, basic);
        }
        let answer = request.call().map_err(|error| self.failed(&error))?;
        let what = "a token";
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                return Err(self.unauthorized());
            }
            status => return Err(self.refused(status, what)),
        }
        let bytes = self.read_all(answer, what, TOKEN_BYTES)?;
        let token = serde_json::from_slice::<TokenAnswer>(&bytes).ok();
        let token = token.and_then(TokenAnswer::into_token);
        let is_plain = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        let token = token
            .filter(is_plain)
            .ok_or_else(|| RegistryError::WrongContent {
                host: self.endpoint.host.clone(),
                what: what.to_owned(),
                reason: "there is none in the answer".to_owned(),
            })?;
        Ok(format!("Bearer {token}"))
    }

    fn read_all(
        &self,
        answer: http::Response<Body>,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let body = answer
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader();
        let read = body.take(limit + 1).read_to_end(&mut bytes);
        let read = read.map_err(|error| RegistryError::Unreachable {
            host: self.endpoint.host.clone(),
            reason: error.to_string(),
        })?;
        if u64::try_from(read).unwrap_or(u64::MAX) > limit {
            return Err(RegistryError::AnswerTooLarge {
                host: self.endpoint.host.clone(),
                what: what.to_owned(),
                limit,
            });
        }
        Ok(bytes)
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        let lock = self.authorization.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    fn unauthorized(&self) -> RegistryError {
        RegistryError::Unauthorized {
            host: self.endpoint.host.clone(),
            repository: self.repository.clone(),
        }
    }

    fn refused(&self, status: StatusCode, what: &str) -> RegistryError {
        RegistryError::Refused {
            host: self.endpoint.host.clone(),
            status: status.as_u16(),
            what: what.to_owned(),
        }
    }

    fn failed(&self, error: &ureq::Error) -> RegistryError {
        let host = self.endpoint.host.clone();
        let reason = error.to_string();
        if reason.contains(NOT_PUBLIC) {
            return RegistryError::NotPublic { host };
        }
        RegistryError::Unreachable { host, reason }
    }
}

/// The proxy of the environment; there is none on the way to the host itself.
fn proxy_to(host: &str) -> Option<Proxy> {
    let address = host.parse::<IpAddr>();
    if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        return None;
    }
    Proxy::try_from_env()
}

/// Where a partial answer begins.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = value.trim().strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

fn tls(endpoint: &Endpoint) -> Result<TlsConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    let own = match &endpoint.ca {
        None => Vec::new(),
        Some(path) => read_certificates(path).map_err(|source| RegistryError::Certificates {
            host: endpoint.host.clone(),
            source,
        })?,
    };
    Ok(builder.root_certs(trusted(own)).build())
}

/// The certificates that the host trusts, and these.
pub(crate) fn trusted(own: Vec<ureq::tls::Certificate<'static>>) -> RootCerts {
    let mut trusted = BUNDLES
        .iter()
        .find_map(|path| read_certificates(Path::new(path)).ok())
        .unwrap_or_default();
    trusted.extend(own);
    if trusted.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::new_with_certs(&trusted)
    }
}

fn read_certificates(path: &Path) -> std::io::Result<Vec<ureq::tls::Certificate<'static>>> {
    let text = fs::read(path)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let message = "there is no certificate in the file";
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            message,
        ));
    }
    Ok(certificates)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
