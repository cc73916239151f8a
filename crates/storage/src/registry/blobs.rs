//! Reading and removing blobs.

use axum::body::Body;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
};
use http::{Method, Response, StatusCode};

use super::Registry;
use super::answer::{Failure, answer};
use super::name::{Digest, Repository};
use crate::ByteRange;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Registry {
    pub(super) async fn get_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        method: Method,
        range: Option<HeaderValue>,
    ) -> Result<Response<Body>, Failure> {
        let key = repository.blob(digest)?;
        let range = range
            .filter(|_| method == Method::GET)
            .map(|range| {
                let text = range.to_str().ok();
                text.and_then(ByteRange::parse)
                    .ok_or_else(Failure::bad_range)
            })
            .transpose()?;
        let content = self.store.get(&key, range).await?;
        let content = content.ok_or_else(Failure::no_blob)?;
        let (start, end) = content.range;
        let mut headers = vec![
            (CONTENT_LENGTH, (end - start).to_string()),
            (CONTENT_TYPE, "application/octet-stream".to_owned()),
            (ACCEPT_RANGES, "bytes".to_owned()),
            (ETAG, format!("\"{digest}\"")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        if method == Method::HEAD {
            // Who asks may be about to push a manifest that names it.
            if !self.store.refresh(&key).await? {
                return Err(Failure::no_blob());
            }
            return Ok(answer(StatusCode::OK, &headers, Body::empty()));
        }
        let status = if range.is_some() {
            let size = content.object.size;
            headers.push((CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1)));
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        };
        Ok(answer(status, &headers, Body::from_stream(content.body)))
    }

    /// For all repositories of the organization.
    pub(super) async fn delete_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Response<Body>, Failure> {
        if self.store.delete(&repository.blob(digest)?).await? {
            Ok(answer(StatusCode::ACCEPTED, &[], Body::empty()))
        } else {
            Err(Failure::no_blob())
        }
    }
}
