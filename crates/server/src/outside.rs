//! Requests to hosts of other people's choice: only public addresses are connected to, unless the operator has named the host.
//!
//! The names of hosts are looked up for each request, and what was looked at is what is connected to. An answer that sends
//! elsewhere is not followed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::network::is_public;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;

/// A host that is there takes a connection within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The text by which a refusal is known again on its way through the client.
const NOT_PUBLIC: &str = "the host is not at a public address";

type Resolver = BoxCloneSyncService<Name, std::vec::IntoIter<SocketAddr>, io::Error>;

/// A client for such requests. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Outside {
    /// In small letters.
    hosts: Arc<[String]>,
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Outside {
    /// `hosts` are those that the operator has named: they may be at private addresses.
    ///
    /// # Errors
    /// If the host's certificates cannot be read.
    pub fn new(hosts: &[String]) -> io::Result<Self> {
        let hosts: Arc<[String]> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let mut tcp = HttpConnector::new_with_resolver(resolver(Arc::clone(&hosts)));
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // A connection that is kept would not be looked at again.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(https);
        Ok(Self { hosts, client })
    }

    /// Whether the operator has named this host.
    pub fn is_known(&self, host: &str) -> bool {
        self.hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(host))
    }

    /// The answer, or why there is none, for whoever chose the host. Has no limit of time of its own.
    pub async fn ask(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, &'static str> {
        // An address is not looked up, so the resolver does not see it.
        let host = request.uri().host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_closed = host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip));
        if is_closed && !self.is_known(host) {
            return Err(NOT_PUBLIC);
        }
        let answer = self.client.request(request).await;
        answer.map_err(|error| reason(&error))
    }
}

/// Looks names up, and leaves out what is not public.
fn resolver(hosts: Arc<[String]>) -> Resolver {
    let service = tower::service_fn(move |name: Name| {
        let hosts = Arc::clone(&hosts);
        async move {
            let is_known = hosts
                .iter()
                .any(|host| host.eq_ignore_ascii_case(name.as_str()));
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| is_known || is_public(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NOT_PUBLIC));
            }
            Ok(allowed.into_iter())
        }
    });
    BoxCloneSyncService::new(service)
}

/// Why there was no answer, for whoever chose the host. What the system calls it is not told.
fn reason(error: &hyper_util::client::legacy::Error) -> &'static str {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string().contains(NOT_PUBLIC) {
            return NOT_PUBLIC;
        }
        source = cause.source();
    }
    if error.is_connect() {
        "it cannot be connected to"
    } else {
        "the connection broke before it answered"
    }
}
