//! Callers that are no people: runners, and those who stand between users and sandboxes.
//!
//! They come with keys of their own, which open nothing else.

use alcove_control::Gate;
use alcove_domain::RunnerId;
use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, bearer};

/// A runner, by its key. People are not let in, whatever they may.
pub(crate) struct OwnRunner(pub RunnerId);

impl FromRequestParts<App> for OwnRunner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let runner = bearer(&parts.headers).and_then(|key| app.control().runner_by_key(key));
        if let Some(runner) = runner {
            return Ok(Self(runner.id.clone()));
        }
        Authenticated::from_request_parts(parts, app).await?;
        Err(ApiError::only_runners())
    }
}

/// A proxy that is no part of the server: of a region, or the operator's. People are not let in, whatever they may: what is
/// told here opens sandboxes of others.
pub(crate) struct OfProxy(pub Gate);

impl FromRequestParts<App> for OfProxy {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(gate) = by_key(parts, app, false) {
            return Ok(Self(gate));
        }
        Authenticated::from_request_parts(parts, app).await?;
        Err(ApiError::only_proxies())
    }
}

/// A proxy or an SSH gateway that is no part of the server, or its administrator.
pub(crate) struct OfGate(pub Gate);

impl FromRequestParts<App> for OfGate {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(gate) = by_key(parts, app, true) {
            return Ok(Self(gate));
        }
        let Authenticated(caller) = Authenticated::from_request_parts(parts, app).await?;
        Ok(Self(app.control().gate_by_caller(&caller).await?))
    }
}

fn by_key(parts: &Parts, app: &App, ssh: bool) -> Option<Gate> {
    app.control().gate_by_key(bearer(&parts.headers)?, ssh)
}
