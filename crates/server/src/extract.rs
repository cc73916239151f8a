//! What handlers take out of a request.

use std::collections::BTreeMap;
use std::time::Duration;

use alcove_api_types::body::FromBody;
use alcove_api_types::daytona::era::Era;
use alcove_control::{Caller, Control, Counted, OrganizationChoice, WebhookManager};
use alcove_domain::ServiceRole;
use alcove_edge::Client;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Path, Request};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::query::Query;
use crate::session;
use crate::throttle;

/// Bodies of API calls are small; one that takes longer than this is not meant to end.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The authenticated caller: by a bearer (a key, or a token), or, where there is none, by a session's cookie.
///
/// An API key belongs to one organization, so `X-Daytona-Organization-ID` is not looked at; it chooses
/// among the organizations of a person who has signed in, or comes with a token of the identity provider.
pub(crate) struct Authenticated(pub Caller);

impl FromRequestParts<App> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = authenticate(parts, app).await?;
        app.control().note_actor(&caller);
        throttle::count(
            parts,
            app,
            &Counted::Organization(caller.organization.clone()),
        )?;
        Ok(Self(caller))
    }
}

async fn authenticate(parts: &mut Parts, app: &App) -> Result<Caller, ApiError> {
    if !parts.headers.contains_key(AUTHORIZATION) {
        return session::authenticate(parts, app).await;
    }
    let bearer = bearer(&parts.headers).ok_or_else(ApiError::no_credentials)?;
    if !alcove_control::is_token(bearer) {
        return Ok(app.control().authenticate(bearer).await?);
    }
    let bearer = bearer.to_owned();
    let (path, named) = session::organizations(parts, app).await?;
    let choice = OrganizationChoice {
        path: path.as_deref(),
        named: named.as_deref(),
    };
    Ok(app.control().authenticate_in(&bearer, choice).await?)
}

/// Either the authenticated caller, or a program by the credential of its role.
pub(crate) enum CallerOrService {
    Caller(Caller),
    Service(ServiceRole),
}

impl FromRequestParts<App> for CallerOrService {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let text = bearer(&parts.headers).filter(|text| Control::is_service_text(text));
        let Some(text) = text else {
            let caller = Authenticated::from_request_parts(parts, app).await?;
            return Ok(Self::Caller(caller.0));
        };
        let role = app.control().authenticate_service(text)?;
        throttle::count(parts, app, &Counted::Service(role))?;
        Ok(Self::Service(role))
    }
}

/// A program, by the credential of its role. People are refused.
pub(crate) struct Service(pub ServiceRole);

impl FromRequestParts<App> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match CallerOrService::from_request_parts(parts, app).await? {
            CallerOrService::Service(role) => Ok(Self(role)),
            CallerOrService::Caller(_) => Err(ApiError::wrong_credential()),
        }
    }
}

/// None for whoever is no program: what is asked is public.
impl OptionalFromRequestParts<App> for Service {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &App,
    ) -> Result<Option<Self>, Self::Rejection> {
        let text = bearer(&parts.headers).filter(|text| Control::is_service_text(text));
        let role = text.and_then(|text| app.control().authenticate_service(text).ok());
        Ok(role.map(Self))
    }
}

/// Who asks, whether let in or not.
pub(crate) struct Asking {
    pub client: Client,
    /// The text of the session that the request comes with.
    pub session: Option<String>,
}

impl FromRequestParts<App> for Asking {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let client = app.edge().client(parts);
        Ok(Self {
            client,
            session: session::text(client, &parts.headers).map(str::to_owned),
        })
    }
}

/// Whoever may manage the webhooks of the organization that the path names: an owner by key, or the page by its token.
pub(crate) struct Manages(pub WebhookManager);

impl FromRequestParts<App> for Manages {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let PathOf(mut path) =
            PathOf::<BTreeMap<String, String>>::from_request_parts(parts, app).await?;
        let id = path.remove("organizationId").unwrap_or_default();
        let control = app.control();
        if let Some(token) = bearer(&parts.headers).filter(|text| Control::is_webhook_token(text)) {
            let manager = control.webhook_manager_by_token(token, &id).await?;
            throttle::count(
                parts,
                app,
                &Counted::Organization(manager.organization().clone()),
            )?;
            return Ok(Self(manager));
        }
        let Authenticated(caller) = Authenticated::from_request_parts(parts, app).await?;
        Ok(Self(control.webhook_manager(&caller, &id)?))
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The client's generation.
pub(crate) struct ClientEra(pub Era);

impl FromRequestParts<App> for ClientEra {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        let header = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        Ok(Self(Era::from_headers(
            header("x-daytona-sdk-version"),
            header("x-daytona-source"),
            header("user-agent"),
        )))
    }
}

/// The query, to be read parameter by parameter.
pub(crate) struct QueryOf(pub Query);

impl FromRequestParts<App> for QueryOf {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(Query::parse(parts.uri.query().unwrap_or_default())))
    }
}

/// The variable parts of the path, decoded.
pub(crate) struct PathOf<T>(pub T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<App> for PathOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match <Path<T> as FromRequestParts<App>>::from_request_parts(parts, app).await {
            Ok(Path(parts)) => Ok(Self(parts)),
            Err(_) => Err(ApiError::invalid(&["the path must be UTF-8".to_owned()])),
        }
    }
}

/// A JSON body, whatever its content type says. An empty one is an empty object.
pub(crate) struct BodyOf<T>(pub T);

impl<T: FromBody> FromRequest<App> for BodyOf<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, app))
            .await
            .map_err(|_| ApiError::unreadable_body(StatusCode::REQUEST_TIMEOUT))?
            .map_err(|refused| {
                let status = refused.into_response().status();
                ApiError::unreadable_body(if status.is_client_error() {
                    status
                } else {
                    StatusCode::BAD_REQUEST
                })
            })?;
        let value = if bytes.iter().all(u8::is_ascii_whitespace) {
            Value::Object(serde_json::Map::new())
        } else {
            serde_json::from_slice(&bytes).map_err(|_| ApiError::invalid_json())?
        };
        T::from_json(value)
            .map(Self)
            .map_err(|reasons| ApiError::invalid(&reasons))
    }
}
