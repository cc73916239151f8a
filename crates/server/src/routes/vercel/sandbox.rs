//! Sandboxes by their names.

use std::collections::BTreeMap;

use alcove_api_types::vercel::{
    CreateSandbox, KeepLastRequest, Mount, Pagination, READ_ONLY, READ_WRITE, SandboxAnswer,
    SandboxPage, Source,
};
use alcove_control::{
    Caller, Error, Filling, KeepLastChange, ListSandboxes, NewSession, Session, SessionChange,
};
use alcove_domain::session::{DriveMount, SessionRecord, project_label, states_of};
use alcove_domain::{SandboxFilter, SandboxSort, SortOrder};
use axum::Json;
use axum::extract::{FromRequestParts, State};
use futures_util::TryFutureExt as _;
use http::HeaderMap;
use http::request::Parts;

use super::{agent, not_supported, present, refused};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};
use crate::query::Query;

/// Sandboxes on a page where the client does not say.
const LIMIT_DEFAULT: i64 = 20;

/// What these clients send beside a body or a path.
pub(super) fn project(query: &mut Query) -> Option<String> {
    query.text("projectId").or_else(|| query.text("project"))
}

/// The part of a request that both creates and changes have.
fn supported(body: &CreateSandbox) -> Result<(), ApiError> {
    match body.unsupported.first() {
        None => Ok(()),
        Some(what) => Err(not_supported(what)),
    }
}

pub(super) fn new_session(
    body: CreateSandbox,
    is_persistent: bool,
) -> Result<NewSession, ApiError> {
    supported(&body)?;
    let snapshot = match body.source.unwrap_or_default() {
        Source { kind, .. } if matches!(&*kind, "" | "git" | "tarball") => None,
        Source {
            kind,
            snapshot_id: Some(id),
            ..
        } if kind == "snapshot" => Some(id),
        Source { kind, .. } if kind == "snapshot" => {
            return Err(ApiError::invalid(&[
                "source.snapshotId must be a string".to_owned()
            ]));
        }
        Source { kind, .. } => return Err(not_supported(&format!("a source of type {kind}"))),
    };
    let drives = drives(&body.mounts.unwrap_or_default())?;
    Ok(NewSession {
        project: body.project.unwrap_or_default(),
        name: body.name,
        is_persistent: Some(body.persistent.unwrap_or(is_persistent)),
        timeout_ms: body.timeout,
        ports: body.ports.unwrap_or_default(),
        vcpus: body.vcpus,
        runtime: body.runtime,
        image: body.image,
        snapshot,
        region: body.region,
        env: body.env.unwrap_or_default(),
        tags: body.tags.unwrap_or_default(),
        network: body
            .network_policy
            .as_ref()
            .map(present::settings)
            .transpose()?,
        snapshot_expiration_ms: body.snapshot_expiration,
        keep_last: match &body.keep_last_snapshots {
            Some(KeepLastRequest::Set(keep)) => Some(present::keep_last_request(keep)),
            Some(KeepLastRequest::Clear) | None => None,
        },
        drives,
    })
}

fn drives(mounts: &BTreeMap<String, Mount>) -> Result<BTreeMap<String, DriveMount>, ApiError> {
    let modes = [READ_WRITE, READ_ONLY];
    if let Some(mount) = mounts.values().find(|it| !modes.contains(&&*it.mode)) {
        return Err(not_supported(&format!(
            "a drive in mode {}, other than {READ_WRITE} and {READ_ONLY},",
            mount.mode
        )));
    }
    let drives = mounts.iter().map(|(path, mount)| {
        let drive = DriveMount {
            is_read_only: mount.mode == READ_ONLY,
            name: mount.drive.clone(),
        };
        (path.clone(), drive)
    });
    Ok(drives.collect())
}

/// What is said of a fork, or of a sandbox that is there.
fn change_of(body: &CreateSandbox, is_fork: bool) -> Result<SessionChange, ApiError> {
    supported(body)?;
    let drives = body.mounts.as_ref().map(drives).transpose()?;
    for (is_given, what) in [
        (body.source.is_some(), "another source"),
        (
            is_fork && drives.is_some(),
            "a fork that mounts other drives",
        ),
        (
            body.runtime.is_some() || body.image.is_some(),
            "another image",
        ),
    ] {
        if is_given {
            return Err(not_supported(what));
        }
    }
    let network = body.network_policy.as_ref().map(present::settings);
    Ok(SessionChange {
        is_persistent: body.persistent,
        timeout_ms: body.timeout,
        ports: body.ports.clone(),
        vcpus: body.vcpus,
        env: body.env.clone(),
        tags: body.tags.clone(),
        network: network.transpose()?,
        snapshot_expiration_ms: body.snapshot_expiration,
        region: body.region.clone(),
        drives,
        keep_last: body.keep_last_snapshots.as_ref().map(|keep| match keep {
            KeepLastRequest::Set(keep) => KeepLastChange::Set(present::keep_last_request(keep)),
            KeepLastRequest::Clear => KeepLastChange::Clear,
        }),
    })
}

/// Why a sandbox was not made: what the control plane says, or what came of its source.
enum NotMade {
    Control(Error),
    Source(ApiError),
}

impl From<Error> for NotMade {
    fn from(error: Error) -> Self {
        Self::Control(error)
    }
}

/// What a sandbox gets before it is anybody's.
async fn filling(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    source: Source,
) -> Result<Option<Filling<NotMade>>, ApiError> {
    let (app, headers) = (app.clone(), headers.clone());
    Ok(match &*source.kind {
        "git" => Some(Box::new(move |id| {
            let filled = async move { agent::clone(&app, &headers, id.as_str(), source).await };
            Box::pin(filled.map_err(NotMade::Source))
        })),
        "tarball" => {
            let url = source.url.unwrap_or_default();
            let pieces = app.control().fetch_source(caller, &url).await;
            let pieces = pieces.map_err(refused)?;
            Some(Box::new(move |id| {
                let filled =
                    async move { agent::unpack(&app, &headers, id.as_str(), pieces).await };
                Box::pin(filled.map_err(NotMade::Source))
            }))
        }
        _ => None,
    })
}

/// Makes a sandbox with a session that runs, and puts the source into it that it is to begin with.
pub(super) async fn make(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: CreateSandbox,
    is_persistent: bool,
) -> Result<Session, ApiError> {
    let source = body.source.clone().unwrap_or_default();
    let request = new_session(body, is_persistent)?;
    // What cannot be had makes no sandbox.
    let filling = filling(app, caller, headers, source).await?;
    let made = app.control().create_session(caller, request, filling).await;
    made.map_err(|error| match error {
        NotMade::Control(error) => refused(error),
        NotMade::Source(error) => error,
    })
}

/// A sandbox by its name in the path and by the project in the query, and who asks for it.
pub(crate) struct Named {
    app: App,
    caller: Caller,
    headers: HeaderMap,
    name: String,
    project: Option<String>,
    /// Whether one that does not run is to be started.
    resume: bool,
    /// Whether snapshots of it that nothing else needs are to go with it.
    with_snapshots: bool,
}

impl FromRequestParts<App> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, app).await?;
        let PathOf(name) = PathOf::from_request_parts(parts, app).await?;
        let mut query = Query::parse(parts.uri.query().unwrap_or_default());
        let mut is_asked = |name| query.boolean(name).unwrap_or_default();
        let (resume, with_snapshots) = (is_asked("resume"), is_asked("deleteOrphanSnapshots"));
        let project = project(&mut query);
        query.finish()?;
        Ok(Self {
            app: app.clone(),
            caller,
            headers: parts.headers.clone(),
            name,
            project,
            resume,
            with_snapshots,
        })
    }
}

impl Named {
    fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    async fn answer(
        &self,
        session: Result<Session, Error>,
        resumed: Option<bool>,
    ) -> Result<Json<SandboxAnswer>, ApiError> {
        let session = session.map_err(refused)?;
        answer(&self.app, &self.caller, &self.headers, &session, resumed).await
    }
}

async fn answer(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    session: &Session,
    resumed: Option<bool>,
) -> Result<Json<SandboxAnswer>, ApiError> {
    let cwd = agent::work_dir(app, headers, session).await;
    Ok(Json(SandboxAnswer {
        sandbox: present::sandbox(session),
        session: Some(present::session(session, &cwd)),
        routes: Some(present::routes(app, caller, session)?),
        resumed,
    }))
}

pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    BodyOf(body): BodyOf<CreateSandbox>,
) -> Result<Json<SandboxAnswer>, ApiError> {
    let session = make(&app, &caller, &headers, body, true).await?;
    answer(&app, &caller, &headers, &session, None).await
}

/// A sandbox with its last session; with `resume=true`, one that runs.
pub(crate) async fn get(named: Named) -> Result<Json<SandboxAnswer>, ApiError> {
    let (caller, name) = (&named.caller, &named.name);
    let control = named.app.control();
    if !named.resume {
        let found = control.whole_session_sandbox(caller, named.project(), name);
        return named.answer(found.await, None).await;
    }
    let resumed = control.resume_session(caller, named.project(), name).await;
    let (session, is_new) = resumed.map_err(refused)?;
    named.answer(Ok(session), Some(is_new)).await
}

pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SandboxPage>, ApiError> {
    let mut filter = SandboxFilter::default();
    if let Some(project) = project(&mut query) {
        filter.labels.extend([project_label(&project)]);
    }
    for tag in query.texts("tags") {
        let Some((name, value)) = tag.split_once(':') else {
            return Err(ApiError::invalid(&[
                "tags must be a name, a colon and a value".to_owned(),
            ]));
        };
        filter.labels.insert(name.to_owned(), value.to_owned());
    }
    filter.name_prefix = query.text("namePrefix");
    let states = query.word("status", states_of);
    let is_never = states.as_ref().is_some_and(Vec::is_empty);
    filter.states = states.unwrap_or_default();
    let sort = query.word("sortBy", |word| match word {
        "createdAt" => Some(SandboxSort::CreatedAt),
        "name" => Some(SandboxSort::Name),
        "statusUpdatedAt" => Some(SandboxSort::LastActivityAt),
        _ => None,
    });
    let order = query.word("sortOrder", order);
    let list = ListSandboxes {
        filter,
        sort: Some(sort.unwrap_or(SandboxSort::CreatedAt)),
        order: Some(order.unwrap_or(SortOrder::Descending)),
        limit: Some(query.integer("limit").unwrap_or(LIMIT_DEFAULT)),
        cursor: query.text("cursor"),
    };
    query.finish()?;
    if is_never {
        return Ok(Json(SandboxPage {
            pagination: Pagination {
                count: 0,
                next: None,
            },
            sandboxes: Vec::new(),
        }));
    }
    let page = app
        .control()
        .list_sandboxes(&caller, list)
        .await
        .map_err(refused)?;
    let sandboxes: Vec<_> = page
        .items
        .into_iter()
        .map(|sandbox| {
            let record = SessionRecord::of(&sandbox);
            present::sandbox(&Session {
                sandbox: sandbox.into(),
                record,
            })
        })
        .collect();
    Ok(Json(SandboxPage {
        pagination: Pagination {
            count: sandboxes.len(),
            next: page.next_cursor,
        },
        sandboxes,
    }))
}

pub(super) fn order(word: &str) -> Option<SortOrder> {
    match word {
        "asc" => Some(SortOrder::Ascending),
        "desc" => Some(SortOrder::Descending),
        _ => None,
    }
}

pub(crate) async fn update(
    named: Named,
    BodyOf(body): BodyOf<CreateSandbox>,
) -> Result<Json<SandboxAnswer>, ApiError> {
    let change = change_of(&body, false)?;
    let control = named.app.control();
    let changed = control
        .update_session(&named.caller, named.project(), &named.name, change)
        .await;
    named.answer(changed, None).await
}

pub(crate) async fn fork(
    named: Named,
    BodyOf(body): BodyOf<CreateSandbox>,
) -> Result<Json<SandboxAnswer>, ApiError> {
    let change = change_of(&body, true)?;
    let control = named.app.control();
    let forked = control
        .fork_session(
            &named.caller,
            named.project(),
            &named.name,
            body.name,
            change,
        )
        .await;
    named.answer(forked, None).await
}

pub(crate) async fn delete(named: Named) -> Result<Json<SandboxAnswer>, ApiError> {
    let gone = named
        .app
        .control()
        .delete_session_sandbox(
            &named.caller,
            named.project(),
            &named.name,
            named.with_snapshots,
        )
        .await
        .map_err(refused)?;
    Ok(Json(SandboxAnswer {
        sandbox: present::sandbox(&gone),
        session: None,
        routes: None,
        resumed: None,
    }))
}
