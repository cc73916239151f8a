//! The one place that turns failures into status codes and bodies.
//!
//! A handler's error does not know its request. It leaves an outline in the answer, and the outermost
//! layer writes the body from it, with the request's path, method and id.

use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;

use alcove_api_types::vercel::{VercelError, VercelErrorBody};
use alcove_api_types::{ErrorBody, ErrorSource};
use alcove_control::Error;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde_json::{Map, Value};

use crate::routes::vercel;

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    details: Map<String, Value>,
    retry_after: Option<Duration>,
    /// What the log gets and the caller does not.
    cause: Option<String>,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            details: Map::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// A request that cannot be read; all reasons are told.
    pub(crate) fn invalid(reasons: &[String]) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", reasons.join(", "))
    }

    /// A request that makes sense, but asks for what this server does not offer.
    pub(crate) fn unsupported(reason: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "UNSUPPORTED", reason)
    }

    pub(crate) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// What this server was not set up for.
    pub(crate) fn not_served(message: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SERVICE_UNAVAILABLE",
            message,
        )
    }

    pub(crate) fn invalid_json() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "INVALID_REQUEST_BODY",
            "Invalid JSON in request body",
        )
    }

    pub(crate) fn unreadable_body(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ("PAYLOAD_TOO_LARGE", "The request body is too large"),
            StatusCode::REQUEST_TIMEOUT => {
                ("REQUEST_TIMEOUT", "The request body did not come in time")
            }
            _ => ("INVALID_REQUEST_BODY", "The request body could not be read"),
        };
        Self::new(status, code, message)
    }

    pub(crate) fn no_credentials() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "Invalid credentials",
        )
    }

    /// The caller came with something else than the operation is for.
    pub(crate) fn wrong_credential() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            "Invalid authentication context",
        )
    }

    /// A page of another origin asks for what only this server's own may.
    pub(crate) fn foreign_page() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "FOREIGN_PAGE",
            "Pages of other origins cannot ask for this",
        )
    }

    /// Something that only a runner is told, or can tell.
    pub(crate) fn only_runners() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            "Only a runner can ask this, with its key",
        )
    }

    /// For a request that should have been an upgrade.
    pub(crate) fn no_link(protocol: &str) -> Self {
        Self::new(
            StatusCode::UPGRADE_REQUIRED,
            "UPGRADE_REQUIRED",
            format!("This is for an upgrade of the connection to {protocol}"),
        )
    }

    /// Something that only a proxy is told.
    pub(crate) fn only_proxies() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            "Only a proxy can ask this, with its key",
        )
    }

    pub(crate) fn no_such_route(method: &Method, path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            format!("Cannot {method} {path}"),
        )
    }

    pub(crate) fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "This path does not take this method",
        )
    }

    /// One request too many.
    pub(crate) fn too_many(wait: Duration) -> Self {
        let message = format!("Too many requests; try again in {} s", wait.as_secs());
        let refused = Self::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", message);
        Self {
            retry_after: Some(wait),
            ..refused
        }
    }

    pub(crate) fn panicked() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_SERVER_ERROR",
            "An unexpected error occurred.",
        )
    }

    /// What the caller reads.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The same failure by one word, if it has one of these now.
    pub(crate) fn narrowed(
        mut self,
        codes: &[&str],
        status: StatusCode,
        code: &'static str,
    ) -> Self {
        if codes.contains(&&*self.code) {
            self.status = status;
            self.code = code.into();
        }
        self
    }

    /// The answer that [`finish`] completes.
    fn outline(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Conflict { .. } => StatusCode::CONFLICT,
            // Over quota is 400, not 403 or 429: that is what clients take it by.
            Error::Invalid { .. } | Error::QuotaExceeded { .. } => StatusCode::BAD_REQUEST,
            Error::Unprocessable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Error::Forbidden { .. } => StatusCode::FORBIDDEN,
            Error::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Unavailable { .. } | Error::DiskFull { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut api = Self::new(status, error.code(), error.public_message());
        if let Some(sandbox) = error.sandbox() {
            api.details
                .insert("sandboxId".to_owned(), sandbox.as_str().into());
        }
        if let Some(state) = error.state() {
            api.details
                .insert("state".to_owned(), state.as_str().into());
        }
        if let Some(fault) = error.fault() {
            api.details
                .insert("errorCode".to_owned(), fault.as_str().into());
        }
        match &error {
            Error::Unavailable { retry_after, .. } => api.retry_after = *retry_after,
            Error::TooManyRequests { retry_after, .. } => api.retry_after = Some(*retry_after),
            _ => {}
        }
        if status.is_server_error() {
            api.cause = Some(chain(&error));
        }
        api
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.outline()
    }
}

/// In paths that end with a credential, it stands behind this.
const BEFORE_CREDENTIAL: &str = "/by-sandbox-auth-token/";

/// A path as it may be told and logged: without the credential that it may carry.
pub(crate) fn told_path(path: &str) -> Cow<'_, str> {
    match path.split_once(BEFORE_CREDENTIAL) {
        Some((before, _)) => format!("{before}{BEFORE_CREDENTIAL}***").into(),
        None => path.into(),
    }
}

/// What the body needs to know about the request.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub request_id: &'a str,
}

/// Writes the body of an outlined failure; any other answer passes as it is.
#[expect(
    clippy::disallowed_methods,
    reason = "tells people when; nothing is decided by it"
)]
pub(crate) fn finish(mut response: Response, subject: &Subject<'_>) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    if error.status.is_server_error() {
        tracing::error!(
            request.id = subject.request_id,
            http.method = %subject.method,
            http.path = subject.path,
            status = error.status.as_u16(),
            "request failed: {}",
            error.cause.as_deref().unwrap_or(&error.message),
        );
    }
    let body = if vercel::inner_path(subject.path).is_some() {
        serde_json::to_vec(&VercelErrorBody {
            error: VercelError {
                code: error.code.to_ascii_lowercase(),
                message: error.message,
            },
        })
    } else {
        serde_json::to_vec(&ErrorBody {
            status_code: error.status.as_u16(),
            error: error
                .status
                .canonical_reason()
                .unwrap_or_default()
                .to_owned(),
            message: error.message,
            code: error.code.into_owned(),
            source: ErrorSource::Api,
            timestamp: jiff::Timestamp::now().into(),
            path: subject.path.to_owned(),
            method: subject.method.to_string(),
            request_id: Some(subject.request_id.to_owned()),
            details: (!error.details.is_empty()).then_some(error.details),
        })
    };
    *response.body_mut() = Body::from(body.unwrap_or_default());
    let headers = response.headers_mut();
    // The router has written down the length of the empty body that the outline had.
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if error.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}
