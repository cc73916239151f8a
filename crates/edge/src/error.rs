//! How the proxy says no. The body is the shape that all parts of the server use.

use std::sync::Arc;

use alcove_api_types::{ErrorBody, ErrorSource};
use alcove_control::Error;
use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::Map;

use crate::gate::{Server, Target};

/// The name under which the log knows a request; an extension of the request.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// An answer that the proxy gives itself.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Error),
    /// The path is below the toolbox's, but names no sandbox.
    NoSuchPath,
    /// More requests are open in the sandbox than the proxy keeps.
    TooManyOpen,
    /// The sandbox ended between the lookup and the connection.
    NotRunning,
    /// No connection to the agent came about.
    Unreachable,
    /// The connection broke after the request may have arrived; it is not sent again.
    Lost,
    /// The same, and what was to answer is a program of the sandbox.
    PortLost,
    /// Nothing in the sandbox listens on the port.
    NobodyListens,
    /// The address is one of previews and means none.
    NoSuchPreview,
    /// A page of another origin asks, by what the browser keeps for this one.
    ForeignOrigin,
}

impl Failure {
    /// The connection broke under a request.
    pub(crate) fn lost(target: &Target) -> Self {
        match target.server {
            Server::Agent => Self::Lost,
            Server::Port(_) => Self::PortLost,
        }
    }

    /// Status, a stable word, and a sentence.
    pub(crate) fn outline(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Refused(error) => (status_of(error), error.code(), error.public_message()),
            Self::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "There is nothing at this path".to_owned(),
            ),
            Self::TooManyOpen => (
                StatusCode::SERVICE_UNAVAILABLE,
                "TOO_MANY_OPEN_REQUESTS",
                "Too many requests are open in this sandbox".to_owned(),
            ),
            // 400 and not 409: it is what the original's toolbox answered, and clients choose their
            // error class by it.
            Self::NotRunning => (
                StatusCode::BAD_REQUEST,
                "SANDBOX_NOT_STARTED",
                "Sandbox is not running".to_owned(),
            ),
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "AGENT_UNREACHABLE",
                "The sandbox cannot be reached".to_owned(),
            ),
            Self::Lost => (
                StatusCode::BAD_GATEWAY,
                "AGENT_CONNECTION_LOST",
                "The connection to the sandbox broke before it answered; the request may have \
                 been carried out"
                    .to_owned(),
            ),
            Self::PortLost => (
                StatusCode::BAD_GATEWAY,
                "PORT_CONNECTION_LOST",
                "The program on this port closed the connection before it answered".to_owned(),
            ),
            Self::NobodyListens => (
                StatusCode::BAD_GATEWAY,
                "PORT_NOT_LISTENING",
                "Nothing listens on this port of the sandbox".to_owned(),
            ),
            Self::NoSuchPreview => (
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "This is not the address of a preview".to_owned(),
            ),
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "FOREIGN_ORIGIN",
                "A page of another origin may not use this browser's access".to_owned(),
            ),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "tells people when; nothing is decided by it"
    )]
    pub(crate) fn into_response(self, request: &Parts) -> Response<Body> {
        let (status, code, message) = self.outline();
        let mut details = Map::new();
        if let Self::Refused(error) = &self {
            if let Some(state) = error.state() {
                details.insert("state".to_owned(), state.as_str().into());
            }
            if status.is_server_error() {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "a request into a sandbox failed"
                );
            }
        }
        let body = ErrorBody {
            status_code: status.as_u16(),
            error: status.canonical_reason().unwrap_or_default().to_owned(),
            message,
            code: code.to_owned(),
            source: ErrorSource::Proxy,
            timestamp: jiff::Timestamp::now().into(),
            path: request.uri.path().to_owned(),
            method: request.method.to_string(),
            request_id: request
                .extensions
                .get::<RequestId>()
                .map(|id| id.0.to_string()),
            details: (!details.is_empty()).then_some(details),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Conflict { .. } => StatusCode::CONFLICT,
        Error::Invalid { .. } | Error::QuotaExceeded { .. } => StatusCode::BAD_REQUEST,
        Error::Unprocessable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        Error::Forbidden { .. } => StatusCode::FORBIDDEN,
        Error::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable { .. } | Error::DiskFull { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
