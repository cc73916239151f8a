//! Blobs that come in: whole, in pieces, or from another repository.

use axum::body::Body;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use http::{Request, Response, StatusCode};

use super::answer::{Failure, answer, range_of};
use super::blobs::CONTENT_DIGEST;
use super::name::{Digest, Repository};
use super::{Registry, Taken};
use crate::{Part, PutOptions, UploadId};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Registry {
    pub(super) async fn begin_upload(
        &self,
        repository: &Repository,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        if let Some(digest) = &query.digest {
            return self.put_whole(repository, digest, request).await;
        }
        if let Some(digest) = &query.mount
            && is_open(repository, query.from.as_deref())
            && self.store.refresh(&repository.blob(digest)?).await?
        {
            return Ok(created(repository, digest));
        }
        let key = repository.upload()?;
        let id = self.store.upload_begin(&key, PutOptions::default()).await?;
        Ok(stands(StatusCode::ACCEPTED, repository, &id, 0))
    }

    async fn put_whole(
        &self,
        repository: &Repository,
        digest: &Digest,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let options = PutOptions {
            sha256: Some(digest.bytes()),
            ..PutOptions::default()
        };
        let key = repository.blob(digest)?;
        self.store.put(&key, body_of(request), options).await?;
        Ok(created(repository, digest))
    }

    pub(super) async fn upload_status(
        &self,
        repository: &Repository,
        id: &UploadId,
    ) -> Result<Response<Body>, Failure> {
        let parts = self.store.upload_parts(&repository.upload()?, id).await?;
        Ok(stands(StatusCode::NO_CONTENT, repository, id, sum(&parts)))
    }

    fn taken(&self, id: &UploadId) -> Result<Taken, Failure> {
        self.take(id).ok_or_else(Failure::busy_upload)
    }

    pub(super) async fn add(
        &self,
        repository: &Repository,
        id: &UploadId,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let _taken = self.taken(id)?;
        let parts = self.append(repository, id, request).await?;
        Ok(stands(StatusCode::ACCEPTED, repository, id, sum(&parts)))
    }

    /// Adds the request's body behind what is there. Gives back all parts.
    async fn append(
        &self,
        repository: &Repository,
        id: &UploadId,
        request: Request<Body>,
    ) -> Result<Vec<Part>, Failure> {
        let key = repository.upload()?;
        let mut parts = self.store.upload_parts(&key, id).await?;
        let offset = sum(&parts);
        if let Some(range) = request.headers().get(CONTENT_RANGE) {
            let start = range.to_str().ok().and_then(start_of);
            if start.ok_or_else(Failure::bad_range)? != offset {
                return Err(Failure::out_of_order(offset));
            }
        }
        let number = parts.last().map_or(1, |last| last.number + 1);
        let options = PutOptions::default();
        let part = self
            .store
            .upload_part(&key, id, number, body_of(request), options)
            .await?;
        parts.push(part);
        Ok(parts)
    }

    pub(super) async fn finish(
        &self,
        repository: &Repository,
        id: &UploadId,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let digest = query.digest.ok_or_else(Failure::bad_digest)?;
        let _taken = self.taken(id)?;
        let key = repository.upload()?;
        let is_empty = request
            .headers()
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length == "0");
        let parts = if is_empty {
            self.store.upload_parts(&key, id).await?
        } else {
            self.append(repository, id, request).await?
        };
        // A last piece without content is none.
        let parts: Vec<_> = parts
            .iter()
            .filter(|part| part.object.size > 0)
            .map(|part| (part.number, part.object.sha256))
            .collect();
        let options = PutOptions {
            sha256: Some(digest.bytes()),
            ..PutOptions::default()
        };
        let into = repository.blob(&digest)?;
        self.store
            .upload_finish(&key, id, &into, &parts, options)
            .await?;
        Ok(created(repository, &digest))
    }

    pub(super) async fn abort(
        &self,
        repository: &Repository,
        id: &UploadId,
    ) -> Result<Response<Body>, Failure> {
        let _taken = self.taken(id)?;
        self.store.upload_abort(&repository.upload()?, id).await?;
        Ok(answer(StatusCode::NO_CONTENT, &[], Body::empty()))
    }
}

/// Blobs are kept once an organization, so a mount needs no copy, but a source that the visitor may read.
fn is_open(repository: &Repository, from: Option<&str>) -> bool {
    from.is_none_or(|from| {
        Repository::parse(from).is_ok_and(|from| from.owner() == repository.owner())
    })
}

#[derive(Debug, Default)]
struct Query {
    digest: Option<Digest>,
    mount: Option<Digest>,
    from: Option<String>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut query = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            match name {
                "digest" => query.digest = Some(Digest::parse(&value)?),
                "mount" => query.mount = Some(Digest::parse(&value)?),
                "from" => query.from = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(query)
    }
}

fn body_of(request: Request<Body>) -> crate::Body {
    request
        .into_body()
        .into_data_stream()
        .map_err(std::io::Error::other)
        .boxed()
}

fn sum(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.object.size).sum()
}

/// The first byte of `START-END`.
fn start_of(range: &str) -> Option<u64> {
    let range = range.strip_prefix("bytes ").unwrap_or(range);
    range.split_once('-')?.0.trim().parse().ok()
}

fn created(repository: &Repository, digest: &Digest) -> Response<Body> {
    let headers = [
        (LOCATION, format!("/v2/{repository}/blobs/{digest}")),
        (CONTENT_DIGEST, digest.to_string()),
        (CONTENT_LENGTH, "0".to_owned()),
    ];
    answer(StatusCode::CREATED, &headers, Body::empty())
}

/// Where an upload is, and how far.
fn stands(
    status: StatusCode,
    repository: &Repository,
    id: &UploadId,
    offset: u64,
) -> Response<Body> {
    let id = id.as_str();
    let headers = [
        (LOCATION, format!("/v2/{repository}/blobs/uploads/{id}")),
        (UPLOAD_ID, id.to_owned()),
    ];
    let mut response = answer(status, &headers, Body::empty());
    response.headers_mut().insert(RANGE, range_of(offset));
    response
}
