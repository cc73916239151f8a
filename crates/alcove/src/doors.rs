//! Where clients come in: the listeners of the API and of the object storage, with TLS or without.

use std::net::{AddrParseError, IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use alcove_server::{HttpChallenges, Listener, Redirect, Tls};
use anyhow::Context;
use ipnet::IpNet;
use tokio::net::TcpListener;

use crate::check;
use crate::fleet::FleetArguments;
use crate::tls::{Source, TlsArguments};

#[derive(Debug, clap::Args)]
pub struct DoorArguments {
    /// Address and port of the API. Port 0 takes a free one.
    #[arg(long, env = "ALCOVE_LISTEN", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// How clients reach this server, where that is not the address it listens on.
    #[arg(long, env = "ALCOVE_PUBLIC_URL")]
    public_url: Option<String>,
    /// Host, with its port if that is not the scheme's, below which ports of sandboxes are shown, as
    /// PORT-SANDBOX.HOST. All names below it must lead here. Without it: the host of the public URL if it has a name, else
    /// localhost, whose names browsers resolve by themselves.
    #[arg(long, env = "ALCOVE_PREVIEW_HOST", value_name = "HOST[:PORT]")]
    preview_host: Option<String>,
    /// Shows browsers a page of the platform before the first one of a program in a sandbox, once a day and host.
    #[arg(long, env = "ALCOVE_PREVIEW_WARNING")]
    preview_warning: bool,
    /// Starts a stopped sandbox when somebody with a credential asks for one of its ports. Who comes without one to a public
    /// sandbox starts nothing.
    #[arg(long, env = "ALCOVE_PREVIEW_AUTO_START")]
    preview_auto_start: bool,
    /// Address, or network, of a proxy in front of this server. What it says of a client (X-Forwarded-For, X-Forwarded-Proto)
    /// is told to programs in sandboxes; nobody else's word is.
    #[arg(long = "trusted-proxy", env = "ALCOVE_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    trusted_proxies: Vec<IpNet>,
    /// Origin of web pages that may use the tools at /mcp, such as https://example.com, beside the server's own.
    #[arg(long = "mcp-origin", env = "ALCOVE_MCP_ORIGINS", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    mcp_origins: Vec<String>,
    /// Address and port of the object storage, where clients leave what images are built from (S3). Port 0 takes a
    /// free one.
    #[arg(long, env = "ALCOVE_S3_LISTEN", default_value = "127.0.0.1:3001")]
    s3_listen: SocketAddr,
    /// How clients reach the object storage, where that is not the address it listens on.
    #[arg(long, env = "ALCOVE_S3_PUBLIC_URL")]
    s3_public_url: Option<String>,
    /// Address and port of the SSH gateway, or `off`. Port 0 takes a free one.
    #[arg(
        long,
        env = "ALCOVE_SSH_LISTEN",
        value_name = "ADDR:PORT|off",
        default_value = "127.0.0.1:2222"
    )]
    ssh_listen: SshListen,
    /// The command that callers are told to log in with, with {{TOKEN}} in place of the token. Without it, one that leads
    /// to the host of the public URL and the port that is listened on.
    #[arg(long, env = "ALCOVE_SSH_COMMAND", value_name = "COMMAND")]
    ssh_command: Option<String>,
    /// Address and port at which `/metrics` is answered without a key, for monitoring. Without it, the administrator's key
    /// opens /api/metrics.
    #[arg(long, env = "ALCOVE_METRICS_LISTEN", value_name = "ADDR:PORT")]
    metrics_listen: Option<SocketAddr>,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    pub fleet: FleetArguments,
}

/// A network, or one address as the network of itself.
fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().ok();
    let net = net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.ok_or_else(|| format!("{text} is neither an address nor a network such as 10.0.0.0/8"))
}

/// Scheme and host, and nothing else.
fn origin(text: &str) -> Result<String, String> {
    let url = text.parse::<http::Uri>().ok();
    let is_origin = url.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.path() == "/"
            && url.query().is_none()
            && !text.ends_with('/')
    });
    if is_origin {
        Ok(text.to_owned())
    } else {
        Err(format!("{text} is no origin such as https://example.com"))
    }
}

impl DoorArguments {
    pub fn mcp_origins(&self) -> Vec<String> {
        self.mcp_origins.clone()
    }

    pub fn trusted_proxies(&self) -> Vec<IpNet> {
        self.trusted_proxies.clone()
    }

    pub fn warns_of_previews(&self) -> bool {
        self.preview_warning
    }

    /// Whether visitors of ports start what has stopped.
    pub fn visitors_start(&self) -> bool {
        self.preview_auto_start
    }

    pub fn preview_host(&self) -> Option<String> {
        self.preview_host.clone()
    }
}

/// Where the SSH gateway listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SshListen(Option<SocketAddr>);

impl FromStr for SshListen {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(Some).map(Self)
    }
}

/// The SSH gateway's listener, and how clients log in there.
#[derive(Debug)]
pub struct SshDoor {
    pub listener: TcpListener,
    pub command: String,
    /// Where it is, unless the operator's command says so.
    pub address: Option<(String, u16)>,
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
    /// Sends who comes without TLS to where the API is spoken with it.
    pub redirect: Option<(TcpListener, Redirect)>,
    pub ssh: Option<SshDoor>,
    /// Where monitoring asks.
    pub metrics: Option<TcpListener>,
}

impl Doors {
    pub async fn open(arguments: &DoorArguments, data_dir: &Path) -> anyhow::Result<Self> {
        let (api, address) = bind(arguments.listen).await?;
        let (s3, s3_address) = bind(arguments.s3_listen).await?;
        let ssh = match arguments.ssh_listen.0 {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let metrics = match arguments.metrics_listen {
            Some(address) => Some(bind(address).await?.0),
            None => None,
        };
        let challenges = HttpChallenges::default();
        let urls = [&arguments.public_url, &arguments.s3_public_url];
        let names = urls.into_iter().flatten().filter_map(|url| host_of(url));
        let tls = arguments
            .tls
            .source(data_dir, names.collect(), &challenges)?;
        let redirect = match arguments.tls.redirect_listen {
            Some(address) => Some(bind(address).await?.0),
            None => None,
        };
        let listener = |tcp: TcpListener, mode| {
            anyhow::Ok(match &tls {
                None => Listener::from(tcp),
                Some(source) => {
                    let tls = Tls::new(source.certificate(), mode)
                        .context("cannot speak TLS with the certificate")?;
                    Listener::with_tls(tcp, tls)
                }
            })
        };
        let url = match (&arguments.public_url, arguments.tls.first_name()) {
            (Some(url), _) => url.clone(),
            (None, Some(name)) if address.port() == 443 => format!("https://{name}"),
            (None, Some(name)) => format!("https://{name}:{}", address.port()),
            (None, None) if arguments.tls.is_tls_only() => format!("https://{address}"),
            (None, None) => format!("http://{address}"),
        };
        let url = url.trim_end_matches('/').to_owned();
        let ssh_url = url.clone();
        let is_private = tls.as_ref().is_some_and(Source::is_private);
        let s3_plain_url = match &arguments.s3_public_url {
            None if is_private && !arguments.tls.is_tls_only() => {
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
            api: listener(api, arguments.tls.api_mode())?,
            s3: listener(s3, arguments.tls.mode())?,
            redirect: redirect.map(|listener| {
                let port = tls_port(&url, address);
                (listener, Redirect::new(port, challenges))
            }),
            own_url: check::own_url(address),
            url,
            s3_plain_url: s3_plain_url.unwrap_or_else(|| s3_url.clone()),
            s3_url,
            tls,
            metrics,
            ssh: ssh.map(|(listener, address)| SshDoor {
                listener,
                address: match arguments.ssh_command {
                    Some(_) => None,
                    None => Some((host_beside(&ssh_url, address), address.port())),
                },
                command: arguments.ssh_command.clone().unwrap_or_else(|| {
                    ssh_command(&host_beside(&ssh_url, address), address.port())
                }),
            }),
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

/// The host of a URL, without brackets.
fn host_of(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    Some(url.host()?.trim_matches(['[', ']']).to_owned())
}

/// The port at which clients reach the API with TLS: the public URL's if it is one with TLS, else the listener's own.
fn tls_port(url: &str, address: SocketAddr) -> u16 {
    let url: Option<http::Uri> = url.parse().ok();
    match url {
        Some(url) if url.scheme() == Some(&http::uri::Scheme::HTTPS) => {
            url.port_u16().unwrap_or(443)
        }
        Some(_) | None => address.port(),
    }
}

/// Where clients that reach the API under `url` reach another listener of the same machine.
fn beside(url: &str, address: SocketAddr) -> String {
    let host = host_beside(url, address);
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, address.port()).to_string(),
        Err(_) => format!("{host}:{}", address.port()),
    }
}

/// The host alone, without brackets.
fn host_beside(url: &str, address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.ip().to_string();
    }
    let host = host_of(url).filter(|host| {
        host.parse::<IpAddr>()
            .map_or(true, |address| !address.is_unspecified())
    });
    host.unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string())
}

/// The command line that logs in, with a place for the token.
fn ssh_command(host: &str, port: u16) -> String {
    match port {
        22 => format!("ssh {{{{TOKEN}}}}@{host}"),
        port => format!("ssh -p {port} {{{{TOKEN}}}}@{host}"),
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

    #[test]
    fn who_is_redirected_gets_to_the_public_port() {
        let listens: SocketAddr = "0.0.0.0:3000".parse().unwrap();
        for (url, port) in [
            ("https://box.example.com", 443),
            ("https://box.example.com:8443", 8443),
            ("http://box.example.com", 3000),
            ("box.example.com", 3000),
        ] {
            assert_eq!(tls_port(url, listens), port, "{url}");
        }
    }

    #[test]
    fn the_ssh_command_leads_to_the_listener_with_a_place_for_the_token() {
        for (url, listens, command) in [
            (
                "http://127.0.0.1:3000",
                "127.0.0.1:2222",
                "ssh -p 2222 {{TOKEN}}@127.0.0.1",
            ),
            (
                "https://box.example.com",
                "0.0.0.0:22",
                "ssh {{TOKEN}}@box.example.com",
            ),
            (
                "http://[::1]:3000",
                "[::]:2222",
                "ssh -p 2222 {{TOKEN}}@::1",
            ),
        ] {
            let address: SocketAddr = listens.parse().unwrap();
            let host = host_beside(url, address);
            assert_eq!(ssh_command(&host, address.port()), command, "{url}");
        }
        assert_eq!("off".parse(), Ok(SshListen(None)));
        assert!("of".parse::<SshListen>().is_err());
    }
}
