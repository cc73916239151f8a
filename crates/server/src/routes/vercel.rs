//! The API of Vercel Sandbox.
//!
//! A session is what runs of a sandbox between its start and its stop; what goes into one goes the way of the toolbox
//! proxy to the agent, whose answers these clients read as they are. See `docs/vercel.md` for what is the same.

mod agent;
mod cmd;
mod drive;
mod fs;
mod present;
mod sandbox;
mod scope;
mod session;
mod snapshot;

use alcove_control::Error;
use axum::body::Body;
use http::{HeaderValue, Request, StatusCode};

use crate::error::ApiError;
use crate::query::Query;
use crate::session::ORGANIZATION;

crate::routes::routes! {
    post "/v2/sandboxes", Key => sandbox::create;
    post "/v3/sandboxes", Key => sandbox::create;
    post "/v4/sandboxes", Key => sandbox::create;
    get "/v2/sandboxes", Key => sandbox::list;
    get "/v2/sandboxes/{name}", Key => sandbox::get;
    patch "/v2/sandboxes/{name}", Key => sandbox::update;
    delete "/v2/sandboxes/{name}", Key => sandbox::delete;
    post "/v2/sandboxes/{name}/fork", Key => sandbox::fork;
    post "/v3/sandboxes/{name}/fork", Key => sandbox::fork;

    get "/v2/sandboxes/snapshots", Key => snapshot::list;
    get "/v2/sandboxes/snapshots/tree", Key => snapshot::tree;
    get "/v2/sandboxes/snapshots/{snapshotId}", Key => snapshot::get;
    delete "/v2/sandboxes/snapshots/{snapshotId}", Key => snapshot::delete;
    get "/v2/sandboxes/drives", Key => drive::list;
    post "/v2/sandboxes/drives/{drive}", Key => drive::make;
    get "/v2/sandboxes/drives/{drive}", Key => drive::get;
    delete "/v2/sandboxes/drives/{drive}", Key => drive::delete;
    post "/v2/sandboxes/drives/{drive}/fork", Key => drive::fork;

    get "/v2/sandboxes/sessions", Key => session::list;
    get "/v2/sandboxes/sessions/{sessionId}", Key => session::get;
    post "/v2/sandboxes/sessions/{sessionId}/stop", Key => session::stop;
    post "/v2/sandboxes/sessions/{sessionId}/extend-timeout", Key => session::extend;
    post "/v2/sandboxes/sessions/{sessionId}/network-policy", Key => session::network;
    post "/v2/sandboxes/sessions/{sessionId}/snapshot", Key => session::snapshot;
    post "/v3/sandboxes/sessions/{sessionId}/snapshot", Key => session::snapshot;
    post "/v2/sandboxes/sessions/{sessionId}/interactive", Key => session::interactive;
    get "/v2/sandboxes/sessions/{sessionId}/interactive", Key => session::terminal;

    get "/v2/user", Key => scope::user;
    get "/v2/teams", Key => scope::teams;
    get "/v2/teams/{organizationId}", Key => scope::team;
    get "/v2/projects/{project}", Key => scope::project;

    post "/v1/sandboxes", Key => session::create_older;
    get "/v1/sandboxes", Key => session::list_older;
    get "/v1/sandboxes/snapshots", Key => snapshot::list_older;
    get "/v1/sandboxes/snapshots/{snapshotId}", Key => snapshot::get;
    delete "/v1/sandboxes/snapshots/{snapshotId}", Key => snapshot::delete;
    get "/v1/sandboxes/{sessionId}", Key => session::get;
    post "/v1/sandboxes/{sessionId}/stop", Key => session::stop;
    post "/v1/sandboxes/{sessionId}/extend-timeout", Key => session::extend;
    post "/v1/sandboxes/{sessionId}/network-policy", Key => session::network;
    post "/v1/sandboxes/{sessionId}/snapshot", Key => session::snapshot;

    post "/v2/sandboxes/sessions/{sessionId}/cmd", Key => cmd::run;
    get "/v2/sandboxes/sessions/{sessionId}/cmd", Key => cmd::list;
    get "/v2/sandboxes/sessions/{sessionId}/cmd/{cmdId}", Key => cmd::get;
    get "/v2/sandboxes/sessions/{sessionId}/cmd/{cmdId}/logs", Key => cmd::logs;
    post "/v2/sandboxes/sessions/{sessionId}/cmd/{cmdId}/kill", Key => cmd::kill;
    post "/v2/sandboxes/sessions/{sessionId}/cmd/{cmdId}/stdin", Key => cmd::feed;
    post "/v2/sandboxes/sessions/{sessionId}/fs/write", Key => fs::write;
    post "/v2/sandboxes/sessions/{sessionId}/fs/read", Key => fs::read;
    post "/v2/sandboxes/sessions/{sessionId}/fs/mkdir", Key => fs::make_folder;

    post "/v1/sandboxes/{sessionId}/cmd", Key => cmd::run;
    get "/v1/sandboxes/{sessionId}/cmd", Key => cmd::list;
    get "/v1/sandboxes/{sessionId}/cmd/{cmdId}", Key => cmd::get;
    get "/v1/sandboxes/{sessionId}/cmd/{cmdId}/logs", Key => cmd::logs;
    post "/v1/sandboxes/{sessionId}/cmd/{cmdId}/kill", Key => cmd::kill;
    // How clients before 2 spell it.
    post "/v1/sandboxes/{sessionId}/{cmdId}/kill", Key => cmd::kill;
    post "/v1/sandboxes/{sessionId}/fs/write", Key => fs::write;
    post "/v1/sandboxes/{sessionId}/fs/read", Key => fs::read;
    post "/v1/sandboxes/{sessionId}/fs/mkdir", Key => fs::make_folder;
}

/// A failure of the control plane in these clients' words.
fn refused(error: Error) -> ApiError {
    ApiError::from(error)
        // Whoever finds the session over asks for the next one.
        .narrowed(
            &["SANDBOX_STOPPED", "SANDBOX_NOT_STARTED"],
            StatusCode::GONE,
            "sandbox_stopped",
        )
        // Whoever finds nothing to start from makes the sandbox anew.
        .narrowed(
            &["SNAPSHOT_NOT_FOUND"],
            StatusCode::GONE,
            "snapshot_not_found",
        )
}

/// A wish that makes sense, and that this server does not fulfil. Not 5xx, which would be asked for again.
fn not_supported(what: &str) -> ApiError {
    let message = format!("{what} is not supported by this server");
    ApiError::new(StatusCode::BAD_REQUEST, "not_supported", message)
}

/// The path of a route here, without the `/api` that may stand before it; None for any other path.
///
/// Repositories of the registry, which has `/v2/` too, begin with the id of an organization and are none of these.
pub(crate) fn inner_path(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/api").unwrap_or(path);
    let version = path.strip_prefix("/v")?;
    let (number, rest) = version.split_once('/')?;
    let first = rest.split('/').next().unwrap_or_default();
    let is_known = match first {
        "sandboxes" => matches!(number, "1" | "2" | "3" | "4"),
        "user" | "teams" | "projects" => number == "2",
        _ => false,
    };
    is_known.then_some(path)
}

/// Whether a text has the form of an organization's id.
fn is_id(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    text.len() == 36 && text.bytes().all(is_part)
}

/// Lets the query of a request choose an organization as the header of other clients does: these clients have no other
/// way. A team that is no id of ours may be anything.
pub(crate) fn choose_team(request: &mut Request<Body>) {
    if request.headers().contains_key(ORGANIZATION) {
        return;
    }
    let mut query = Query::parse(request.uri().query().unwrap_or_default());
    let team = query.text("teamId").or_else(|| query.text("slug"));
    let team = team.filter(|team| is_id(team));
    let team = team.and_then(|team| HeaderValue::from_str(&team).ok());
    if let Some(team) = team {
        request.headers_mut().insert(ORGANIZATION, team);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_known_with_and_without_a_prefix_and_leave_the_registry_alone() {
        for (path, inner) in [
            ("/v2/sandboxes", Some("/v2/sandboxes")),
            ("/api/v2/sandboxes", Some("/v2/sandboxes")),
            ("/api/v1/sandboxes/x/cmd", Some("/v1/sandboxes/x/cmd")),
            ("/v4/sandboxes/", Some("/v4/sandboxes/")),
            ("/v5/sandboxes", None),
            ("/v2/", None),
            ("/v2/sandboxes-of/x/manifests/1", None),
            ("/v2/8a0b/sandboxes/manifests/1", None),
            ("/api/v2/user", Some("/v2/user")),
            ("/v2/teams/x", Some("/v2/teams/x")),
            ("/v2/projects/x", Some("/v2/projects/x")),
            ("/v3/user", None),
            ("/v2/users", None),
            ("/api/sandbox", None),
            ("/apiv2/sandboxes", None),
        ] {
            assert_eq!(inner_path(path), inner, "{path}");
        }
    }
}
