//! One host after the other, as each sends its clients on.
//!
//! Whether a host may be asked, and whether by the proxy, is decided for each of them, and not by the HTTP client, which knows
//! one proxy for all. A proxy asks in its own network: so addresses are never left to it, and a name only where our own
//! name servers do not say that it leads to a private address. What a name is to the proxy is its operator's word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alcove_runner_api::{Fetch, FetchError};
use http::header::LOCATION;
use http::{Response, StatusCode, Uri};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, Resolver as _};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Proxy};
use url::{Host, Url};

use crate::registry::{NOT_PUBLIC, PublicOnly, RegistrySettings, trusted};

/// A host that is there takes a connection within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Silence after which a connection counts as broken.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Behind a proxy there may be nobody to ask for names of the outside.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: u32 = 5;

/// By what way hosts are asked.
#[derive(Debug)]
pub(super) struct Road {
    /// Hosts that the operator has named.
    pub known: Arc<RegistrySettings>,
    pub proxy: Option<Proxy>,
}

/// The host, and the file from its first byte on. Blocks.
pub(super) fn open(road: &Road, order: &Fetch) -> Result<(String, Body), FetchError> {
    let deadline = Instant::now() + order.within;
    let first = Url::parse(&order.url).map_err(|_| FetchError::Address)?;
    let (mut url, mut host) = web(first).ok_or(FetchError::Address)?;
    for _ in 0..=MAX_REDIRECTS {
        let answer = road.ask(&url, deadline);
        let answer = answer.map_err(|error| failed(&host, &error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok((host, answer.into_body()));
        }
        let refused = FetchError::Refused {
            host: host.clone(),
            status: status.as_u16(),
        };
        let next = sent_on(&url, &answer).ok_or(refused)?;
        (url, host) = web(next).ok_or_else(|| FetchError::Unreachable {
            host: host.clone(),
            reason: "it sends its clients to what is no address of http or https".to_owned(),
        })?;
    }
    Err(FetchError::Unreachable {
        host,
        reason: format!("clients were sent on more than {MAX_REDIRECTS} times"),
    })
}

fn failed(host: &str, error: &ureq::Error) -> FetchError {
    let (host, reason) = (host.to_owned(), error.to_string());
    if reason.contains(NOT_PUBLIC) {
        FetchError::NotPublic { host }
    } else {
        FetchError::Unreachable { host, reason }
    }
}

/// With its host, where there is one and it is asked by HTTP.
fn web(url: Url) -> Option<(Url, String)> {
    let is_web = matches!(url.scheme(), "http" | "https");
    let host = url.host_str().filter(|host| is_web && !host.is_empty())?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Some((url, host))
}

/// Where an answer sends its client.
fn sent_on(from: &Url, answer: &Response<Body>) -> Option<Url> {
    let sends = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let place = answer.headers().get(LOCATION).filter(|_| sends)?;
    from.join(place.to_str().ok()?).ok()
}

impl Road {
    fn ask(&self, url: &Url, deadline: Instant) -> Result<Response<Body>, ureq::Error> {
        let direct = self.agent(None, deadline);
        let Some(proxy) = self.proxy_to(url) else {
            return direct.get(url.as_str()).call();
        };
        self.look_up(url, &direct)?;
        self.agent(Some(proxy), deadline).get(url.as_str()).call()
    }

    /// None for addresses, however they are written, for this host, and for the proxy's own.
    fn proxy_to(&self, url: &Url) -> Option<Proxy> {
        let Some(Host::Domain(name)) = url.host() else {
            return None;
        };
        let name = name.trim_end_matches('.');
        let proxy = self.proxy.as_ref()?;
        let is_here = name == "localhost" || name.ends_with(".localhost");
        let is_its_own = proxy.uri().host().is_some_and(|own| own == name);
        // What the environment excludes from the proxy is asked directly by the client itself, and looked up then.
        (!is_here && !is_its_own).then(|| proxy.clone())
    }

    /// # Errors
    /// The name leads to private addresses only. That nobody knows it is none: the proxy may.
    fn look_up(&self, url: &Url, direct: &Agent) -> Result<(), ureq::Error> {
        let Ok(uri) = url.as_str().parse::<Uri>() else {
            return Ok(());
        };
        let limit = NextTimeout {
            after: LOOK_UP_LIMIT.into(),
            ..NextTimeout::default()
        };
        match self.resolver().resolve(&uri, direct.config(), limit) {
            Err(error) if error.to_string().contains(NOT_PUBLIC) => Err(error),
            _ => Ok(()),
        }
    }

    fn resolver(&self) -> PublicOnly {
        PublicOnly {
            settings: Arc::clone(&self.known),
            inner: DefaultResolver::default(),
        }
    }

    fn agent(&self, proxy: Option<Proxy>, deadline: Instant) -> Agent {
        let within = deadline.saturating_duration_since(Instant::now());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(trusted(Vec::new()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy)
            .user_agent(concat!("alcove/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(within))
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_per_read(Some(SILENCE_LIMIT))
            .timeout_per_write(Some(SILENCE_LIMIT))
            .tls_config(tls)
            .build();
        Agent::with_parts(config, DefaultConnector::default(), self.resolver())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn road(known: &[&str]) -> Road {
        let known: Vec<String> = known.iter().map(|&host| host.to_owned()).collect();
        Road {
            known: Arc::new(RegistrySettings::naming(&known)),
            proxy: Some(Proxy::new("http://proxy.example:3128").unwrap()),
        }
    }

    #[test]
    fn names_alone_are_left_to_the_proxy_and_addresses_are_not_however_they_are_written() {
        let road = road(&[]);
        let by_proxy = |url: &str| road.proxy_to(&url.parse().unwrap()).is_some();
        for url in [
            "http://a.example/x",
            "https://a.example:8443/",
            "http://1.example/",
        ] {
            assert!(by_proxy(url), "{url}");
        }
        for url in [
            "http://10.0.0.1/",
            "http://[fd00::1]:80/",
            "http://2130706433/",
            "http://127.1/",
            "http://0x7f.0.0.1/",
            "http://017700000001/",
            "http://localhost/",
            "http://localhost./",
            "http://LOCALHOST/",
            "http://a.localhost/",
            "http://proxy.example/",
            "http://proxy.example:22/",
        ] {
            assert!(!by_proxy(url), "{url}");
        }
    }

    #[test]
    fn a_name_that_leads_to_this_host_is_not_left_to_the_proxy_unless_the_operator_named_it() {
        let url: Url = "http://localhost/".parse().unwrap();
        let looked_up =
            |road: &Road| road.look_up(&url, &road.agent(None, Instant::now() + LOOK_UP_LIMIT));
        assert!(looked_up(&road(&[])).is_err());
        assert!(looked_up(&road(&["localhost"])).is_ok());
    }

    #[test]
    fn only_an_answer_that_sends_its_client_on_has_a_next_place() {
        let from: Url = "https://a.example/deep/file".parse().unwrap();
        let place = |status: u16, place: &str| {
            let answer = Response::builder().status(status).header(LOCATION, place);
            let answer = answer.body(Body::builder().data("")).unwrap();
            sent_on(&from, &answer).map(String::from)
        };
        let next = |text: &str| Some(text.to_owned());
        assert_eq!(place(302, "other"), next("https://a.example/deep/other"));
        assert_eq!(place(307, "/other"), next("https://a.example/other"));
        assert_eq!(place(308, "//b.example/x"), next("https://b.example/x"));
        assert_eq!(place(301, "http://10.1/"), next("http://10.0.0.1/"));
        assert_eq!(place(200, "other"), None);
        assert_eq!(place(304, "other"), None);
    }
}
