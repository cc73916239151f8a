//! The registry that the server is itself: the OCI distribution protocol over objects.
//!
//! A repository is `ORGANIZATION/NAME…`; who comes in for one organization reaches nothing of another. Blobs are kept
//! once an organization, manifests and tags by repository:
//!
//! ```text
//! ORGANIZATION/blobs/HEX
//! ORGANIZATION/manifests/NAME…/_/HEX
//! ORGANIZATION/tags/NAME…/_/TAG       its content is the manifest's digest
//! ```

mod access;
mod answer;
mod blobs;
mod collect;
mod manifests;
mod name;
mod path;
mod uploads;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use http::header::RANGE;
use http::{Method, Request, Response};
use tokio::sync::Semaphore;

use crate::{ObjectStore, UploadId};
use answer::Failure;
use name::Repository;
use path::Place;

pub use access::{Door, Visitor};
pub use collect::CollectedBlobs;

/// Requests that are worked on at the same time; more are told to come again.
const REQUESTS_MAX: usize = 64;

/// The registry's HTTP face. Clones are the same one.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn ObjectStore>,
    door: Arc<dyn Door>,
    realm: Arc<str>,
    turns: Arc<Semaphore>,
    /// Uploads that a request is adding to: their bytes come one after another.
    busy: Arc<Mutex<HashSet<UploadId>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// `public_url` is how clients reach the server, without a slash at the end.
    pub fn new(store: Arc<dyn ObjectStore>, door: Arc<dyn Door>, public_url: &str) -> Self {
        Self {
            store,
            door,
            realm: format!("{public_url}{}", path::TOKEN).into(),
            turns: Arc::new(Semaphore::new(REQUESTS_MAX)),
            busy: Arc::default(),
        }
    }

    /// Whether a path is the registry's.
    pub fn serves(path: &str) -> bool {
        path == "/v2" || path.starts_with("/v2/")
    }

    /// Answers a request for a path of the registry's.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let answered = match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(_turn) => self.route(request).await,
            Err(_) => Err(Failure::too_many_requests()),
        };
        answered.unwrap_or_else(|failure| failure.answer(&self.realm))
    }

    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let place = path::parse(request.uri().path())?;
        let visitor = access::visitor(&*self.door, request.headers())?;
        let (repository, rest) = match place {
            Place::Base => return answer::base(request.method()),
            Place::Token => return access::token(request.method(), request.headers(), &visitor),
            Place::In(repository, rest) => (repository, rest),
        };
        if repository.owner() != visitor.owner {
            return Err(Failure::denied());
        }
        self.within(&repository, &rest, request).await
    }

    async fn within(
        &self,
        repository: &Repository,
        place: &path::Within,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        use path::Within;
        let method = request.method().clone();
        match (place, method) {
            (Within::Blob(digest), method @ (Method::GET | Method::HEAD)) => {
                let range = request.headers().get(RANGE).cloned();
                self.get_blob(repository, digest, method, range).await
            }
            (Within::Blob(digest), Method::DELETE) => self.delete_blob(repository, digest).await,
            (Within::Uploads, Method::POST) => self.begin_upload(repository, request).await,
            (Within::Upload(id), Method::GET) => self.upload_status(repository, id).await,
            (Within::Upload(id), Method::PATCH) => self.add(repository, id, request).await,
            (Within::Upload(id), Method::PUT) => self.finish(repository, id, request).await,
            (Within::Upload(id), Method::DELETE) => self.abort(repository, id).await,
            (Within::Manifest(reference), Method::GET | Method::HEAD) => {
                self.get_manifest(repository, reference, request.method())
                    .await
            }
            (Within::Manifest(reference), Method::PUT) => {
                self.put_manifest(repository, reference, request).await
            }
            (Within::Manifest(reference), Method::DELETE) => {
                self.delete_manifest(repository, reference).await
            }
            (Within::Tags, Method::GET) => {
                self.list_tags(repository, request.uri().query().unwrap_or_default())
                    .await
            }
            _ => Err(Failure::unsupported()),
        }
    }

    /// Takes an upload for one request; None while another has it.
    fn take(&self, id: &UploadId) -> Option<Taken> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(id.clone()).then(|| Taken {
            busy: Arc::clone(&self.busy),
            id: id.clone(),
        })
    }
}

/// An upload that one request has for itself until this is dropped.
#[derive(Debug)]
struct Taken {
    busy: Arc<Mutex<HashSet<UploadId>>>,
    id: UploadId,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.id);
    }
}
