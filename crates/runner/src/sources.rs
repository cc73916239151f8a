//! Files of addresses outside that sandboxes begin with.
//!
//! The address is anybody's choice, and so is all that answers there. It goes by the resolver that registries of images
//! go by: hosts at private addresses are asked only where the operator has named them. What comes has a bound, and a
//! time.

use std::io::Read as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use alcove_runner_api::{Fetch, FetchError};
use http::Uri;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use crate::registry::{NOT_PUBLIC, PublicOnly, RegistrySettings, proxy_to, trusted, without_port};

/// Fetches that work at once; each holds one of the threads for work that blocks.
const AT_ONCE: usize = 8;
/// A host that is there takes a connection within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Silence after which a connection counts as broken.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: u32 = 5;
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for whoever takes them.
const PIECES: usize = 8;

/// What a fetch says, piece by piece. An error is the last of it.
pub type Pieces = mpsc::Receiver<Result<Vec<u8>, FetchError>>;

/// Fetches files.
#[derive(Debug)]
pub struct Sources {
    /// Hosts that the operator has named.
    known: Arc<RegistrySettings>,
    slots: Arc<Semaphore>,
}

impl Sources {
    pub fn new(hosts: &[String]) -> Self {
        Self {
            known: Arc::new(RegistrySettings::naming(hosts)),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Resolves when the host has begun to answer with the file. Dropping what comes ends the fetch.
    pub async fn fetch(&self, order: Fetch) -> Result<Pieces, FetchError> {
        let slot = timeout(order.within, Arc::clone(&self.slots).acquire_owned());
        let Ok(Ok(slot)) = slot.await else {
            return Err(FetchError::Unavailable);
        };
        let known = Arc::clone(&self.known);
        let (begun, beginning) = oneshot::channel();
        let (pieces, receiver) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            match open(&known, &order) {
                Ok((host, body)) => {
                    // Whoever does not wait any more takes no pieces either.
                    let _ = begun.send(Ok(()));
                    pass_on(&host, body, order.max_bytes, &pieces);
                }
                Err(error) => drop(begun.send(Err(error))),
            }
        });
        beginning
            .await
            .unwrap_or(Err(FetchError::Unavailable))
            .map(|()| receiver)
    }
}

/// The host, and the file from its first byte on.
fn open(known: &Arc<RegistrySettings>, order: &Fetch) -> Result<(String, Body), FetchError> {
    let uri: Uri = order.url.parse().map_err(|_| FetchError::Address)?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().filter(|host| is_web && !host.is_empty());
    let host = without_port(host.ok_or(FetchError::Address)?).to_owned();
    let failed = |error: &ureq::Error| {
        let (host, reason) = (host.clone(), error.to_string());
        if reason.contains(NOT_PUBLIC) {
            FetchError::NotPublic { host }
        } else {
            FetchError::Unreachable { host, reason }
        }
    };
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(trusted(Vec::new()))
        .build();
    // A proxy would ask an address for us that nobody is to ask.
    let is_address = host.parse::<IpAddr>().is_ok();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(MAX_REDIRECTS)
        .proxy(if is_address { None } else { proxy_to(&host) })
        .user_agent(concat!("alcove/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(order.within))
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_per_read(Some(SILENCE_LIMIT))
        .timeout_per_write(Some(SILENCE_LIMIT))
        .tls_config(tls)
        .build();
    let resolver = PublicOnly {
        settings: Arc::clone(known),
        inner: DefaultResolver::default(),
    };
    let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
    let answer = agent.get(&order.url).call();
    let answer = answer.map_err(|error| failed(&error))?;
    if !answer.status().is_success() {
        let status = answer.status().as_u16();
        return Err(FetchError::Refused { host, status });
    }
    Ok((host, answer.into_body()))
}

fn pass_on(
    host: &str,
    body: Body,
    max_bytes: u64,
    pieces: &mpsc::Sender<Result<Vec<u8>, FetchError>>,
) {
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    let mut left = max_bytes;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let piece = match reader.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                let bytes = u64::try_from(count).unwrap_or(u64::MAX);
                if bytes > left {
                    Err(FetchError::TooLong { max_bytes })
                } else {
                    left -= bytes;
                    piece.truncate(count);
                    Ok(piece)
                }
            }
            Err(error) => Err(FetchError::Broken {
                host: host.to_owned(),
                reason: error.to_string(),
            }),
        };
        let is_last = piece.is_err();
        // Nobody takes it any more.
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// A host that says this to whoever asks, and hangs up; with `is_silent`, it stays there.
    fn host(said: Vec<u8>, is_silent: bool) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).unwrap();
                let _ = stream.write_all(&said);
                if is_silent {
                    // Until the other side goes.
                    let _ = stream.read(&mut asked);
                }
            }
        });
        port
    }

    fn file(bytes: usize) -> Vec<u8> {
        let mut said = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
        said.extend(vec![b'x'; bytes]);
        said
    }

    fn order(url: String) -> Fetch {
        Fetch {
            url,
            max_bytes: 1000,
            within: Duration::from_secs(20),
        }
    }

    async fn fetched(sources: &Sources, order: Fetch) -> Result<Vec<u8>, FetchError> {
        let mut pieces = sources.fetch(order).await?;
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            all.extend(piece?);
        }
        Ok(all)
    }

    fn local() -> Sources {
        Sources::new(&["127.0.0.1".to_owned()])
    }

    #[tokio::test]
    async fn private_addresses_are_asked_only_where_the_operator_has_named_them() {
        let port = host(file(3), false);
        let url = || order(format!("http://127.0.0.1:{port}/a.tgz"));
        assert_eq!(fetched(&local(), url()).await.unwrap(), b"xxx");
        let refused = fetched(&Sources::new(&[]), url()).await.unwrap_err();
        let host = "127.0.0.1".to_owned();
        assert_eq!(refused, FetchError::NotPublic { host });
    }

    #[tokio::test]
    async fn a_host_that_sends_its_clients_to_a_private_address_is_not_followed() {
        let inner = host(file(3), false);
        let said = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:{inner}/\r\ncontent-length: 0\r\n\r\n"
        );
        let outer = host(said.into_bytes(), false);
        let url = format!("http://127.0.0.1:{outer}/");
        let refused = fetched(&local(), order(url)).await.unwrap_err();
        assert!(
            matches!(refused, FetchError::NotPublic { .. }),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn what_is_too_long_or_breaks_off_ends_with_its_reason() {
        let url = |port| order(format!("http://127.0.0.1:{port}/"));
        let long = fetched(&local(), url(host(file(1001), false))).await;
        assert_eq!(long, Err(FetchError::TooLong { max_bytes: 1000 }));
        let all = fetched(&local(), url(host(file(1000), false))).await;
        assert_eq!(all.unwrap().len(), 1000);
        let mut half = file(900);
        half.truncate(500);
        let broken = fetched(&local(), url(host(half, false))).await;
        assert!(
            matches!(broken, Err(FetchError::Broken { .. })),
            "{broken:?}"
        );
        let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
        let missing = fetched(&local(), url(host(missing, false))).await;
        let host = "127.0.0.1".to_owned();
        assert_eq!(missing, Err(FetchError::Refused { host, status: 404 }));
    }

    #[tokio::test]
    async fn a_host_that_says_nothing_more_is_given_up_when_its_time_is_over() {
        let mut half = file(900);
        half.truncate(500);
        let slow = Fetch {
            within: Duration::from_millis(300),
            ..order(format!("http://127.0.0.1:{}/", host(half, true)))
        };
        let broken = fetched(&local(), slow).await;
        assert!(
            matches!(broken, Err(FetchError::Broken { .. })),
            "{broken:?}"
        );
    }

    #[tokio::test]
    async fn what_is_no_address_of_the_web_is_not_fetched() {
        for url in ["", "x", "file:///etc/passwd", "ftp://a/b", "http://"] {
            let refused = fetched(&local(), order(url.to_owned())).await;
            assert_eq!(refused, Err(FetchError::Address), "{url}");
        }
    }
}
