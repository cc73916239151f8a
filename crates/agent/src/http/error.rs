//! Errors on their way out.
//!
//! A handler returns an [`ApiError`]. Path and method are not its business: [`finish`] puts the object
//! together for every answer of 400 and above, those of the framework included.

use std::sync::Arc;

use alcove_agent_api::{DAEMON_SOURCE, ErrorBody, ErrorCode};
use axum::body::to_bytes;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Longest text of the framework that becomes a message.
const MAX_FOREIGN_TEXT: usize = 4 << 10;

/// An error as a handler sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: ErrorCode,
    /// Complete, with the prefix of its code.
    pub message: String,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: format!("{}{message}", code.message_prefix()),
        }
    }

    pub fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The object that the client reads.
    #[expect(
        clippy::disallowed_methods,
        reason = "tells people when; nothing is decided by it"
    )]
    pub fn body(&self, method: &Method, path: &str) -> ErrorBody {
        ErrorBody {
            status_code: self.code.status(),
            error: self
                .status()
                .canonical_reason()
                .unwrap_or("Error")
                .to_owned(),
            message: self.message.clone(),
            code: self.code,
            source: DAEMON_SOURCE.to_owned(),
            timestamp: jiff::Timestamp::now().to_string(),
            path: path.to_owned(),
            method: method.to_string(),
        }
    }

    /// The whole answer, for those who do not come through [`finish`].
    pub fn to_response(&self, method: &Method, path: &str) -> Response {
        let body = serde_json::to_vec(&self.body(method, path)).unwrap_or_default();
        let json = HeaderValue::from_static("application/json");
        (self.status(), [(CONTENT_TYPE, json)], body).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Marks an answer that is not the agent's own and must stay as it is.
#[derive(Debug, Clone, Copy)]
pub struct PassedOn;

pub async fn unknown_route() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "no such route")
}

/// Gives every error the standard body.
pub async fn finish(response: Response, method: &Method, path: &str) -> Response {
    let status = response.status();
    if status.as_u16() < 400 || response.extensions().get::<PassedOn>().is_some() {
        return response;
    }
    if let Some(error) = response.extensions().get::<Arc<ApiError>>() {
        let mut answer = error.to_response(method, path);
        keep_headers(response.headers(), &mut answer);
        return answer;
    }
    if response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json")
    {
        return response;
    }
    let headers = response.headers().clone();
    let text = to_bytes(response.into_body(), MAX_FOREIGN_TEXT).await;
    let text = text.unwrap_or_default();
    let error = ApiError::new(code_of(status), String::from_utf8_lossy(&text));
    let mut answer = error.to_response(method, path);
    // The framework's own status stays, with what it says about the connection.
    *answer.status_mut() = status;
    keep_headers(&headers, &mut answer);
    answer
}

/// What was said about something else than the replaced body.
fn keep_headers(headers: &HeaderMap, answer: &mut Response) {
    for (name, value) in headers {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH {
            answer.headers_mut().insert(name, value.clone());
        }
    }
}

fn code_of(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        401 => ErrorCode::Unauthorized,
        403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        405 => ErrorCode::MethodNotAllowed,
        408 => ErrorCode::RequestTimeout,
        409 => ErrorCode::Conflict,
        410 => ErrorCode::Gone,
        416 => ErrorCode::RangeNotSatisfiable,
        422 => ErrorCode::UnprocessableEntity,
        503 => ErrorCode::ServiceUnavailable,
        400..500 => ErrorCode::BadRequest,
        _ => ErrorCode::InternalServerError,
    }
}

/// For a handler that panicked.
pub fn panicked() -> ApiError {
    ApiError::new(ErrorCode::InternalServerError, "the request failed")
}
