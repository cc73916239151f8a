//! Manifests and the tags that name them.

use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LINK, LOCATION};
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;

use super::Registry;
use super::answer::{Failure, answer};
use super::blobs::CONTENT_DIGEST;
use super::name::{Digest, Reference, Repository, Tag};
use crate::{Bucket, List, PutOptions, body_of};

/// Largest manifest: as other registries have it.
pub(super) const MANIFEST_MAX_BYTES: usize = 4 << 20;
/// How long one may take to come.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Blobs and manifests that one manifest may name.
const NAMED_MAX: usize = 1000;
/// Tags on a page, where the client does not say, and at most.
const TAGS_PAGE: usize = 1000;
/// Tags that are looked through when the manifest that they may name is removed.
const TAGS_MAX: usize = 100_000;

const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEX_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// What of a manifest matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Named>,
    layers: Option<Vec<Named>>,
    manifests: Option<Vec<Named>>,
}

#[derive(Debug, Deserialize)]
struct Named {
    digest: String,
    /// Where it can be had instead: then it need not be here.
    #[serde(default)]
    urls: Vec<String>,
}

impl Registry {
    pub(super) async fn get_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        method: &Method,
    ) -> Result<Response<Body>, Failure> {
        let digest = self.resolve(repository, reference).await?;
        let content = self.store.get(&repository.manifest(&digest)?, None).await?;
        let content = content.ok_or_else(Failure::no_manifest)?;
        let media_type = content.object.content_type.unwrap_or_default();
        let headers = [
            (CONTENT_LENGTH, content.object.size.to_string()),
            (CONTENT_TYPE, media_type),
            (ETAG, format!("\"{digest}\"")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        let body = if *method == Method::HEAD {
            Body::empty()
        } else {
            Body::from_stream(content.body)
        };
        Ok(answer(StatusCode::OK, &headers, body))
    }

    async fn resolve(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Digest, Failure> {
        match reference {
            Reference::Digest(digest) => Ok(digest.clone()),
            Reference::Tag(tag) => self
                .tagged(repository, tag)
                .await?
                .ok_or_else(Failure::no_manifest),
        }
    }

    async fn tagged(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, Failure> {
        let Some(content) = self.store.get(&repository.tag(tag)?, None).await? else {
            return Ok(None);
        };
        let text = axum::body::to_bytes(Body::from_stream(content.body), MANIFEST_MAX_BYTES)
            .await
            .map_err(|_| Failure::no_manifest())?;
        Digest::parse(&String::from_utf8_lossy(&text)).map(Some)
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let said = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let read = axum::body::to_bytes(request.into_body(), MANIFEST_MAX_BYTES);
        let bytes = tokio::time::timeout(MANIFEST_TIMEOUT, read)
            .await
            .map_err(|_| Failure::bad_manifest("the manifest did not come in time"))?
            .map_err(|_| {
                Failure::bad_manifest("the manifest is longer than 4 MiB, or broke off")
            })?;
        let media_type = self.check(repository, &bytes, said).await?;
        let digest = Digest::of(sha256(&bytes));
        if let Reference::Digest(wanted) = reference
            && *wanted != digest
        {
            return Err(Failure::bad_digest());
        }
        let options = PutOptions {
            content_type: Some(media_type),
            ..PutOptions::default()
        };
        let key = repository.manifest(&digest)?;
        self.store.put(&key, body_of(bytes), options).await?;
        // The manifest first: a tag that is there leads somewhere.
        if let Reference::Tag(tag) = reference {
            let (key, options) = (repository.tag(tag)?, PutOptions::default());
            let body = body_of(digest.to_string());
            self.store.put(&key, body, options).await?;
        }
        let headers = [
            (LOCATION, format!("/v2/{repository}/manifests/{digest}")),
            (CONTENT_DIGEST, digest.to_string()),
            (CONTENT_LENGTH, "0".to_owned()),
        ];
        Ok(answer(StatusCode::CREATED, &headers, Body::empty()))
    }

    /// What kind of manifest it is, if all that it names is here.
    async fn check(
        &self,
        repository: &Repository,
        bytes: &[u8],
        said: Option<String>,
    ) -> Result<String, Failure> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|error| Failure::bad_manifest(format!("it cannot be read: {error}")))?;
        let media_type = said
            .or_else(|| manifest.media_type.clone())
            .ok_or_else(|| Failure::bad_manifest("it has no type"))?;
        let is_other = |inner: &String| *inner != media_type;
        if manifest.schema_version != 2 || manifest.media_type.as_ref().is_some_and(is_other) {
            return Err(Failure::bad_manifest(
                "its type is not the one it was sent as",
            ));
        }
        let is_index = INDEX_TYPES.contains(&media_type.as_str());
        if !is_index && !MANIFEST_TYPES.contains(&media_type.as_str()) {
            return Err(Failure::bad_manifest("this type is not offered"));
        }
        let (named, others) = if is_index {
            let named = manifest.manifests.unwrap_or_default();
            (
                named,
                manifest.config.is_some() || manifest.layers.is_some(),
            )
        } else {
            let mut named = manifest.layers.unwrap_or_default();
            named.extend(manifest.config);
            (named, manifest.manifests.is_some())
        };
        if others {
            return Err(Failure::bad_manifest(
                "it is a manifest and an index in one",
            ));
        }
        if named.len() > NAMED_MAX {
            return Err(Failure::bad_manifest("it names too many blobs"));
        }
        for part in named.iter().filter(|part| part.urls.is_empty()) {
            let digest = Digest::parse(&part.digest)?;
            let key = if is_index {
                repository.manifest(&digest)?
            } else {
                repository.blob(&digest)?
            };
            // Young again: who takes old blobs away leaves it alone until the manifest is there.
            if !self.store.refresh(&key).await? {
                return Err(Failure::unknown_part(digest));
            }
        }
        Ok(media_type)
    }

    /// By tag, only the tag goes; by digest, the manifest and all tags that name it.
    pub(super) async fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Response<Body>, Failure> {
        let is_gone = match reference {
            Reference::Tag(tag) => self.store.delete(&repository.tag(tag)?).await?,
            Reference::Digest(digest) => {
                // Tags first, so that none is left that leads nowhere.
                for tag in self.tags(repository, None, TAGS_MAX).await?.0 {
                    let Reference::Tag(tag) = Reference::parse(&tag)? else {
                        continue;
                    };
                    if self.tagged(repository, &tag).await?.as_ref() == Some(digest) {
                        self.store.delete(&repository.tag(&tag)?).await?;
                    }
                }
                self.store.delete(&repository.manifest(digest)?).await?
            }
        };
        if is_gone {
            Ok(answer(StatusCode::ACCEPTED, &[], Body::empty()))
        } else {
            Err(Failure::no_manifest())
        }
    }

    /// Tags behind `last`, at most so many, and whether there are more.
    async fn tags(
        &self,
        repository: &Repository,
        last: Option<&str>,
        max: usize,
    ) -> Result<(Vec<String>, bool), Failure> {
        let prefix = repository.tags();
        let page = List {
            after: last.map(|last| format!("{prefix}{last}")),
            prefix: prefix.clone(),
            max,
            by_folder: false,
        };
        let listing = self.store.list(Bucket::REGISTRY, page).await?;
        let tags = listing
            .entries
            .iter()
            .filter_map(|entry| entry.path.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect();
        Ok((tags, listing.next.is_some()))
    }

    pub(super) async fn list_tags(
        &self,
        repository: &Repository,
        query: &str,
    ) -> Result<Response<Body>, Failure> {
        let (mut count, mut last) = (TAGS_PAGE, None);
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("n", number)) => {
                    let number: usize = number.parse().map_err(|_| Failure::bad_range())?;
                    count = number.min(TAGS_PAGE);
                }
                Some(("last", tag)) => last = Some(tag),
                _ => {}
            }
        }
        let (tags, has_more) = self.tags(repository, last, count).await?;
        if tags.is_empty() && last.is_none() && count > 0 {
            let any = List {
                prefix: repository.manifests(),
                max: 1,
                ..List::default()
            };
            let listing = self.store.list(Bucket::REGISTRY, any).await?;
            if listing.entries.is_empty() {
                return Err(Failure::no_repository());
            }
        }
        let mut headers = vec![(CONTENT_TYPE, "application/json".to_owned())];
        if let Some(last) = tags.last().filter(|_| has_more) {
            let next = format!("</v2/{repository}/tags/list?n={count}&last={last}>; rel=\"next\"");
            headers.push((LINK, next));
        }
        let body = serde_json::json!({ "name": repository.to_string(), "tags": tags });
        Ok(answer(
            StatusCode::OK,
            &headers,
            Body::from(body.to_string()),
        ))
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}
