//! How a call fails.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

/// A server's refusal, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path} answered {status}: {message}")]
pub struct ApiError {
    pub method: Method,
    pub path: String,
    pub status: StatusCode,
    /// For people; the raw body where it was no error object.
    pub message: String,
    /// For programs; empty where there was none.
    pub code: String,
    /// Which part refused, such as `DAYTONA_API`.
    pub source_name: String,
    /// More about the case, such as `state` or `sandboxId`.
    pub details: serde_json::Map<String, Value>,
}

impl ApiError {
    pub(crate) fn read(method: Method, path: String, status: StatusCode, body: &Bytes) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            message: String,
            code: String,
            source: String,
            details: Option<serde_json::Map<String, Value>>,
        }
        let (message, body) = match serde_json::from_slice::<Body>(body) {
            Ok(body) => (body.message.clone(), body),
            Err(_) => (String::from_utf8_lossy(body).into_owned(), Body::default()),
        };
        Self {
            method,
            path,
            status,
            message,
            code: body.code,
            source_name: body.source,
            details: body.details.unwrap_or_default(),
        }
    }
}

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("cannot use {url:?} as the address of a server")]
    BadUrl {
        url: String,
        #[source]
        source: Option<http::uri::InvalidUri>,
    },
    #[error("cannot read what this host trusts")]
    Tls {
        #[source]
        source: std::io::Error,
    },
    #[error("the key cannot be sent in a header")]
    BadKey,
    #[error("cannot send {method} {path}")]
    Send {
        method: Method,
        path: String,
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    #[error("cannot read the answer to {method} {path}")]
    Receive {
        method: Method,
        path: String,
        #[source]
        source: hyper::Error,
    },
    #[error("cannot use the WebSocket {path}")]
    Socket {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{method} {path} took longer than {limit:?}")]
    Timeout {
        method: Method,
        path: String,
        limit: std::time::Duration,
    },
    #[error(transparent)]
    Refused(#[from] Box<ApiError>),
    #[error("cannot understand the answer to {method} {path}")]
    Decode {
        method: Method,
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot write the body of {method} {path}")]
    Encode {
        method: Method,
        path: String,
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    pub(crate) fn receive(method: &Method, path: &str, source: hyper::Error) -> Self {
        Self::Receive {
            method: method.clone(),
            path: path.to_owned(),
            source,
        }
    }

    /// The server's refusal, if there was one.
    pub fn refusal(&self) -> Option<&ApiError> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The status of the refusal, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        self.refusal().map(|refusal| refusal.status)
    }
}
