//! Snapshots by their ids.

use alcove_api_types::vercel::{
    OlderPagination, OlderSnapshotPage, Pagination, Snapshot, SnapshotAnswer, SnapshotPage,
    SnapshotTree,
};
use alcove_control::{Caller, ListSnapshots};
use alcove_domain::{SnapshotSort, SortOrder};
use axum::Json;
use axum::extract::State;

use super::sandbox::{order, project};
use super::{present, refused};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf, QueryOf};
use crate::query::Query;

/// Snapshots on a page where the client does not say.
const LIMIT_DEFAULT: i64 = 20;

/// What every list of snapshots can be asked for: those that were made of sandboxes, of one project or one sandbox.
fn asked(app: &App, caller: &Caller, query: &mut Query) -> Result<ListSnapshots, ApiError> {
    let project = project(query);
    let source = match query.text("name") {
        None => None,
        Some(name) => {
            let control = app.control();
            let found = control.find_session_sandbox(caller, project.as_deref(), &name);
            Some(found.map_err(refused)?.sandbox.id.to_string())
        }
    };
    Ok(ListSnapshots {
        source_sandbox_id: source,
        of_sandboxes: true,
        project,
        sort: Some(SnapshotSort::CreatedAt),
        limit: Some(query.integer("limit").unwrap_or(LIMIT_DEFAULT)),
        ..ListSnapshots::default()
    })
}

/// One page, and the number of the next.
async fn page(
    app: &App,
    caller: &Caller,
    list: ListSnapshots,
) -> Result<(Vec<Snapshot>, Option<u64>), ApiError> {
    let control = app.control();
    let found = control
        .list_snapshots(caller, list)
        .await
        .map_err(refused)?;
    let region = &control.settings().region.id;
    let snapshots = found.items.iter();
    let snapshots = snapshots.map(|snapshot| present::snapshot(snapshot, region));
    let next = (found.page < found.total_pages).then_some(found.page + 1);
    Ok((snapshots.collect(), next))
}

pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SnapshotPage>, ApiError> {
    let list = ListSnapshots {
        order: query.word("sortOrder", order),
        page: query.integer("cursor"),
        ..asked(&app, &caller, &mut query)?
    };
    query.finish()?;
    let (snapshots, next) = page(&app, &caller, list).await?;
    Ok(Json(SnapshotPage {
        pagination: Pagination {
            count: snapshots.len(),
            next: next.map(|next| next.to_string()),
        },
        snapshots,
    }))
}

/// A page of clients before 2: its successor is what was made before the last of it.
pub(crate) async fn list_older(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<OlderSnapshotPage>, ApiError> {
    let (since, until) = (query.milliseconds("since"), query.milliseconds("until"));
    let list = ListSnapshots {
        created_after: since,
        created_before: until,
        ..asked(&app, &caller, &mut query)?
    };
    query.finish()?;
    let (snapshots, next) = page(&app, &caller, list).await?;
    let at = |snapshot: Option<&Snapshot>| snapshot.map(|snapshot| snapshot.created_at);
    let pagination = OlderPagination {
        count: snapshots.len(),
        next: next.and(at(snapshots.last())),
        prev: until.and(at(snapshots.first())),
    };
    Ok(Json(OlderSnapshotPage {
        snapshots,
        pagination,
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

/// What a snapshot was made after, or what was made after it.
pub(crate) async fn tree(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SnapshotTree>, ApiError> {
    project(&mut query);
    let id = query.text("snapshotId");
    let order = query.word("sortOrder", order);
    let limit = query.integer("limit");
    query.finish()?;
    let Some(id) = id else {
        return Err(ApiError::invalid(&[
            "snapshotId must be a string".to_owned()
        ]));
    };
    let control = app.control();
    let order = order.unwrap_or(SortOrder::Descending);
    let tree = control.snapshot_tree(&caller, &id, order, limit).await;
    let tree = tree.map_err(refused)?;
    let region = &control.settings().region.id;
    let node = |node| present::snapshot_node(node, region);
    Ok(Json(SnapshotTree {
        snapshots: tree.nodes.iter().map(node).collect(),
        anchor: node(&tree.anchor),
        pagination: Pagination {
            count: tree.nodes.len(),
            next: tree.next.map(|next| next.to_string()),
        },
    }))
}
