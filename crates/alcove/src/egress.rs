//! How sandboxes reach the outside: what an operator may say about it.

use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use alcove_runner::host_layer::CA_BUNDLE;
use alcove_runner::net::Rate;
use alcove_runner::{Egress, RunnerConfig};
use anyhow::Context;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const DNS_PORT: u16 = 53;

#[derive(Debug, Clone, clap::Args)]
pub struct EgressArguments {
    /// Name servers that answer for sandboxes, as ADDRESS or ADDRESS:PORT, with commas between. Without it: those of the
    /// host's /etc/resolv.conf.
    #[arg(
        long,
        env = "ALCOVE_DNS_SERVERS",
        value_name = "SERVERS",
        value_delimiter = ','
    )]
    dns_servers: Vec<DnsServer>,
    /// A PEM file with certificates that sandboxes trust beside those of the host. Holds for sandboxes that start from now
    /// on.
    #[arg(long, env = "ALCOVE_SANDBOX_CA", value_name = "FILE")]
    sandbox_ca: Option<PathBuf>,
    /// A proxy that sandboxes are told to use (HTTP_PROXY and its likes) and may reach, as http://HOST:PORT, with
    /// USER:PASSWORD@ in front of the host where it asks for one: every sandbox can read it. Not those with a network
    /// policy, which a proxy would lead round.
    #[arg(
        long,
        env = "ALCOVE_OUTBOUND_PROXY",
        value_name = "URL",
        hide_env_values = true
    )]
    outbound_proxy: Option<ProxyUrl>,
    /// The most that one sandbox sends, in Mbit/s.
    #[arg(long, env = "ALCOVE_UPLOAD_LIMIT", value_name = "MBIT")]
    upload_limit: Option<NonZeroU32>,
    /// The most that one sandbox gets, in Mbit/s.
    #[arg(long, env = "ALCOVE_DOWNLOAD_LIMIT", value_name = "MBIT")]
    download_limit: Option<NonZeroU32>,
}

impl EgressArguments {
    /// Puts what was said into the runner's configuration.
    ///
    /// # Errors
    /// Where a file or a name cannot be used, with the argument that named it.
    pub fn apply(&self, config: &mut RunnerConfig) -> anyhow::Result<()> {
        let network = &mut config.network;
        network.dns_servers = self.dns_servers.iter().map(|server| server.0).collect();
        network.upload_limit = self.upload_limit.map(|mbit| Rate { mbit });
        network.download_limit = self.download_limit.map(|mbit| Rate { mbit });
        let mut egress = Egress::default();
        if let Some(path) = &self.sandbox_ca {
            egress.certificates = read_certificates(path)?;
        }
        if let Some(proxy) = &self.outbound_proxy {
            network.proxy = proxy.addresses()?;
            egress.proxy = Some(proxy.url.clone());
        }
        config.egress = egress;
        Ok(())
    }
}

fn read_certificates(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {shown}, named by --sandbox-ca"))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .with_context(|| format!("{shown}, named by --sandbox-ca, is no PEM file"))?;
    anyhow::ensure!(
        !found.is_empty(),
        "{shown}, named by --sandbox-ca, has no certificate in it"
    );
    // Theirs would take the place of what images bring, and then it has to be a whole one.
    let bundle = Path::new("/").join(CA_BUNDLE);
    anyhow::ensure!(
        bundle.is_file(),
        "--sandbox-ca needs the host's own certificates in {} (Debian package ca-certificates)",
        bundle.display()
    );
    Ok(text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DnsServer(SocketAddr);

impl FromStr for DnsServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let with_port = text.parse().ok();
        let address = with_port.or_else(|| {
            let address: IpAddr = text.parse().ok()?;
            Some(SocketAddr::new(address, DNS_PORT))
        });
        address.map(Self).ok_or_else(|| {
            format!("{text} is not an address such as 192.0.2.53 or [2001:db8::53]:53")
        })
    }
}

/// A proxy, as programs in sandboxes are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProxyUrl {
    url: String,
    host: String,
    port: u16,
}

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What was given may hold a password, and is not repeated.
        let wrong = || "it has the form http://HOST:PORT, without a path".to_owned();
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let (Some("http"), Some(host), Some(port), true) =
            (uri.scheme_str(), uri.host(), uri.port_u16(), is_bare)
        else {
            return Err(wrong());
        };
        Ok(Self {
            url: text.trim_end_matches('/').to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

impl ProxyUrl {
    /// Where it listens, as this host sees it at the start.
    fn addresses(&self) -> anyhow::Result<Vec<SocketAddrV4>> {
        let host = &self.host;
        let found = (host.as_str(), self.port)
            .to_socket_addrs()
            .with_context(|| format!("cannot find {host}, named by --outbound-proxy"))?;
        let addresses: Vec<SocketAddrV4> = found
            .filter_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            })
            .collect();
        anyhow::ensure!(
            !addresses.is_empty(),
            "{host}, named by --outbound-proxy, has no IPv4 address, and sandboxes have no other"
        );
        let is_loopback = addresses.iter().any(|address| address.ip().is_loopback());
        anyhow::ensure!(
            !is_loopback,
            "{host}, named by --outbound-proxy, is this host's loopback, which is another one in each sandbox; give an \
             address of the host's"
        );
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn name_servers_are_addresses_with_or_without_a_port() {
        let server = |text: &str| {
            text.parse::<DnsServer>()
                .ok()
                .map(|server| server.0.to_string())
        };
        assert_eq!(server("192.0.2.53").as_deref(), Some("192.0.2.53:53"));
        assert_eq!(
            server("192.0.2.53:5353").as_deref(),
            Some("192.0.2.53:5353")
        );
        assert_eq!(server("2001:db8::53").as_deref(), Some("[2001:db8::53]:53"));
        assert_eq!(server("dns.example"), None);
    }

    #[test]
    fn a_proxy_is_a_url_with_host_and_port_and_nothing_more() {
        let proxy = |text: &str| text.parse::<ProxyUrl>();
        let with_password = proxy("http://user:word@192.0.2.1:3128/").unwrap();
        assert_eq!(with_password.url, "http://user:word@192.0.2.1:3128");
        let address: SocketAddrV4 = "192.0.2.1:3128".parse().unwrap();
        assert_eq!(with_password.addresses().unwrap(), [address]);
        for wrong in [
            "192.0.2.1:3128",
            "https://a.example:1",
            "http://a.example",
            "http://a.example:1/x",
            "http://a:1?b",
        ] {
            let error = proxy(wrong).unwrap_err();
            assert!(!error.contains("a.example"), "{error}");
        }
        assert!(proxy("http://127.0.0.1:3128").unwrap().addresses().is_err());
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let error = read_certificates(&path).unwrap_err();
        assert!(
            format!("{error:#}").contains("named by --sandbox-ca"),
            "{error:#}"
        );
        fs::write(&path, "nothing").unwrap();
        let error = read_certificates(&path).unwrap_err();
        assert!(
            error.to_string().contains("has no certificate in it"),
            "{error}"
        );
    }
}
