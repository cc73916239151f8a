//! Snapshots by their ids.

use alcove_api_types::vercel::{
    OlderPagination, OlderSnapshotPage, Pagination, SnapshotAnswer, SnapshotPage,
};
use alcove_control::ListSnapshots;
use alcove_domain::SnapshotSort;
use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::sandbox::{order, project};
use super::{not_supported, present, refused};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf, QueryOf};

/// Snapshots on a page where the client does not say.
const LIMIT_DEFAULT: i64 = 20;
/// Snapshots that a client before 2 is given.
const LIMIT_OLDER: i64 = 200;

/// Snapshots that were made of sandboxes. They belong to the organization; a project narrows nothing.
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SnapshotPage>, ApiError> {
    project(&mut query);
    let source = match query.text("name") {
        None => None,
        Some(name) => {
            let found = app.control().find_session_sandbox(&caller, None, &name);
            Some(found.map_err(refused)?.sandbox.id.to_string())
        }
    };
    let page = query.integer("cursor");
    let list = ListSnapshots {
        source_sandbox_id: source,
        sort: Some(SnapshotSort::CreatedAt),
        order: query.word("sortOrder", order),
        limit: Some(query.integer("limit").unwrap_or(LIMIT_DEFAULT)),
        page,
        ..ListSnapshots::default()
    };
    query.finish()?;
    let found = app
        .control()
        .list_snapshots(&caller, list)
        .await
        .map_err(refused)?;
    let region = &app.control().settings().region.id;
    let snapshots: Vec<_> = found
        .items
        .iter()
        .filter(|snapshot| snapshot.source_sandbox_id.is_some())
        .map(|snapshot| present::snapshot(snapshot, region))
        .collect();
    let next = (found.page < found.total_pages).then(|| (found.page + 1).to_string());
    Ok(Json(SnapshotPage {
        pagination: Pagination {
            count: snapshots.len(),
            next,
        },
        snapshots,
    }))
}

/// All of them for clients before 2, whose pages are found by times.
pub(crate) async fn list_older(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<OlderSnapshotPage>, ApiError> {
    project(&mut query);
    for bound in ["since", "until"] {
        if query.text(bound).is_some() {
            return Err(not_supported("a list of snapshots by their times"));
        }
    }
    // Whatever part of it is asked for: what would follow could not be asked for.
    query.integer("limit");
    query.finish()?;
    let list = ListSnapshots {
        sort: Some(SnapshotSort::CreatedAt),
        limit: Some(LIMIT_OLDER),
        ..ListSnapshots::default()
    };
    let found = app
        .control()
        .list_snapshots(&caller, list)
        .await
        .map_err(refused)?;
    if found.total_pages > 1 {
        return Err(not_supported(
            "so long a list of snapshots, for a client of this age,",
        ));
    }
    let region = &app.control().settings().region.id;
    let snapshots: Vec<_> = found
        .items
        .iter()
        .filter(|snapshot| snapshot.source_sandbox_id.is_some())
        .map(|snapshot| present::snapshot(snapshot, region))
        .collect();
    Ok(Json(OlderSnapshotPage {
        pagination: OlderPagination {
            count: snapshots.len(),
            next: None,
            prev: None,
        },
        snapshots,
    }))
}

pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<SnapshotAnswer>, ApiError> {
    let found = app
        .control()
        .get_snapshot(&caller, &id)
        .await
        .map_err(refused)?;
    let region = &app.control().settings().region.id;
    Ok(Json(SnapshotAnswer {
        snapshot: present::snapshot(&found, region),
        session: None,
        sandbox: None,
    }))
}

pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<SnapshotAnswer>, ApiError> {
    let control = app.control();
    let found = control.get_snapshot(&caller, &id).await.map_err(refused)?;
    control
        .delete_snapshot(&caller, &id)
        .await
        .map_err(refused)?;
    let region = &control.settings().region.id;
    let mut snapshot = present::snapshot(&found, region);
    "deleted".clone_into(&mut snapshot.status);
    Ok(Json(SnapshotAnswer {
        snapshot,
        session: None,
        sandbox: None,
    }))
}

pub(crate) async fn tree(Authenticated(_): Authenticated) -> Result<Response, ApiError> {
    Err(not_supported("the tree of snapshots"))
}

pub(crate) async fn drives(Authenticated(_): Authenticated) -> Result<Response, ApiError> {
    Err(not_supported("drives; mount a volume with another client"))
}
