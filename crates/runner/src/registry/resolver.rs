//! Names of registries, and which addresses may be asked.
//!
//! Whoever makes a snapshot names a registry, and a registry sends its clients on to other hosts. Without this, the
//! server would ask its own host and its neighbours for anybody.

use std::sync::Arc;

use alcove_domain::network::is_public;
use http::Uri;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::{RegistrySettings, without_port};

/// The text by which a refusal is known again on its way through the client.
pub const NOT_PUBLIC: &str = "not at a public address";

#[derive(Debug)]
pub struct PublicOnly {
    pub settings: Arc<RegistrySettings>,
    pub inner: DefaultResolver,
}

impl Resolver for PublicOnly {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let is_proxy = |proxy: &ureq::Proxy| proxy.uri().host() == uri.host();
        let host = uri.host().map(without_port).unwrap_or_default();
        if self.settings.knows(host) || config.proxy().is_some_and(is_proxy) {
            return Ok(found);
        }
        let mut public = self.empty();
        for address in found.iter().filter(|address| is_public(address.ip())) {
            public.push(*address);
        }
        if public.is_empty() {
            return Err(ureq::Error::Io(std::io::Error::new(
                std::io::ErrorKind::PermissionDenied,
                NOT_PUBLIC,
            )));
        }
        Ok(public)
    }
}
