//! Connections that become something else: a program with somebody attached, or SFTP. For the server alone; a request
//! that comes by the toolbox proxy is no upgrade any more when it is here.

use std::sync::Arc;

use alcove_agent_api::{ErrorCode, RUN_PATH, RUN_PROTOCOL, SFTP_PATH, SFTP_PROTOCOL};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use http::header::{CONNECTION, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::agent::Agent;
use crate::attached::{drive, sftp};
use crate::http::ApiError;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route(RUN_PATH, get(run))
        .route(SFTP_PATH, get(files))
}

async fn run(State(agent): State<Arc<Agent>>, request: Request) -> Result<Response, ApiError> {
    upgraded(request, RUN_PROTOCOL, |stream| drive(agent, stream))
}

async fn files(State(agent): State<Arc<Agent>>, request: Request) -> Result<Response, ApiError> {
    upgraded(request, SFTP_PROTOCOL, |stream| sftp::serve(agent, stream))
}

fn upgraded<F: Future<Output = ()> + Send + 'static>(
    mut request: Request,
    protocol: &'static str,
    serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
) -> Result<Response, ApiError> {
    let wanted = request.headers().get(UPGRADE);
    let is_wanted = wanted.is_some_and(|wanted| wanted.as_bytes() == protocol.as_bytes());
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let upgrade = upgrade
        .filter(|_| is_wanted)
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, "this is not part of the toolbox API"))?;
    tokio::spawn(async move {
        // A connection that did not come about is its client's.
        if let Ok(upgraded) = upgrade.await {
            serve(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, http::HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, http::HeaderValue::from_static(protocol));
    Ok(response)
}
