//! Who comes in, to what, and with which wishes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_TYPE, EXPIRES, HeaderValue, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE,
};
use http::{Request, Response};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{Body, S3Result, s3_error};

use super::{BUCKET, Owner};

/// Longest credential that is looked at.
const CREDENTIAL_MAX_BYTES: usize = 512;

/// Tells which credentials are good.
pub trait AccessKeys: Send + Sync + fmt::Debug + 'static {
    /// The secret that goes with an access key. It may be one for any text: what counts is the session token.
    fn secret(&self, access_key: &str) -> String;

    /// Whose objects a session token opens for an access key; None if it is not, or no longer, good.
    fn owner(&self, access_key: &str, session_token: &str) -> Option<String>;
}

pub(super) struct Secrets(pub Arc<dyn AccessKeys>);

#[async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key.len() > CREDENTIAL_MAX_BYTES {
            return Err(s3_error!(InvalidAccessKeyId));
        }
        Ok(SecretKey::from(self.0.secret(access_key)))
    }
}

pub(super) struct Gate(pub Arc<dyn AccessKeys>);

/// What is offered. All else is told to be not implemented.
const OFFERED: &[&str] = &[
    "PutObject",
    "GetObject",
    "HeadObject",
    "ListObjectsV2",
    "DeleteObject",
    "DeleteObjects",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "HeadBucket",
    "GetBucketLocation",
];

#[async_trait]
impl S3Access for Gate {
    /// Runs for every request, after its signature was found to be good.
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let credentials = cx.credentials().ok_or_else(|| s3_error!(AccessDenied))?;
        let token = session_token(cx)
            .ok_or_else(|| s3_error!(AccessDenied, "a session token must be sent"))?;
        let owner = self
            .0
            .owner(&credentials.access_key, &token)
            .ok_or_else(|| {
                s3_error!(
                    AccessDenied,
                    "the session token is not good, or not any more"
                )
            })?;
        match cx.s3_path() {
            S3Path::Root => return Err(s3_error!(AccessDenied)),
            S3Path::Bucket { bucket } => check_bucket(bucket)?,
            S3Path::Object { bucket, key } => {
                check_bucket(bucket)?;
                check_owner(&owner, key)?;
            }
        }
        if !OFFERED.contains(&cx.s3_op().name()) {
            return Err(s3_error!(
                NotImplemented,
                "{} is not offered here",
                cx.s3_op().name()
            ));
        }
        cx.extensions_mut().insert(Owner(owner));
        Ok(())
    }
}

fn check_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET.as_str() {
        Ok(())
    } else {
        Err(s3_error!(AccessDenied))
    }
}

/// A key, or the beginning of keys, must lie below the owner's name.
pub(super) fn check_owner(owner: &str, key: &str) -> S3Result<()> {
    let is_own = key
        .strip_prefix(owner)
        .is_some_and(|rest| rest.starts_with('/'));
    if is_own {
        Ok(())
    } else {
        Err(s3_error!(AccessDenied))
    }
}

/// From the header, or from a signed URL.
fn session_token(cx: &S3AccessContext<'_>) -> Option<String> {
    if let Some(token) = cx.headers().get("x-amz-security-token") {
        return token.to_str().ok().map(str::to_owned);
    }
    cx.uri().query()?.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .ok()?;
        name.eq_ignore_ascii_case("x-amz-security-token")
            .then(|| value.into_owned())
    })
}

/// Wishes of S3 that mean something here.
const HEADERS: &[&str] = &[
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-user-agent",
    "x-amz-trailer",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
];

/// Wishes in the query that are not offered, besides those for headers of the answer.
const QUERIES: &[&str] = &["versionId", "AWSAccessKeyId", "Signature", "fetch-owner"];

/// What a request asks for that this face does not do, looked at before anything is read of the body.
pub(super) fn not_offered(request: &Request<Body>) -> Option<String> {
    let headers = request.headers();
    let starts = |name, with: &[u8]| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        value.is_some_and(|value| {
            value.len() >= with.len() && value[..with.len()].eq_ignore_ascii_case(with)
        })
    };
    // Its body would be held in memory before anybody has looked at the signature.
    if starts(CONTENT_TYPE, b"multipart/form-data") {
        return Some("an upload by a form".to_owned());
    }
    if starts(AUTHORIZATION, b"AWS ") {
        return Some("a signature of version 2".to_owned());
    }
    for (name, value) in headers {
        let name = name.as_str();
        let is_known = !name.starts_with("x-amz-")
            || HEADERS.contains(&name)
            || name.starts_with("x-amz-meta-")
            || name.starts_with("x-amz-checksum-")
            || (name == "x-amz-storage-class" && value == "STANDARD");
        if !is_known {
            return Some(name.to_owned());
        }
    }
    for name in [
        CACHE_CONTROL,
        CONTENT_DISPOSITION,
        CONTENT_LANGUAGE,
        EXPIRES,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
    ] {
        // Some clients send this one with every request, about its own answer.
        let is_harmless = name == CACHE_CONTROL && starts(CACHE_CONTROL, b"no-cache");
        if headers.contains_key(&name) && !is_harmless {
            return Some(name.to_string());
        }
    }
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !matches!(encoding, b"aws-chunked" | b"identity" | b"")) {
        return Some("a content encoding".to_owned());
    }
    let query = request.uri().query().unwrap_or_default().split('&');
    query
        .filter_map(|pair| pair.split('=').next())
        .find(|name| name.starts_with("response-") || QUERIES.contains(name))
        .map(str::to_owned)
}

/// An error as S3 has it.
pub(super) fn refusal(status: u16, code: &str, message: &str) -> Response<Body> {
    // What goes in is ours, but for names of headers and of the query, which are cut to what XML takes.
    let message: String = message
        .chars()
        .filter(|character| !matches!(character, '<' | '>' | '&') && !character.is_control())
        .collect();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}
