//! The S3 face: what clients need to leave build contexts, and nothing else.
//!
//! One bucket, and of it what is below the name of the caller's organization. Requests are signed (SigV4, in the
//! header or in the URL) with credentials that say themselves whom they are for. What is not offered is refused by name.

mod body;
mod failure;
mod gate;
mod objects;
mod uploads;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::Semaphore;

use crate::{Bucket, Key, ObjectStore};

pub use gate::AccessKeys;

/// The bucket that clients see.
pub const BUCKET: Bucket = Bucket::CONTEXTS;
/// The region that clients sign for. Older ones know no other.
pub const REGION: &str = "us-east-1";
/// Requests that are worked on at the same time; more are told to slow down.
const REQUESTS_MAX: usize = 64;
/// Largest XML of a request: the list of all parts of an upload.
const XML_MAX_BYTES: usize = 4 << 20;

/// How long it may take to come.
const XML_TIMEOUT: Duration = Duration::from_secs(30);

/// The service of a listener. Clones are the same one.
#[derive(Clone)]
pub struct S3Face {
    service: S3Service,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for S3Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Face").finish_non_exhaustive()
    }
}

impl S3Face {
    pub fn new(store: Arc<dyn ObjectStore>, keys: Arc<dyn AccessKeys>) -> Self {
        let mut config = S3Config::default();
        config.xml_max_body_size = XML_MAX_BYTES;
        let mut builder = S3ServiceBuilder::new(Operations { store });
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        builder.set_auth(gate::Secrets(Arc::clone(&keys)));
        builder.set_access(gate::Gate(keys));
        Self {
            service: builder.build(),
            turns: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<s3s::Body>) -> Response<s3s::Body> {
        if let Some(what) = gate::not_offered(&request) {
            let why = format!("{what} is not offered here");
            return gate::refusal(501, "NotImplemented", &why);
        }
        let Ok(_turn) = self.turns.try_acquire() else {
            return gate::refusal(503, "SlowDown", "the object storage is busy; come again");
        };
        // What is posted is short; only content may take its time, and the store looks after that.
        let request = if request.method() == http::Method::POST {
            match whole(request).await {
                Some(request) => request,
                None => {
                    return gate::refusal(400, "IncompleteBody", "the body did not come in time");
                }
            }
        } else {
            request
        };
        match self.service.call(request).await {
            Ok(response) => response,
            Err(_) => gate::refusal(500, "InternalError", "an unexpected error occurred"),
        }
    }
}

/// The request with its body read; None if that is too long, or takes too long.
async fn whole(request: Request<s3s::Body>) -> Option<Request<s3s::Body>> {
    let (parts, body) = request.into_parts();
    let read = axum::body::to_bytes(axum::body::Body::new(body), XML_MAX_BYTES);
    let bytes = tokio::time::timeout(XML_TIMEOUT, read).await.ok()?.ok()?;
    Some(Request::from_parts(parts, s3s::Body::from(bytes)))
}

impl Service<Request<Incoming>> for S3Face {
    type Response = Response<s3s::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let face = self.clone();
        Box::pin(async move { Ok(face.handle(request.map(s3s::Body::from)).await) })
    }
}

/// The operations that are offered.
struct Operations {
    store: Arc<dyn ObjectStore>,
}

/// Whose request it is; put there by the gate.
#[derive(Debug, Clone)]
struct Owner(String);

/// The object that a request is about. That it is the caller's has been checked by the gate already; names that
/// could mean another one are refused here.
fn key(name: &str) -> s3s::S3Result<Key> {
    Key::new(BUCKET, name).map_err(|error| failure::failure(error.into()))
}
