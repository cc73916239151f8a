//! The HTTP client of the transport: TLS, roots, proxies, time limits, and what the statuses mean.
//!
//! Nobody above needs to know which client it is.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::ErrorCode;
use git2::Config;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy, ResponseExt, SendBody};

use crate::Fault;
use crate::credentials::Credentials;
use crate::resolver::Resolver;
use crate::url::Url;

/// A remote that is there answers a connection within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A remote may think long about what to send, and then sends something now and then.
const ANSWER_LIMIT: Duration = Duration::from_mins(10);

/// Silence after which a connection counts as broken.
const SILENCE_LIMIT: Duration = Duration::from_mins(2);

const MAX_REDIRECTS: u32 = 5;

/// Longest part of a refusal that becomes part of a message.
const MAX_REASON: u64 = 512;

/// Where distributions keep the certificates that they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub type Body = Box<dyn Read + Send>;

/// What a request carries.
pub enum Upload {
    Whole(Vec<u8>),
    Streamed(Box<dyn Read + Send>),
}

/// What came back, with its body unread.
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    /// When it was changed last, as HTTP writes it; empty where the remote does not tell.
    pub last_modified: String,
    /// Where the answer comes from, after redirections.
    pub url: String,
    pub body: Body,
}

impl Answer {
    /// Whether the remote did as asked.
    pub fn check(&self, had_credentials: bool) -> Result<(), Fault> {
        let (code, message) = match self.status {
            200 => return Ok(()),
            401 if had_credentials => (
                ErrorCode::GitAuthFailed,
                "the remote does not accept the user name and password".to_owned(),
            ),
            401 => (
                ErrorCode::GitAuthFailed,
                "the remote asks for a user name and password".to_owned(),
            ),
            403 => (
                ErrorCode::Forbidden,
                "the remote forbids this (HTTP 403)".to_owned(),
            ),
            404 | 410 => (
                ErrorCode::GitRepoNotFound,
                "the remote has no such repository, or hides it from this user".to_owned(),
            ),
            407 => (
                ErrorCode::GitTransportFailed,
                "the proxy asks for credentials".to_owned(),
            ),
            status => (
                ErrorCode::GitTransportFailed,
                format!("the remote answered with HTTP {status}"),
            ),
        };
        Err(Fault::new(code, message))
    }
}

/// A client with the settings for one remote.
pub struct Client {
    agent: Agent,
}

impl Client {
    pub fn new(config: &Config, url: &Url) -> Result<Self, Fault> {
        let proxy = proxy(config, url)?;
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .max_redirects(MAX_REDIRECTS)
            .proxy(proxy)
            .user_agent(concat!("git/2.0 (alcove ", env!("CARGO_PKG_VERSION"), ")"))
            .accept("*/*")
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_recv_response(Some(ANSWER_LIMIT))
            .timeout_per_read(Some(SILENCE_LIMIT))
            .timeout_per_write(Some(SILENCE_LIMIT));
        if url.text.starts_with("https:") {
            builder = builder.tls_config(tls(config, url)?);
        }
        let agent = Agent::with_parts(
            builder.build(),
            DefaultConnector::default(),
            Resolver::new(),
        );
        Ok(Self { agent })
    }

    pub fn get(&self, url: &str, credentials: Option<&Credentials>) -> Result<Answer, Fault> {
        let mut request = self.agent.get(url).header("cache-control", "no-cache");
        if let Some(credentials) = credentials {
            request = request.header("authorization", credentials.basic());
        }
        answer(request.call())
    }

    pub fn post(
        &self,
        url: &str,
        service: &str,
        credentials: Option<&Credentials>,
        upload: Upload,
    ) -> Result<Answer, Fault> {
        let mut request = self
            .agent
            .post(url)
            .config()
            // A body cannot be sent again, and would become a GET.
            .max_redirects(0)
            .build()
            .header("content-type", format!("application/x-{service}-request"))
            .header("accept", format!("application/x-{service}-result"));
        if let Some(credentials) = credentials {
            request = request.header("authorization", credentials.basic());
        }
        answer(match upload {
            Upload::Whole(text) => request.send(text),
            Upload::Streamed(reader) => request.send(SendBody::from_owned_reader(reader)),
        })
    }
}

fn answer(result: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Fault> {
    let response = result.map_err(|error| failed(&error))?;
    let header = |name: &str| {
        let value = response.headers().get(name);
        let text = value.and_then(|value| value.to_str().ok());
        text.unwrap_or_default().to_owned()
    };
    let (content_type, last_modified) = (header("content-type"), header("last-modified"));
    let status = response.status().as_u16();
    let url = response.get_uri().to_string();
    let limit = if status == 200 { u64::MAX } else { MAX_REASON };
    let body = response
        .into_body()
        .into_with_config()
        .limit(limit)
        .reader();
    Ok(Answer {
        status,
        content_type,
        last_modified,
        url,
        body: Box::new(body),
    })
}

fn failed(error: &ureq::Error) -> Fault {
    let message = match error {
        ureq::Error::HostNotFound => "the remote's name cannot be resolved".to_owned(),
        ureq::Error::Timeout(_) => format!("the remote does not answer: {error}"),
        ureq::Error::Rustls(reason) => format!(
            "no trusted connection to the remote: {reason}; for a certificate of your own there is insecure_skip_tls"
        ),
        error => format!("cannot talk to the remote: {error}"),
    };
    Fault::new(ErrorCode::GitTransportFailed, message)
}

/// The proxy of git's configuration, else that of the environment.
fn proxy(config: &Config, url: &Url) -> Result<Option<Proxy>, Fault> {
    match setting(config, url, "proxy") {
        Some(proxy) if proxy.is_empty() => Ok(None),
        Some(proxy) => Proxy::new(&proxy).map(Some).map_err(|_| {
            Fault::invalid("http.proxy of git's configuration is no address of a proxy")
        }),
        None => Ok(Proxy::try_from_env()),
    }
}

fn tls(config: &Config, url: &Url) -> Result<TlsConfig, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if is_verification_off(config, url) {
        return Ok(builder.disable_verification(true).build());
    }
    Ok(builder.root_certs(roots(config, url)?).build())
}

fn is_verification_off(config: &Config, url: &Url) -> bool {
    let by_environment = std::env::var("GIT_SSL_NO_VERIFY");
    if by_environment.is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false")) {
        return true;
    }
    let setting = setting(config, url, "sslverify");
    setting.is_some_and(|value| Config::parse_bool(value).is_ok_and(|verify| !verify))
}

/// The certificates to trust: those that were named, those of the image, or, in an image without any, the ones that
/// browsers trust.
fn roots(config: &Config, url: &Url) -> Result<RootCerts, Fault> {
    let named = ["GIT_SSL_CAINFO", "SSL_CERT_FILE"]
        .iter()
        .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
        .map(PathBuf::from)
        .or_else(|| setting(config, url, "sslcainfo").map(PathBuf::from));
    if let Some(named) = named {
        return read_roots(&named).ok_or_else(|| {
            let message = format_args!("{} holds no certificates", named.display());
            Fault::new(ErrorCode::GitTransportFailed, message)
        });
    }
    let of_image = BUNDLES.iter().find_map(|path| read_roots(Path::new(path)));
    Ok(of_image.unwrap_or(RootCerts::WebPki))
}

fn read_roots(path: &Path) -> Option<RootCerts> {
    let text = std::fs::read(path).ok()?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    (!certificates.is_empty()).then(|| RootCerts::new_with_certs(&certificates))
}

/// A setting of git's section `http`; the one for the longest beginning of this address wins.
fn setting(config: &Config, url: &Url, name: &str) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    let entries = config.entries(Some("^http\\..*")).ok()?;
    entries
        .for_each(|entry| {
            let (Ok(key), Ok(value)) = (entry.name(), entry.value()) else {
                return;
            };
            let Some(rest) = key.strip_prefix("http.") else {
                return;
            };
            let length = match rest.rsplit_once('.') {
                None if rest == name => 0,
                Some((prefix, last)) if last == name && is_beginning(prefix, &url.text) => {
                    prefix.len()
                }
                _ => return,
            };
            if best.as_ref().is_none_or(|(longest, _)| length >= *longest) {
                best = Some((length, value.to_owned()));
            }
        })
        .ok()?;
    best.map(|(_, value)| value)
}

/// Whether an address begins with another, by whole parts.
fn is_beginning(prefix: &str, url: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    url.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::is_beginning;

    #[test]
    fn a_setting_is_for_whole_parts_of_an_address() {
        assert!(is_beginning("https://host/", "https://host/a"));
        assert!(is_beginning("https://host/a", "https://host/a"));
        assert!(!is_beginning("https://host", "https://host.evil/a"));
        assert!(!is_beginning("https://host", "http://host/a"));
    }
}
