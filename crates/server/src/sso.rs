//! Identity providers that owners of organizations have named, by HTTP. See `outside.rs` for which hosts are asked.

use std::io;
use std::time::Duration;

use alcove_control::{CodeExchange, DocumentSource, SsoWeb};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::outside::Outside;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// One document or one code, the look-up of the name and the answer's body included.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Asks providers by HTTP.
#[derive(Debug, Clone)]
pub struct Sso {
    outside: Outside,
}

impl Sso {
    /// `hosts` are those that the operator has named: they may be at private addresses, and without TLS.
    ///
    /// # Errors
    /// If the host's certificates cannot be read.
    pub fn new(hosts: &[String]) -> io::Result<Self> {
        Ok(Self {
            outside: Outside::new(hosts)?,
        })
    }

    async fn ask(&self, request: Request<Full<Bytes>>, max_bytes: u64) -> Result<Vec<u8>, Cause> {
        let told = tokio::time::timeout(ASK_LIMIT, async {
            let answer = self.outside.ask(request).await?;
            let status = answer.status();
            if status != StatusCode::OK {
                return Err(format!("the answer was {}", status.as_u16()).into());
            }
            let limit = usize::try_from(max_bytes).unwrap_or(usize::MAX);
            let body = Limited::new(answer.into_body(), limit).collect().await;
            let body = body.map_err(|_| "the answer is too long, or broke off")?;
            Ok(body.to_bytes().to_vec())
        });
        told.await.unwrap_or_else(|_| {
            Err(format!("it did not answer within {} s", ASK_LIMIT.as_secs()).into())
        })
    }

    /// A host without TLS is one that the operator has named, wherever the provider says that it is.
    fn uri(&self, url: &str) -> Result<Uri, Cause> {
        let uri: Uri = url.parse().map_err(|_| "it is no address of the web")?;
        let is_known = uri.host().is_some_and(|host| self.outside.is_known(host));
        if uri.scheme_str() == Some("https") || is_known {
            Ok(uri)
        } else {
            Err("it is without TLS".into())
        }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[async_trait]
impl DocumentSource for Sso {
    async fn fetch(&self, url: &str, max_bytes: u64) -> Result<Vec<u8>, Cause> {
        let request = Request::builder()
            .uri(self.uri(url)?)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("alcove/", env!("CARGO_PKG_VERSION")))
            .body(Full::default())?;
        self.ask(request, max_bytes).await
    }
}

#[async_trait]
impl SsoWeb for Sso {
    fn is_known(&self, host: &str) -> bool {
        self.outside.is_known(host)
    }

    async fn exchange(&self, code: CodeExchange, max_bytes: u64) -> Result<Vec<u8>, Cause> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri(&code.url)?)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("alcove/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some((name, secret)) = &code.basic {
            // Encoded before they are put together (RFC 6749, 2.3.1).
            let pair = STANDARD.encode(format!("{}:{}", encoded(name), encoded(secret)));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let pairs = code.form.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let request = request.body(Full::new(Bytes::from(pairs.join("&"))))?;
        self.ask(request, max_bytes).await
    }
}
