//! TLS for a listener, with certificates that can be replaced while it listens.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A client that says nothing for so long gets no connection.
const SILENT_FOR: Duration = Duration::from_secs(90);
/// A handshake takes a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a TLS connection begins with: the type of a handshake record. No HTTP does.
const HANDSHAKE_RECORD: u8 = 22;
/// What an authority agrees on that looks whether a name leads here (RFC 8737). Nothing else is said on such a connection.
const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate cannot be read")]
    Certificate {
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the file of the certificate holds none")]
    NoCertificate,
    #[error("the private key cannot be read")]
    Key {
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate and its key cannot be used")]
    Unusable {
        #[source]
        source: rustls::Error,
    },
}

/// The certificate that a server shows now, if there is one yet. Clones are the same one.
#[derive(Clone, Default)]
pub struct Certificate {
    shown: Arc<RwLock<Shown>>,
}

#[derive(Default)]
struct Shown {
    current: Option<Arc<CertifiedKey>>,
    /// By name, to authorities that look whether the name leads here, while they do.
    challenges: HashMap<String, Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Certificate {
    /// Takes a chain of certificates and the key of the first, both as PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let certificate = Self::default();
        certificate.replace(chain, key)?;
        Ok(certificate)
    }

    /// Shows another one from the next connection on.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let new = Arc::new(read(chain, key)?);
        self.change(|shown| shown.current = Some(new));
        Ok(())
    }

    /// Shows this one to who asks for the name by the protocol of the challenge TLS-ALPN-01, until
    /// [`Self::end_challenge`].
    pub fn answer_challenge(&self, name: &str, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let (chain, key) = parts(chain, key)?;
        // Not compared with its key: what reads certificates for that refuses what an answer has to hold.
        let key = aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|source| TlsError::Unusable { source })?;
        let answer = Arc::new(CertifiedKey::new(chain, key));
        self.change(|shown| shown.challenges.insert(name.to_owned(), answer));
        Ok(())
    }

    pub fn end_challenge(&self, name: &str) {
        self.change(|shown| shown.challenges.remove(name));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Shown) -> T) {
        change(&mut self.shown.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        // The authority offers this one alone, and no client has it among others.
        let mut offered = hello.alpn().into_iter().flatten();
        if offered.next() == Some(CHALLENGE_PROTOCOL) && offered.next().is_none() {
            return shown.challenges.get(hello.server_name()?).cloned();
        }
        shown.current.clone()
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = parts(chain, key)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|source| TlsError::Unusable { source })
}

fn parts(
    chain: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Certificate { source })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Key { source })?;
    Ok((chain, key))
}

/// Whether clients may do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Each connection may be with TLS or without: the first byte tells.
    Offered,
    Required,
    /// Required, and who asks without is told where to ask with it.
    Redirected,
}

/// How a listener speaks TLS.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    mode: TlsMode,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A connection whose first bytes were understood.
pub(crate) enum Begun {
    Plain(TcpStream),
    /// Without TLS, where that is not for more than being told so.
    Misled(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Tls {
    pub fn new(certificate: Certificate, mode: TlsMode) -> Result<Self, TlsError> {
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|source| TlsError::Unusable { source })?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![
            b"h2".to_vec(),
            b"http/1.1".to_vec(),
            CHALLENGE_PROTOCOL.to_vec(),
        ];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            mode,
        })
    }

    pub(crate) async fn begin(&self, stream: TcpStream) -> io::Result<Begun> {
        if self.mode != TlsMode::Required {
            let mut first = [0];
            let silent = |_| io::Error::from(io::ErrorKind::TimedOut);
            tokio::time::timeout(SILENT_FOR, stream.peek(&mut first))
                .await
                .map_err(silent)??;
            if first[0] != HANDSHAKE_RECORD {
                return Ok(match self.mode {
                    TlsMode::Redirected => Begun::Misled(stream),
                    TlsMode::Offered | TlsMode::Required => Begun::Plain(stream),
                });
            }
        }
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await;
        let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if stream.get_ref().1.alpn_protocol() == Some(CHALLENGE_PROTOCOL) {
            // The handshake was all that the authority wanted to see.
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "an authority looked at the answer to its challenge",
            ));
        }
        Ok(Begun::Tls(Box::new(stream)))
    }
}
