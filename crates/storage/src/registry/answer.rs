//! Answers in the protocol's own form.

use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};

use crate::StorageError;

const VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("docker-distribution-api-version"),
    HeaderValue::from_static("registry/2.0"),
);

/// Why a request was not done.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Says where the upload stands, where that is the matter.
    range: Option<u64>,
}

macro_rules! failures {
    ($($name:ident: $status:ident $code:literal $message:literal;)*) => {
        impl Failure {
            $(pub fn $name() -> Self {
                Self::new(StatusCode::$status, $code, $message)
            })*
        }
    };
}

failures! {
    unauthorized: UNAUTHORIZED "UNAUTHORIZED" "authentication required";
    denied: FORBIDDEN "DENIED" "these credentials are not for this repository";
    no_place: NOT_FOUND "UNSUPPORTED" "there is no such place in a registry";
    unsupported: METHOD_NOT_ALLOWED "UNSUPPORTED" "this place does not take this method";
    bad_name: BAD_REQUEST "NAME_INVALID" "a repository is ORGANIZATION/NAME, in lower case";
    bad_tag: BAD_REQUEST "MANIFEST_INVALID" "this is no tag";
    bad_digest: BAD_REQUEST "DIGEST_INVALID" "the digest must be sha256:HEX and that of the content";
    no_blob: NOT_FOUND "BLOB_UNKNOWN" "there is no such blob";
    no_upload: NOT_FOUND "BLOB_UPLOAD_UNKNOWN" "there is no such upload";
    busy_upload: CONFLICT "BLOB_UPLOAD_INVALID" "another request is adding to this upload";
    no_manifest: NOT_FOUND "MANIFEST_UNKNOWN" "there is no such manifest";
    no_repository: NOT_FOUND "NAME_UNKNOWN" "there is no such repository";
    bad_range: BAD_REQUEST "SIZE_INVALID" "the range cannot be read";
    too_many_requests: TOO_MANY_REQUESTS "TOOMANYREQUESTS" "the registry is busy; come again";
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            range: None,
        }
    }

    pub fn bad_manifest(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why)
    }

    pub fn unknown_part(digest: impl std::fmt::Display) -> Self {
        let why = format!("the manifest names {digest}, which is not there");
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", why)
    }

    /// The next byte of the upload is another one.
    pub fn out_of_order(offset: u64) -> Self {
        Self {
            range: Some(offset),
            ..Self::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                "the range does not begin where the upload stands",
            )
        }
    }

    pub fn answer(self, realm: &str) -> Response<Body> {
        let body = serde_json::json!({
            "errors": [{ "code": self.code, "message": self.message }]
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = format!("Bearer realm=\"{realm}\",service=\"alcove\"");
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(offset) = self.range {
            headers.insert(http::header::RANGE, range_of(offset));
        }
        headers.insert(VERSION.0, VERSION.1);
        response
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let status_and_code = match &error {
            StorageError::Key(_) => return Self::bad_name(),
            StorageError::WrongHash => return Self::bad_digest(),
            StorageError::NoSuchUpload => return Self::no_upload(),
            StorageError::BadPart { .. } | StorageError::PartOrder => {
                (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID")
            }
            StorageError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            StorageError::OverQuota { .. } | StorageError::TooMany { .. } => {
                (StatusCode::FORBIDDEN, "DENIED")
            }
            StorageError::TooManyUploads { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS")
            }
            StorageError::BadRange { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
            StorageError::Body { .. } => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            StorageError::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "DENIED"),
            StorageError::Foreign { .. } => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the object store behind the registry failed"
                );
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
            }
            _ => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the registry failed"
                );
                return Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "UNKNOWN",
                    "an unexpected error occurred",
                );
            }
        };
        Self::new(status_and_code.0, status_and_code.1, error.to_string())
    }
}

/// How far an upload is, as its `Range` header says it.
pub(crate) fn range_of(offset: u64) -> HeaderValue {
    let text = format!("0-{}", offset.saturating_sub(1));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0-0"))
}

/// An answer with these headers.
pub(crate) fn answer(
    status: StatusCode,
    headers: &[(HeaderName, String)],
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(VERSION.0, VERSION.1);
    response
}

/// That this is a registry, and the credentials are good.
pub(crate) fn base(method: &Method) -> Result<Response<Body>, Failure> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Failure::unsupported());
    }
    let headers = [(CONTENT_TYPE, "application/json".to_owned())];
    Ok(answer(StatusCode::OK, &headers, Body::from("{}")))
}
