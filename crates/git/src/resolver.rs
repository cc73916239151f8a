//! Names of hosts.
//!
//! The C library would load plug-ins of the image if its `nsswitch.conf` names any, and a static program must not. So
//! the image's `hosts` and `resolv.conf` are read, and the name server asked, by code of our own process.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use http::Uri;
use ureq::config::{Config, IpFamily};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::NextTimeout;

/// Addresses tried of one name.
const MAX_ADDRESSES: usize = 8;

#[derive(Debug)]
pub struct Resolver {}

impl Resolver {
    pub fn new() -> Self {
        Self {}
    }
}

impl UreqResolver for Resolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http");
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let mut found = self.empty();
        let family = config.ip_family();
        for address in look_up(host)? {
            let is_wanted = match family {
                IpFamily::Any => true,
                IpFamily::Ipv4Only => address.is_ipv4(),
                IpFamily::Ipv6Only => address.is_ipv6(),
            };
            if is_wanted && found.len() < MAX_ADDRESSES {
                found.push(SocketAddr::new(address, port));
            }
        }
        if found.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(found)
    }
}

fn look_up(host: &str) -> Result<Vec<IpAddr>, ureq::Error> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    // With this name nobody is asked: it means this machine (RFC 6761).
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            [127, 0, 0, 1].into(),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let lookup = async {
        let resolver = TokioResolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|_| ureq::Error::HostNotFound)?;
        let found = resolver.lookup_ip(host).await;
        let found = found.map_err(|_| ureq::Error::HostNotFound)?;
        Ok(found.iter().collect())
    };
    runtime.block_on(lookup)
}
