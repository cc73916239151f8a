//! Where clients come in: the listeners of the API and of the object storage, with TLS or without.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use alcove_server::{Listener, Tls, TlsMode};
use anyhow::Context;
use tokio::net::TcpListener;

use crate::check;
use crate::tls::Source;

#[derive(Debug, clap::Args)]
pub struct DoorArguments {
    /// Address and port of the API. Port 0 takes a free one.
    #[arg(long, env = "ALCOVE_LISTEN", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// How clients reach this server, where that is not the address it listens on.
    #[arg(long, env = "ALCOVE_PUBLIC_URL")]
    public_url: Option<String>,
    /// Address and port of the object storage, where clients leave what images are built from (S3). Port 0 takes a
    /// free one.
    #[arg(long, env = "ALCOVE_S3_LISTEN", default_value = "127.0.0.1:3001")]
    s3_listen: SocketAddr,
    /// How clients reach the object storage, where that is not the address it listens on.
    #[arg(long, env = "ALCOVE_S3_PUBLIC_URL")]
    s3_public_url: Option<String>,
    /// A certificate for both listeners, with what it is signed by, as PEM. Without one, they show what `alcove tls`
    /// made, if it made one.
    #[arg(long, env = "ALCOVE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, as PEM.
    #[arg(long, env = "ALCOVE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Refuses connections without TLS, on both listeners. Not with --check, which asks without.
    #[arg(long, env = "ALCOVE_TLS_REQUIRED", conflicts_with = "check")]
    tls_required: bool,
}

/// The listeners, before anybody is let in.
#[derive(Debug)]
pub struct Doors {
    pub api: Listener,
    pub s3: Listener,
    /// How this machine reaches its own API.
    pub own_url: String,
    /// How clients reach the API, and the object storage; no slash at the end.
    pub url: String,
    pub s3_url: String,
    /// The object storage for clients that know no authorities but public ones.
    pub s3_plain_url: String,
    pub tls: Option<Source>,
}

impl Doors {
    pub async fn open(arguments: &DoorArguments, data_dir: &Path) -> anyhow::Result<Self> {
        let (api, address) = bind(arguments.listen).await?;
        let (s3, s3_address) = bind(arguments.s3_listen).await?;
        let tls = source(arguments, data_dir)?;
        let mode = if arguments.tls_required {
            TlsMode::Required
        } else {
            TlsMode::Offered
        };
        let listener = |tcp: TcpListener| {
            anyhow::Ok(match &tls {
                None => Listener::from(tcp),
                Some(source) => {
                    let tls = Tls::new(source.certificate.clone(), mode)
                        .context("cannot speak TLS with the certificate")?;
                    Listener::with_tls(tcp, tls)
                }
            })
        };
        let url = match &arguments.public_url {
            Some(url) => url.clone(),
            None if arguments.tls_required => format!("https://{address}"),
            None => format!("http://{address}"),
        };
        let url = url.trim_end_matches('/').to_owned();
        let is_private = tls.as_ref().is_some_and(Source::is_private);
        let s3_plain_url = match &arguments.s3_public_url {
            None if is_private && !arguments.tls_required => {
                Some(format!("http://{}", beside(&url, s3_address)))
            }
            _ => None,
        };
        let s3_url = match &arguments.s3_public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            // Python clients take no other; see `alcove tls`.
            None if tls.is_some() => format!("https://{}", beside(&url, s3_address)),
            None => format!("http://{}", beside(&url, s3_address)),
        };
        Ok(Self {
            api: listener(api)?,
            s3: listener(s3)?,
            own_url: check::own_url(address),
            url,
            s3_plain_url: s3_plain_url.unwrap_or_else(|| s3_url.clone()),
            s3_url,
            tls,
        })
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let address = listener
        .local_addr()
        .context("cannot read the own address")?;
    Ok((listener, address))
}

fn source(arguments: &DoorArguments, data_dir: &Path) -> anyhow::Result<Option<Source>> {
    let given = arguments
        .tls_cert
        .as_deref()
        .zip(arguments.tls_key.as_deref());
    let urls = [&arguments.public_url, &arguments.s3_public_url];
    let names = urls.into_iter().flatten().filter_map(|url| host_of(url));
    let source = Source::find(given, data_dir, names.collect())?;
    anyhow::ensure!(
        source.is_some() || !arguments.tls_required,
        "--tls-required needs a certificate: give one with --tls-cert and --tls-key, or let `alcove tls make` make one"
    );
    Ok(source)
}

/// The host of a URL, without brackets.
fn host_of(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    Some(url.host()?.trim_matches(['[', ']']).to_owned())
}

/// Where clients that reach the API under `url` reach another listener of the same machine.
fn beside(url: &str, address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let host = host_of(url).filter(|host| {
        host.parse::<IpAddr>()
            .map_or(true, |address| !address.is_unspecified())
    });
    let host = host.unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string());
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, address.port()).to_string(),
        Err(_) => format!("{host}:{}", address.port()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_object_storage_is_where_clients_reach_the_api() {
        for (url, listens, reached) in [
            ("http://127.0.0.1:3000", "127.0.0.1:3001", "127.0.0.1:3001"),
            (
                "https://box.example.com",
                "0.0.0.0:3001",
                "box.example.com:3001",
            ),
            ("http://10.0.0.7:3000", "0.0.0.0:3001", "10.0.0.7:3001"),
            ("http://[::1]:3000", "[::]:3001", "[::1]:3001"),
            ("http://0.0.0.0:3000", "0.0.0.0:3001", "127.0.0.1:3001"),
        ] {
            assert_eq!(beside(url, listens.parse().unwrap()), reached, "{url}");
        }
    }
}
