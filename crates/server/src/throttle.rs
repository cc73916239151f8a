//! Limits of requests, as clients see them: who is counted for what, and the headers that tell how one stands.

use std::sync::{Arc, Mutex, PoisonError};

use alcove_control::{Control, Counted};
use alcove_domain::rate_limit::{Limiter, Standing};
use axum::extract::MatchedPath;
use axum::response::Response;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::app::App;
use crate::error::ApiError;
use crate::routes;

/// Paths of creates of sandboxes, and of what a sandbox is told to do, without what stands before.
const CREATES: [&str; 3] = ["/api/sandbox", "/api/workspace", "/fork"];
const CHANGES: [&str; 6] = [
    "/start", "/stop", "/pause", "/archive", "/recover", "/resize",
];
/// What a probe asks, which carries no key and comes often.
const PROBES: &str = "/api/health";

/// How a request stands with the limits that it was counted for. An extension of requests from outside; what the server asks
/// itself has none, and is not counted again.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    client: Counted,
    standings: Arc<Mutex<Vec<(Limiter, Standing)>>>,
}

impl Tally {
    pub fn new(app: &App, parts: &Parts) -> Self {
        Self {
            client: app.edge().client(parts).address.into(),
            standings: Arc::default(),
        }
    }

    /// Counts a request, and refuses it if it is one too many.
    fn count(&self, control: &Control, limiter: Limiter, who: &Counted) -> Result<(), ApiError> {
        let Some(standing) = control.count_request(limiter, who) else {
            return Ok(());
        };
        self.note(limiter, standing);
        if standing.is_over {
            return Err(ApiError::too_many(standing.reset));
        }
        Ok(())
    }

    fn note(&self, limiter: Limiter, standing: Standing) {
        let standings = self.standings.lock();
        let mut standings = standings.unwrap_or_else(PoisonError::into_inner);
        standings.push((limiter, standing));
    }

    /// Before anything else is looked at: whether whoever asks has failed too often, and what everyone may ask.
    pub fn admit(&self, control: &Control, parts: &Parts) -> Result<(), ApiError> {
        let has_credentials = [AUTHORIZATION, COOKIE]
            .iter()
            .any(|name| parts.headers.contains_key(name));
        if has_credentials
            && let Some(standing) = control.rate_standing(Limiter::FailedAuth, &self.client)
            && standing.is_over
        {
            self.note(Limiter::FailedAuth, standing);
            return Err(ApiError::too_many(standing.reset));
        }
        let path = parts.uri.path();
        if routes::is_public(&parts.method, path) && !path.starts_with(PROBES) {
            self.count(control, Limiter::Anonymous, &self.client)?;
        }
        Ok(())
    }

    /// Behind everything: credentials that were refused are counted, and the client is told how it stands.
    pub fn finish(&self, control: &Control, response: &mut Response) {
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(standing) = control.count_request(Limiter::FailedAuth, &self.client)
        {
            self.note(Limiter::FailedAuth, standing);
        }
        let standings = self.standings.lock();
        let standings = standings.unwrap_or_else(PoisonError::into_inner);
        for (limiter, standing) in standings.iter() {
            let values = [
                ("limit", u64::from(standing.limit)),
                ("remaining", u64::from(standing.remaining)),
                ("reset", standing.reset.as_secs()),
            ];
            for (name, value) in values {
                let name = format!("x-ratelimit-{name}-{}", limiter.as_str());
                if let Ok(name) = HeaderName::try_from(name) {
                    response
                        .headers_mut()
                        .insert(name, HeaderValue::from(value));
                }
            }
        }
    }
}

/// Counts a request of somebody who was let in, for the route that it is for.
pub(crate) fn count(parts: &Parts, app: &App, who: &Counted) -> Result<(), ApiError> {
    let Some(tally) = parts.extensions.get::<Tally>() else {
        return Ok(());
    };
    let route = parts.extensions.get::<MatchedPath>();
    let limiter = limiter(&parts.method, route.map_or("", MatchedPath::as_str));
    tally.count(app.control(), limiter, who)
}

/// By which a request is limited.
fn limiter(method: &Method, route: &str) -> Limiter {
    let is_sandbox = ["/api/sandbox/{", "/api/workspace/{"]
        .iter()
        .any(|start| route.starts_with(start));
    let tail = route.rsplit_once('}').map_or(route, |(_, tail)| tail);
    if *method == Method::POST
        && (CREATES[..2].contains(&route) || (is_sandbox && tail == CREATES[2]))
    {
        Limiter::SandboxCreate
    } else if is_sandbox
        && ((*method == Method::DELETE && tail.is_empty())
            || (*method == Method::POST && CHANGES.contains(&tail)))
    {
        Limiter::SandboxLifecycle
    } else {
        Limiter::Authenticated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_and_changes_of_sandboxes_have_limiters_of_their_own() {
        let all = routes::all_routes().map(|route| {
            let method = route.method.to_uppercase();
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            (limiter(&method, route.path), route.method, route.path)
        });
        let all: Vec<_> = all.collect();
        let of = |wanted| -> Vec<String> {
            let found = all.iter().filter(|(limiter, ..)| *limiter == wanted);
            found
                .map(|(_, method, path)| format!("{method} {path}"))
                .collect()
        };
        assert_eq!(
            of(Limiter::SandboxCreate),
            [
                "post /api/sandbox",
                "post /api/sandbox/{sandboxIdOrName}/fork",
                "post /api/workspace",
            ]
        );
        assert_eq!(
            of(Limiter::SandboxLifecycle),
            [
                "delete /api/sandbox/{sandboxIdOrName}",
                "post /api/sandbox/{sandboxIdOrName}/start",
                "post /api/sandbox/{sandboxIdOrName}/stop",
                "post /api/sandbox/{sandboxIdOrName}/recover",
                "post /api/sandbox/{sandboxIdOrName}/pause",
                "post /api/sandbox/{sandboxIdOrName}/archive",
                "post /api/sandbox/{sandboxIdOrName}/resize",
                "delete /api/workspace/{workspaceId}",
                "post /api/workspace/{workspaceId}/start",
                "post /api/workspace/{workspaceId}/stop",
                "post /api/workspace/{workspaceId}/archive",
            ]
        );
    }
}
