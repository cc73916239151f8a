//! What the operator says of TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alcove_server::{HttpChallenges, TlsMode};

use super::{AcmeArguments, Source};

#[derive(Debug, clap::Args)]
pub struct TlsArguments {
    /// A certificate for both HTTP listeners, with what it is signed by, as PEM. Without one, they show what `alcove tls`
    /// made, if it made one.
    #[arg(long, env = "ALCOVE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, as PEM.
    #[arg(long, env = "ALCOVE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Refuses connections without TLS, on both listeners. Not with --check, which asks without.
    #[arg(long, env = "ALCOVE_TLS_REQUIRED", conflicts_with = "check")]
    tls_required: bool,
    /// Like --tls-required, and sends browsers that come to the API without TLS to the same address with it. Requests
    /// that change something, or bring a key, are refused.
    #[arg(long, env = "ALCOVE_TLS_REDIRECT", conflicts_with = "check")]
    tls_redirect: bool,
    /// Address and port of one more listener, without TLS, that only sends browsers to the API's address with it; mostly
    /// 0.0.0.0:80.
    #[arg(long, env = "ALCOVE_REDIRECT_LISTEN", value_name = "ADDR:PORT")]
    pub redirect_listen: Option<SocketAddr>,
    #[command(flatten)]
    acme: AcmeArguments,
}

impl TlsArguments {
    /// Whether nothing is served without TLS.
    pub fn is_tls_only(&self) -> bool {
        self.tls_required || self.tls_redirect
    }

    pub fn mode(&self) -> TlsMode {
        if self.is_tls_only() {
            TlsMode::Required
        } else {
            TlsMode::Offered
        }
    }

    /// The API's, where browsers come.
    pub fn api_mode(&self) -> TlsMode {
        if self.tls_redirect {
            TlsMode::Redirected
        } else {
            self.mode()
        }
    }

    /// How clients reach this server, where it has a public name and nothing else is said.
    pub fn first_name(&self) -> Option<&str> {
        self.acme.first_name()
    }

    /// Where the certificate comes from, if there is one. The local authority issues it for `names` as well.
    pub fn source(
        &self,
        data_dir: &Path,
        names: Vec<String>,
        challenges: &HttpChallenges,
    ) -> anyhow::Result<Option<Source>> {
        let given = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let asked = self.redirect_listen.map(|_| challenges.clone());
        let acme = self.acme.open(data_dir, asked)?;
        let source = Source::find(acme, given, data_dir, names)?;
        let needs = self.is_tls_only() || self.redirect_listen.is_some();
        anyhow::ensure!(
            source.is_some() || !needs,
            "--tls-required, --tls-redirect and --redirect-listen need a certificate: give one with --tls-cert and --tls-key, \
             let `alcove tls make` make one, or get one for a public name with --acme-name"
        );
        Ok(source)
    }
}
