//! Sessions by their ids. Clients before 2 know nothing else, and call them sandboxes.

use std::convert::Infallible;

use alcove_agent_api::EXEC_INTERACTIVE_PATH;
use alcove_api_types::body::WholeBody;
use alcove_api_types::vercel::{
    CreateSandbox, ExtendTimeout, InteractiveAnswer, MakeSnapshot, OlderAnswer, OlderPage,
    OlderPagination, Pagination, PolicyRequest, SessionAnswer, SessionPage, SnapshotAnswer,
};
use alcove_control::{Caller, ListSandboxes, Session};
use alcove_domain::session::{SessionRecord, project_label};
use alcove_domain::{SandboxFilter, SandboxSort, SortOrder};
use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};

use super::sandbox::{make, order, project};
use super::{agent, inner_path, present, refused};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};

/// Sessions on a page where the client does not say.
const LIMIT_DEFAULT: i64 = 20;

/// In which words a session is told: those of the client's age, which its path says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    Now,
    Before2,
}

impl FromRequestParts<App> for Age {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        let path = inner_path(parts.uri.path()).unwrap_or_default();
        Ok(if path.starts_with("/v1/") {
            Self::Before2
        } else {
            Self::Now
        })
    }
}

async fn told(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    session: &Session,
    has_routes: bool,
    age: Age,
) -> Result<Response, ApiError> {
    let cwd = agent::work_dir(app, headers, session).await;
    let body = present::session(session, &cwd);
    let routes = has_routes.then(|| present::routes(app, caller, session));
    let routes = routes.transpose()?;
    Ok(match age {
        Age::Now => Json(SessionAnswer {
            session: body,
            sandbox: Some(present::sandbox(session)),
            routes,
        })
        .into_response(),
        Age::Before2 => Json(OlderAnswer {
            sandbox: body,
            routes,
        })
        .into_response(),
    })
}

pub(crate) async fn get(
    age: Age,
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let session = app.control().find_session(&caller, &id).map_err(refused)?;
    told(&app, &caller, &headers, &session, true, age).await
}

/// What clients before 2 make is gone with its session.
pub(crate) async fn create_older(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    BodyOf(body): BodyOf<CreateSandbox>,
) -> Result<Response, ApiError> {
    let session = make(&app, &caller, &headers, body, false).await?;
    told(&app, &caller, &headers, &session, true, Age::Before2).await
}

async fn page(
    app: &App,
    caller: &Caller,
    list: ListSandboxes,
) -> Result<(Vec<Session>, Option<String>), ApiError> {
    let page = app
        .control()
        .list_sandboxes(caller, list)
        .await
        .map_err(refused)?;
    let sessions = page.items.into_iter().map(|sandbox| Session {
        record: SessionRecord::of(&sandbox),
        sandbox: sandbox.into(),
    });
    Ok((sessions.collect(), page.next_cursor))
}

/// The last session of each sandbox, or of one.
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SessionPage>, ApiError> {
    let project = project(&mut query);
    let name = query.text("name");
    let order = query.word("sortOrder", order);
    let list = ListSandboxes {
        filter: SandboxFilter {
            labels: project
                .iter()
                .map(|project| project_label(project))
                .collect(),
            ..SandboxFilter::default()
        },
        sort: Some(SandboxSort::CreatedAt),
        order: Some(order.unwrap_or(SortOrder::Descending)),
        limit: Some(query.integer("limit").unwrap_or(LIMIT_DEFAULT)),
        cursor: query.text("cursor"),
    };
    query.finish()?;
    let (sessions, next) = match name {
        None => page(&app, &caller, list).await?,
        Some(name) => {
            let found = app
                .control()
                .find_session_sandbox(&caller, project.as_deref(), &name);
            (vec![found.map_err(refused)?], None)
        }
    };
    let sessions: Vec<_> = sessions
        .iter()
        .map(|session| present::session(session, agent::NO_DIR))
        .collect();
    Ok(Json(SessionPage {
        pagination: Pagination {
            count: sessions.len(),
            next,
        },
        sessions,
    }))
}

/// A page of clients before 2: its successor is what was made before the last of it.
pub(crate) async fn list_older(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<OlderPage>, ApiError> {
    let project = project(&mut query);
    let (since, until) = (query.milliseconds("since"), query.milliseconds("until"));
    let list = ListSandboxes {
        filter: SandboxFilter {
            labels: project
                .iter()
                .map(|project| project_label(project))
                .collect(),
            created_after: since,
            created_before: until,
            ..SandboxFilter::default()
        },
        sort: Some(SandboxSort::CreatedAt),
        order: Some(SortOrder::Descending),
        limit: Some(query.integer("limit").unwrap_or(LIMIT_DEFAULT)),
        cursor: None,
    };
    query.finish()?;
    let (sessions, next) = page(&app, &caller, list).await?;
    let oldest = sessions
        .last()
        .map(|oldest| oldest.sandbox.created_at.as_millisecond());
    let first = sessions
        .first()
        .map(|first| first.sandbox.created_at.as_millisecond());
    let sandboxes: Vec<_> = sessions
        .iter()
        .map(|session| present::session(session, agent::NO_DIR))
        .collect();
    Ok(Json(OlderPage {
        pagination: OlderPagination {
            count: sandboxes.len(),
            next: next.and(oldest),
            prev: until.and(first),
        },
        sandboxes,
    }))
}

pub(crate) async fn stop(
    age: Age,
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let ended = app
        .control()
        .stop_session(&caller, &id)
        .await
        .map_err(refused)?;
    told(&app, &caller, &headers, &ended, false, age).await
}

pub(crate) async fn extend(
    age: Age,
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    BodyOf(body): BodyOf<ExtendTimeout>,
) -> Result<Response, ApiError> {
    let longer = app
        .control()
        .extend_session(&caller, &id, body.duration)
        .await;
    told(
        &app,
        &caller,
        &headers,
        &longer.map_err(refused)?,
        false,
        age,
    )
    .await
}

pub(crate) async fn network(
    age: Age,
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    BodyOf(WholeBody(policy)): BodyOf<WholeBody<PolicyRequest>>,
) -> Result<Response, ApiError> {
    let policy = present::settings(&policy)?;
    let changed = app
        .control()
        .set_session_network(&caller, &id, policy)
        .await;
    let session = changed.map_err(refused)?;
    told(&app, &caller, &headers, &session, false, age).await
}

/// Makes a snapshot of a session, which ends with it.
pub(crate) async fn snapshot(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    BodyOf(body): BodyOf<MakeSnapshot>,
) -> Result<Response, ApiError> {
    // While it runs it can still be asked.
    let running = app.control().find_session(&caller, &id).map_err(refused)?;
    let cwd = agent::work_dir(&app, &headers, &running).await;
    let made = app
        .control()
        .snapshot_session(&caller, &id, body.expiration)
        .await;
    let (snapshot, ended) = made.map_err(refused)?;
    let session = present::session(&ended, &cwd);
    let answer = SnapshotAnswer {
        snapshot: present::snapshot(&snapshot, &ended.sandbox.region),
        session: Some(session.clone()),
        sandbox: Some(session),
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Where a program gets a terminal, and what opens that for a while.
pub(crate) async fn interactive(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<InteractiveAnswer>, ApiError> {
    let signed = app.control().open_interactive(&caller, &id);
    Ok(Json(InteractiveAnswer {
        url: app.socket_url(&format!("/api/v2/sandboxes/sessions/{id}/interactive")),
        token: signed.map_err(refused)?.label,
    }))
}

/// The terminal, by a WebSocket that shows its token in the query.
pub(crate) async fn terminal(
    State(app): State<App>,
    QueryOf(mut query): QueryOf,
    request: Request,
) -> Result<Response, ApiError> {
    let token = query.text("token");
    query.finish()?;
    let token = token.ok_or_else(ApiError::no_credentials)?;
    let (mut parts, _) = request.into_parts();
    parts.uri = Uri::from_static(EXEC_INTERACTIVE_PATH);
    let opened = app.edge().open_terminal(parts, &token).await;
    opened.map_err(agent::refused)
}
