//! Which requests are actions that are written down, and as what.
//!
//! A request of the list goes as a `Deed` through its handler into the control plane, whose transaction writes the row. What
//! came of it is told behind the answer, for those that no transaction wrote.

mod acts;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use alcove_control::{Control, Deed, NewDeed, acting};
use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::USER_AGENT;
use serde_json::Value;

pub(crate) use self::acts::{ACTS, Act};
use crate::app::App;
use crate::error::ApiError;

/// An act, and the status of the answer if all goes well.
type Expected = (&'static Act, u16);

/// Acts by method and path.
static BY_ROUTE: LazyLock<BTreeMap<(&str, &str), Expected>> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(crate::openapi::document()).unwrap_or_default();
    let all = ACTS.iter().map(|act| {
        let told = &document["paths"][act.path][act.method]["responses"];
        let told = told.as_object().into_iter().flat_map(|all| all.keys());
        let good = told.filter_map(|status| status.parse::<u16>().ok());
        // What is not in the document, which is Vercel's API, answers with 200.
        let success = good.filter(|status| *status < 300).min().unwrap_or(200);
        ((act.method, act.path), (act, success))
    });
    all.collect()
});

/// Runs the handler of a request, as an action if it is one.
pub(crate) async fn record(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        tracing::Span::current().record("http.route", route.as_str());
    }
    let Some((act, success)) = act_of(&request) else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    let path = RawPathParams::from_request_parts(&mut parts, &()).await;
    let path: BTreeMap<&str, &str> = path
        .as_ref()
        .map_or_else(|_| BTreeMap::new(), |params| params.into_iter().collect());
    let deed = app.control().begin_deed(&NewDeed {
        action: act.action,
        target_type: act.target,
        target_id: act.of.and_then(|name| path.get(name).copied()),
        organization: path.get("organizationId").copied(),
        success,
        address: app.edge().client(&parts).address.map(|ip| ip.to_string()),
        user_agent: header(&parts.headers, USER_AGENT.as_str()),
        source: header(&parts.headers, "x-daytona-source"),
    });
    let mut open = Open {
        control: app.control(),
        deed: Some(&deed),
    };
    let request = Request::from_parts(parts, body);
    let response = acting(Some(deed.clone()), next.run(request)).await;
    open.deed = None;
    let error = response.extensions().get::<ApiError>();
    let error = error.map(ApiError::message);
    let status = response.status().as_u16();
    app.control().finish_deed(&deed, Some(status), error);
    response
}

/// An action whose answer is not there yet. Dropped before that, its client has gone away.
struct Open<'a> {
    control: &'a Control,
    deed: Option<&'a Deed>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(deed) = self.deed {
            self.control.finish_deed(deed, None, None);
        }
    }
}

fn act_of(request: &Request) -> Option<(&'static Act, u16)> {
    let path = request.extensions().get::<MatchedPath>()?.as_str();
    let method = match request.method().as_str() {
        "GET" => "get",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => return None,
    };
    BY_ROUTE.get(&(method, path)).copied()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
