//! Telemetry on its way outside, as OTLP over HTTP. See `outside.rs` for which hosts are asked.

use std::io;
use std::time::Duration;

use alcove_control::{OtlpOutcome, OtlpRequest, OtlpSender};
use alcove_telemetry::otlp::CONTENT_TYPE as PROTOBUF;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};

use crate::outside::Outside;

/// A whole try, the look-up of the name and the answer's body included.
const SEND_LIMIT: Duration = Duration::from_secs(15);
/// What is read of an answer's body. It says little, and only how much was not wanted.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// Answers after which the same may be taken later, as the protocol has it.
const LATER: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Sends telemetry by HTTP.
#[derive(Debug, Clone)]
pub struct Otlp {
    outside: Outside,
}

impl Otlp {
    /// `hosts` are those that the operator has named: they may be at private addresses.
    ///
    /// # Errors
    /// If the host's certificates cannot be read.
    pub fn new(hosts: &[String]) -> io::Result<Self> {
        Ok(Self {
            outside: Outside::new(hosts)?,
        })
    }

    async fn ask(&self, request: OtlpRequest) -> OtlpOutcome {
        let Some(request) = http_request(request) else {
            return OtlpOutcome::Refused {
                reason: "its URL or a header cannot be sent".to_owned(),
            };
        };
        let answer = match self.outside.ask(request).await {
            Ok(answer) => answer,
            Err(reason) => {
                return OtlpOutcome::Failed {
                    reason: reason.to_owned(),
                    retry_after: None,
                };
            }
        };
        let (status, retry_after) = (answer.status(), wait(answer.headers()));
        let reason = format!("the answer was {}", status.as_u16());
        if LATER.contains(&status) {
            return OtlpOutcome::Failed {
                reason,
                retry_after,
            };
        }
        if !status.is_success() {
            return OtlpOutcome::Refused { reason };
        }
        // One that was cut off says nothing more than that it was taken.
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect();
        let body = body.await.map(|body| body.to_bytes().to_vec());
        OtlpOutcome::Taken {
            answer: body.unwrap_or_default(),
        }
    }
}

#[async_trait]
impl OtlpSender for Otlp {
    fn is_known(&self, host: &str) -> bool {
        self.outside.is_known(host)
    }

    async fn send(&self, request: OtlpRequest) -> OtlpOutcome {
        let sent = tokio::time::timeout(SEND_LIMIT, self.ask(request)).await;
        sent.unwrap_or_else(|_| OtlpOutcome::Failed {
            reason: format!("it did not answer within {} s", SEND_LIMIT.as_secs()),
            retry_after: None,
        })
    }
}

fn http_request(request: OtlpRequest) -> Option<Request<Full<Bytes>>> {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers {
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name).ok()?, value);
    }
    let agent = HeaderValue::from_static(concat!("alcove/", env!("CARGO_PKG_VERSION")));
    headers.insert(USER_AGENT, agent);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    let mut built = Request::builder()
        .method(Method::POST)
        .uri(request.url)
        .body(Full::new(Bytes::from(request.body)))
        .ok()?;
    *built.headers_mut() = headers;
    Some(built)
}

/// How long the receiver asks to wait, where it says so in seconds.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
